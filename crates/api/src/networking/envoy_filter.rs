//! EnvoyFilter: changes to the configuration that is generated for proxies.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde_json::{Map, Value};

use super::service_entry::WorkloadSelector;
use super::{CATEGORIES, GROUP};
use crate::object::{AGE, Column, Kind, Object};
use crate::security::PolicyTargetReference;
use crate::wire::message::{enumeration, message, oneof};
use crate::wire::report::Report;

/// Changes to the configuration that is generated for proxies.
pub type EnvoyFilter = Object<EnvoyFilterSpec>;

message! {
    /// Changes to generated configuration, applied in order.
    pub struct EnvoyFilterSpec {
        /// The workloads to which they apply; all of the namespace by default.
        workload_selector: Option<WorkloadSelector>,
        /// The gateways or services to which they apply; not together with workloadSelector.
        target_refs: Vec<PolicyTargetReference>,
        /// The changes.
        config_patches: Vec<EnvoyConfigObjectPatch>,
        /// Order among all EnvoyFilters of a workload: lower ones first, 0 by default.
        priority: i32,
    }
}

impl Kind for EnvoyFilterSpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "EnvoyFilter";
    const PLURAL: &'static str = "envoyfilters";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = &["v1alpha3"];
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, _metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::envoy_filter::validate(self, report);
    }
}

message! {
    /// One change.
    pub struct EnvoyConfigObjectPatch {
        /// What kind of thing is changed.
        apply_to: ApplyTo,
        /// Which of them.
        r#match: Option<EnvoyConfigObjectMatch>,
        /// How.
        patch: Option<Patch>,
    }
}

enumeration! {
    /// What kind of thing a patch changes.
    pub enum ApplyTo {
        /// Nothing.
        Invalid = 0 "INVALID",
        /// A listener.
        Listener = 1 "LISTENER",
        /// A filter chain of a listener.
        FilterChain = 2 "FILTER_CHAIN",
        /// A network filter of a chain.
        NetworkFilter = 3 "NETWORK_FILTER",
        /// An HTTP filter of a connection manager.
        HttpFilter = 4 "HTTP_FILTER",
        /// A route configuration.
        RouteConfiguration = 5 "ROUTE_CONFIGURATION",
        /// A virtual host of a route configuration.
        VirtualHost = 6 "VIRTUAL_HOST",
        /// A route of a virtual host.
        HttpRoute = 7 "HTTP_ROUTE",
        /// A cluster.
        Cluster = 8 "CLUSTER",
        /// An extension that is discovered.
        ExtensionConfig = 9 "EXTENSION_CONFIG",
        /// The bootstrap.
        Bootstrap = 10 "BOOTSTRAP",
        /// A listener filter.
        ListenerFilter = 11 "LISTENER_FILTER",
    }
}

enumeration! {
    /// Where generated configuration is used.
    pub enum PatchContext {
        /// Anywhere.
        Any = 0 "ANY",
        /// Towards the workload.
        SidecarInbound = 1 "SIDECAR_INBOUND",
        /// From the workload.
        SidecarOutbound = 2 "SIDECAR_OUTBOUND",
        /// At a gateway.
        Gateway = 3 "GATEWAY",
        /// At a waypoint.
        Waypoint = 4 "WAYPOINT",
    }
}

message! {
    /// Conditions on what is changed.
    pub struct EnvoyConfigObjectMatch {
        /// Where it is used.
        context: PatchContext,
        /// For which proxies it is generated.
        proxy: Option<ProxyMatch>,
    }
    oneof {
        /// Which object.
        object_types: ObjectMatch,
    }
}

oneof! {
    /// Which object is changed.
    pub enum ObjectMatch {
        /// A listener, or something within.
        listener: Listener(ListenerMatch),
        /// A route configuration, or something within.
        route_configuration: RouteConfiguration(RouteConfigurationMatch),
        /// A cluster.
        cluster: Cluster(ClusterMatch),
        /// Something that a waypoint has.
        waypoint: Waypoint(WaypointMatch),
    }
}

message! {
    /// Conditions on a proxy.
    pub struct ProxyMatch {
        /// An RE2 expression for its version.
        proxy_version: String,
        /// Metadata that it has.
        metadata: BTreeMap<String, String>,
    }
}

