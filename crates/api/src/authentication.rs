//! The group `authentication.istio.io/v1alpha1` of Istio 1.0: Policy and MeshPolicy.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde_json::Value;

use crate::object::{AGE, Column, Kind, Object};
use crate::wire::field::Field;
use crate::wire::message::{enumeration, message, oneof};
use crate::wire::report::Report;
use crate::wire::schema::JSONSchemaProps;

/// How workloads of a namespace, or services in it, are spoken to.
pub type Policy = Object<PolicySpec>;

/// How all workloads of the mesh are spoken to; its only valid name is `default`.
pub type MeshPolicy = Object<MeshPolicySpec>;

message! {
    /// How workloads authenticate their peers and the origin of requests.
    pub struct PolicySpec {
        /// The services to which it applies; all of the namespace by default.
        targets: Vec<TargetSelector>,
        /// How peers are authenticated; one method suffices.
        peers: Vec<PeerMethod>,
        /// Whether requests pass when no method of `peers` succeeds.
        peer_is_optional: bool,
        /// How the origin of requests is authenticated; one method suffices.
        origins: Vec<OriginMethod>,
        /// Whether requests pass when no method of `origins` succeeds.
        origin_is_optional: bool,
        /// Which of the two becomes the request's principal.
        principal_binding: PrincipalBinding,
    }
}

/// The spec of a MeshPolicy: that of a Policy, for the whole mesh.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MeshPolicySpec(
    /// The policy.
    pub PolicySpec,
);

impl Field for MeshPolicySpec {
    fn decode(value: Value, report: &mut Report) -> Option<Self> {
        PolicySpec::decode(value, report).map(Self)
    }
    fn encode(&self) -> Value {
        self.0.encode()
    }
    fn is_default(&self) -> bool {
        self.0.is_default()
    }
    fn schema() -> JSONSchemaProps {
        PolicySpec::schema()
    }
}

impl Kind for PolicySpec {
    const GROUP: &'static str = "authentication.istio.io";
    const KIND: &'static str = "Policy";
    const PLURAL: &'static str = "policies";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = &["v1alpha1"];
    const CATEGORIES: &'static [&'static str] = &["istio-io", "authentication-istio-io"];
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = NamespaceResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::authentication::policy(self, metadata, report);
    }
}

impl Kind for MeshPolicySpec {
    const GROUP: &'static str = "authentication.istio.io";
    const KIND: &'static str = "MeshPolicy";
    const PLURAL: &'static str = "meshpolicies";
    const SHORT_NAMES: &'static [&'static str] = &[];
    const VERSIONS: &'static [&'static str] = &["v1alpha1"];
    const NAMESPACED: bool = false;
    const CATEGORIES: &'static [&'static str] = &["istio-io", "authentication-istio-io"];
    const COLUMNS: &'static [Column] = &[AGE];
    type Scope = ClusterResourceScope;

    fn validate(&self, metadata: &ObjectMeta, report: &mut Report) {
        crate::validation::authentication::mesh_policy(&self.0, metadata, report);
    }
}

message! {
    /// A service to which a policy applies.
    pub struct TargetSelector {
        /// Its short name.
        name: String,
        /// Its ports; all by default.
        ports: Vec<TargetPort>,
    }
}

oneof! {
    /// A port of a service.
    pub message enum TargetPort {
        /// By number.
        number: Number(u32),
        /// By name.
        name: Name(String),
    }
}

oneof! {
    /// How a peer is authenticated.
    pub message enum PeerMethod {
        /// By mutual TLS.
        mtls: Mtls(LegacyMutualTls),
        /// Not implemented by Istio.
        jwt: Jwt(LegacyJwt),
    }
}

message! {
    /// Mutual TLS.
    pub struct LegacyMutualTls {
        /// Deprecated: accept TLS without a client certificate.
        allow_tls: bool,
        /// Whether plain connections are accepted as well.
        mode: Option<LegacyMutualTlsMode>,
    }
}

enumeration! {
    /// Whether plain connections are accepted as well.
    pub enum LegacyMutualTlsMode {
        /// Mutual TLS only.
        Strict = 0 "STRICT",
        /// Either.
        Permissive = 1 "PERMISSIVE",
    }
}

message! {
    /// How the origin of requests is authenticated.
    pub struct OriginMethod {
        /// By a token.
        jwt: Option<LegacyJwt>,
    }
}

message! {
    /// A kind of token that is accepted.
    pub struct LegacyJwt {
        /// Who issued it (`iss`).
        issuer: String,
        /// For whom it must be (`aud`).
        audiences: Vec<String>,
        /// Where the keys are that sign it.
        jwks_uri: String,
        /// The keys themselves.
        jwks: String,
        /// Headers in which it is looked for.
        jwt_headers: Vec<String>,
        /// Query parameters in which it is looked for.
        jwt_params: Vec<String>,
        /// Requests that need one; all by default.
        trigger_rules: Vec<TriggerRule>,
    }
}

message! {
    /// Which requests need a token.
    pub struct TriggerRule {
        /// Paths that need none.
        excluded_paths: Vec<PathMatch>,
        /// Paths that need one; all by default.
        included_paths: Vec<PathMatch>,
    }
}

oneof! {
    /// How a path is compared.
    pub message enum PathMatch {
        /// The whole path.
        exact: Exact(String),
        /// Its beginning.
        prefix: Prefix(String),
        /// Its end.
        suffix: Suffix(String),
        /// An expression that the whole path matches.
        regex: Regex(String),
    }
}

enumeration! {
    /// Which identity becomes the request's principal.
    pub enum PrincipalBinding {
        /// The peer's.
        UsePeer = 0 "USE_PEER",
        /// The origin's.
        UseOrigin = 1 "USE_ORIGIN",
    }
}
