//! AuthorizationPolicy: who may do what.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;

use super::{CATEGORIES, GROUP, PolicyTargetReference, VERSIONS};
use crate::networking::destination_rule::LabelSelector;
use crate::object::{AGE, Column, Kind, Object};
use crate::wire::message::{enumeration, message, oneof};
use crate::wire::report::Report;

/// Who may do what.
pub type AuthorizationPolicy = Object<AuthorizationPolicySpec>;

message! {
    /// Access control on workloads. CUSTOM policies are evaluated first, then DENY, then ALLOW.
    pub struct AuthorizationPolicySpec {
        /// The workloads to which it applies; all of the namespace by default.
        selector: Option<LabelSelector>,
        /// Deprecated: use targetRefs.
        target_ref: Option<PolicyTargetReference>,
        /// The gateways or services to which it applies.
        target_refs: Vec<PolicyTargetReference>,
        /// The rules; one that matches suffices. Without rules nothing matches, `{}` matches everything.
        rules: Vec<Rule>,
        /// What becomes of requests that match.
        action: Option<Action>,
    }
    oneof {
        /// What the action needs to know.
        action_detail: ActionDetail,
    }
}

impl Kind for AuthorizationPolicySpec {
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "AuthorizationPolicy";
    const PLURAL: &'static str = "authorizationpolicies";
    const SHORT_NAMES: &'static [&'static str] = &["ap"];
    const VERSIONS: &'static [&'static str] = VERSIONS;
    const CATEGORIES: &'static [&'static str] = CATEGORIES;
    const COLUMNS: &'static [Column] = &[
        Column {
            name: "Action",
            kind: "string",
            path: ".spec.action",
            description: "The operation to take.",
        },
        AGE,
    ];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::authorization_policy::validate(self, metadata, report);
    }
}

enumeration! {
    /// What becomes of requests that match.
    pub enum Action {
        /// They are let pass, and only they.
        Allow = 0 "ALLOW",
        /// They are refused.
        Deny = 1 "DENY",
        /// They are noted.
        Audit = 2 "AUDIT",
        /// An extension decides.
        Custom = 3 "CUSTOM",
    }
}

oneof! {
    /// What an action needs to know.
    pub enum ActionDetail {
        /// The extension that decides.
        provider: Provider(ExtensionProvider),
    }
}

message! {
    /// An extension, by its name in the mesh's configuration.
    pub struct ExtensionProvider {
        /// Its name.
        name: String,
    }
}

message! {
    /// A rule: source, operation and conditions must all match.
    pub struct Rule {
        /// Who; one suffices.
        from: Vec<RuleFrom>,
        /// What; one suffices.
        to: Vec<RuleTo>,
        /// Under which conditions; all must hold.
        when: Vec<Condition>,
    }
}

message! {
    /// Who.
    pub struct RuleFrom {
        /// The source.
        source: Option<Source>,
    }
}

message! {
    /// What.
    pub struct RuleTo {
        /// The operation.
        operation: Option<Operation>,
    }
}

message! {
    /// Properties of a source, all of which must match; one value of each suffices.
    pub struct Source {
        /// Identities of peers.
        principals: Vec<String>,
        /// Identities that peers must not have.
        not_principals: Vec<String>,
        /// Identities from tokens (`issuer/subject`).
        request_principals: Vec<String>,
        /// Identities from tokens that requests must not have.
        not_request_principals: Vec<String>,
        /// Namespaces of peers.
        namespaces: Vec<String>,
        /// Namespaces in which peers must not be.
        not_namespaces: Vec<String>,
        /// Addresses of peers, with or without a subnet.
        ip_blocks: Vec<String>,
        /// Addresses that peers must not have.
        not_ip_blocks: Vec<String>,
        /// Addresses of clients, as `X-Forwarded-For` or the PROXY protocol tell them.
        remote_ip_blocks: Vec<String>,
        /// Addresses that clients must not have.
        not_remote_ip_blocks: Vec<String>,
        /// Service accounts of peers (`namespace/name`, or `name` in the policy's own namespace).
        service_accounts: Vec<String>,
        /// Service accounts that peers must not have.
        not_service_accounts: Vec<String>,
    }
}

message! {
    /// Properties of an operation, all of which must match; one value of each suffices.
    pub struct Operation {
        /// Hosts.
        hosts: Vec<String>,
        /// Hosts that must not be asked for.
        not_hosts: Vec<String>,
        /// Ports.
        ports: Vec<String>,
        /// Ports that must not be addressed.
        not_ports: Vec<String>,
        /// Methods.
        methods: Vec<String>,
        /// Methods that must not be used.
        not_methods: Vec<String>,
        /// Paths.
        paths: Vec<String>,
        /// Paths that must not be asked for.
        not_paths: Vec<String>,
    }
}

message! {
    /// A condition on an attribute.
    pub struct Condition {
        /// The attribute (`request.headers[x]`, `source.ip`...).
        key: String,
        /// Values, of which it must have one.
        values: Vec<String>,
        /// Values that it must not have.
        not_values: Vec<String>,
    }
}