message! {
    /// Conditions on a cluster.
    pub struct ClusterMatch {
        /// Its port.
        port_number: u32,
        /// Its service's host name.
        service: String,
        /// Its subset.
        subset: String,
        /// Its exact name.
        name: String,
    }
}

message! {
    /// Conditions on a route configuration.
    pub struct RouteConfigurationMatch {
        /// The port that it serves.
        port_number: u32,
        /// The name of that port, at gateways.
        port_name: String,
        /// The Istio gateway (`namespace/name`) that it comes from.
        gateway: String,
        /// A virtual host within.
        vhost: Option<VirtualHostMatch>,
        /// Its exact name.
        name: String,
    }
}

message! {
    /// Conditions on a virtual host.
    pub struct VirtualHostMatch {
        /// Its name (`host:port`).
        name: String,
        /// Its domain.
        domain_name: String,
        /// A route within.
        route: Option<RouteMatch>,
    }
}

message! {
    /// Conditions on a route.
    pub struct RouteMatch {
        /// Its name.
        name: String,
        /// What it does.
        action: RouteAction,
    }
}

enumeration! {
    /// What a route does.
    pub enum RouteAction {
        /// Anything.
        Any = 0 "ANY",
        /// It forwards.
        Route = 1 "ROUTE",
        /// It redirects.
        Redirect = 2 "REDIRECT",
        /// It answers.
        DirectResponse = 3 "DIRECT_RESPONSE",
    }
}

message! {
    /// Conditions on a listener.
    pub struct ListenerMatch {
        /// Its port.
        port_number: u32,
        /// Not used.
        port_name: String,
        /// A filter chain within.
        filter_chain: Option<FilterChainMatch>,
        /// A listener filter within.
        listener_filter: String,
        /// Its exact name.
        name: String,
    }
}

message! {
    /// Conditions on a filter chain.
    pub struct FilterChainMatch {
        /// Its name.
        name: String,
        /// Its server name.
        sni: String,
        /// Its transport protocol (`raw_buffer`, `tls`).
        transport_protocol: String,
        /// Its application protocols, comma-separated.
        application_protocols: String,
        /// A filter within.
        filter: Option<FilterMatch>,
        /// Its destination port.
        destination_port: u32,
    }
}

message! {
    /// Conditions on a network filter.
    pub struct FilterMatch {
        /// Its name.
        name: String,
        /// A filter within.
        sub_filter: Option<SubFilterMatch>,
    }
}

message! {
    /// Conditions on a filter within a network filter.
    pub struct SubFilterMatch {
        /// Its name.
        name: String,
    }
}

message! {
    /// Conditions on what a waypoint has.
    pub struct WaypointMatch {
        /// The port of the service.
        port_number: u32,
        /// A filter.
        filter: Option<FilterMatch>,
        /// A route.
        route: Option<WaypointRouteMatch>,
    }
}

message! {
    /// Conditions on a waypoint's route.
    pub struct WaypointRouteMatch {
        /// Its name.
        name: String,
    }
}

message! {
    /// How something is changed.
    pub struct Patch {
        /// What is done.
        operation: PatchOperation,
        /// With what: an Envoy message in JSON.
        value: Map<String, Value>,
        /// What HTTP filters are added for.
        filter_class: FilterClass,
    }
}

enumeration! {
    /// What a patch does.
    pub enum PatchOperation {
        /// Nothing.
        Invalid = 0 "INVALID",
        /// Merges the value into what is there.
        Merge = 1 "MERGE",
        /// Adds the value.
        Add = 2 "ADD",
        /// Removes what is there.
        Remove = 3 "REMOVE",
        /// Inserts the value before what matches.
        InsertBefore = 4 "INSERT_BEFORE",
        /// Inserts the value after what matches.
        InsertAfter = 5 "INSERT_AFTER",
        /// Inserts the value before all.
        InsertFirst = 6 "INSERT_FIRST",
        /// Puts the value in place of what matches.
        Replace = 7 "REPLACE",
    }
}

enumeration! {
    /// What a filter is for, which says where it goes.
    pub enum FilterClass {
        /// Where the patch says.
        Unspecified = 0 "UNSPECIFIED",
        /// After authentication filters.
        Authn = 1 "AUTHN",
        /// After authorization filters.
        Authz = 2 "AUTHZ",
        /// Before statistics filters.
        Stats = 3 "STATS",
    }
}
