//! The group `extensions.istio.io`: WebAssembly in the proxy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde_json::{Map, Value};

use crate::networking::destination_rule::LabelSelector;
use crate::networking::virtual_service::PortSelector;
use crate::object::{AGE, Column, Kind, Object};
use crate::security::PolicyTargetReference;
use crate::wire::message::{enumeration, message};
use crate::wire::report::Report;

/// WebAssembly in the proxy.
pub type WasmPlugin = Object<WasmPluginSpec>;

message! {
    /// A WebAssembly module that the proxy runs on requests.
    pub struct WasmPluginSpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// Deprecated: use targetRefs.
        target_ref: Option<PolicyTargetReference>,
        /// The gateways or services to which it applies.
        target_refs: Vec<PolicyTargetReference>,
        /// Where the module is: `oci://`, `file://`, `http://` or `https://`; an OCI image without a scheme.
        url: String,
        /// The module's SHA-256, in hexadecimal.
        sha256: String,
        /// Whether the module is fetched when it is there already.
        image_pull_policy: PullPolicy,
        /// The secret to fetch it with.
        image_pull_secret: String,
        /// Not used.
        verification_key: String,
        /// The module's configuration.
        plugin_config: Map<String, Value>,
        /// The name that it has for the proxy.
        plugin_name: String,
        /// Where among the filters it goes.
        phase: PluginPhase,
        /// Its order in the phase: higher ones first, 0 by default.
        priority: Option<i32>,
        /// What becomes of requests when it fails.
        fail_strategy: FailStrategy,
        /// Settings of the virtual machine.
        vm_config: Option<VmConfig>,
        /// To which traffic it applies; all by default.
        r#match: Vec<TrafficSelector>,
        /// What kind of filter it is.
        r#type: PluginType,
    }
}

impl Kind for WasmPluginSpec {
    const GROUP: &'static str = "extensions.istio.io";
    const KIND: &'static str = "WasmPlugin";
    const PLURAL: &'static str = "wasmplugins";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = &["v1alpha1"];
    const CATEGORIES: &'static [&'static str] = &["istio-io", "extensions-istio-io"];
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::wasm_plugin::validate(self, report);
    }
}

enumeration! {
    /// Whether something is fetched when it is there already.
    pub enum PullPolicy {
        /// IfNotPresent, or Always for the tag `latest`.
        Unspecified = 0 "UNSPECIFIED_POLICY",
        /// Only when it is not there.
        IfNotPresent = 1 "IfNotPresent",
        /// Always.
        Always = 2 "Always",
    }
}

enumeration! {
    /// Where among the filters a module goes.
    pub enum PluginPhase {
        /// At the end, before the router.
        Unspecified = 0 "UNSPECIFIED_PHASE",
        /// Before authentication filters.
        Authn = 1 "AUTHN",
        /// Before authorization filters.
        Authz = 2 "AUTHZ",
        /// Before statistics filters.
        Stats = 3 "STATS",
    }
}

enumeration! {
    /// What becomes of requests when a module fails.
    pub enum FailStrategy {
        /// They are refused.
        FailClose = 0 "FAIL_CLOSE",
        /// They pass by the module.
        FailOpen = 1 "FAIL_OPEN",
        /// The module is started again.
        FailReload = 2 "FAIL_RELOAD",
    }
}

enumeration! {
    /// What kind of filter a module is.
    pub enum PluginType {
        /// HTTP.
        Unspecified = 0 "UNSPECIFIED_PLUGIN_TYPE",
        /// HTTP.
        Http = 1 "HTTP",
        /// TCP.
        Network = 2 "NETWORK",
    }
}

message! {
    /// Settings of the virtual machine.
    pub struct VmConfig {
        /// Environment variables of the module.
        env: Vec<EnvVar>,
    }
}

message! {
    /// An environment variable.
    pub struct EnvVar {
        /// Its name.
        name: String,
        /// Where its value comes from.
        value_from: EnvValueSource,
        /// Its value.
        value: String,
    }
}

enumeration! {
    /// Where the value of a variable comes from.
    pub enum EnvValueSource {
        /// It is given.
        Inline = 0 "INLINE",
        /// The proxy's environment.
        Host = 1 "HOST",
    }
}

message! {
    /// Selects traffic.
    pub struct TrafficSelector {
        /// On which side.
        mode: TrafficMode,
        /// On which ports; all by default.
        ports: Vec<PortSelector>,
    }
}

enumeration! {
    /// On which side of a request.
    pub enum TrafficMode {
        /// On both.
        Undefined = 0 "UNDEFINED",
        /// Where it is sent.
        Client = 1 "CLIENT",
        /// Where it is received.
        Server = 2 "SERVER",
        /// On both.
        ClientAndServer = 3 "CLIENT_AND_SERVER",
    }
}
