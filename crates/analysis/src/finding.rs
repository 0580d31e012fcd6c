use std::fmt;

use lateen_mesh::{ConfigKey, Kind, Meta};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Something does not work.
    Error,
    /// Something may not do what is meant.
    Warning,
    /// Good to know.
    Info,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "Error",
            Severity::Warning => "Warning",
            Severity::Info => "Info",
        })
    }
}

/// What kind of finding it is, by Istio's names and codes.
///
/// Source: Istio, "Configuration analysis messages".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// `IST0101`: a host, subset, gateway or workload that does not exist.
    ReferencedResourceNotFound,
    /// `IST0104`: a Gateway's port that no service of its workload has.
    GatewayPortNotOnWorkload,
    /// `IST0106`: a part of a resource that cannot be used.
    SchemaValidationError,
    /// `IST0002`: a resource of an API that is gone.
    Deprecated,
    /// `IST0101`, for credentials: a Secret that is missing, or that cannot be used.
    CredentialNotUsable,
    /// `IST0109`: two VirtualServices for one host at sidecars.
    ConflictingMeshGatewayVirtualServiceHosts,
    /// `IST0111`: two Sidecars without selector in one namespace.
    MultipleSidecarsWithoutWorkloadSelectors,
    /// `IST0110`, for policies: several for the same workloads, of which one alone counts.
    ConflictingPolicies,
    /// `IST0127`: a selector or reference that no workload is found by.
    NoMatchingWorkloadsFound,
    /// A provider, or the keys of tokens, that cannot be used.
    PolicyDependencyNotUsable,
    /// `IST0118`: a service port whose name does not tell its protocol.
    PortNameIsNotUnderNamingConvention,
    /// `IST0130`: a rule that no request can reach.
    VirtualServiceUnreachableRule,
    /// `IST0132`: a VirtualService's host that its Gateway does not serve.
    VirtualServiceHostNotFoundInGateway,
}

impl Code {
    /// Istio's code.
    pub const fn code(self) -> &'static str {
        match self {
            Code::ReferencedResourceNotFound => "IST0101",
            Code::GatewayPortNotOnWorkload => "IST0104",
            Code::SchemaValidationError => "IST0106",
            Code::Deprecated => "IST0002",
            Code::CredentialNotUsable | Code::PolicyDependencyNotUsable => "IST0101",
            Code::ConflictingPolicies => "IST0110",
            Code::NoMatchingWorkloadsFound => "IST0127",
            Code::ConflictingMeshGatewayVirtualServiceHosts => "IST0109",
            Code::MultipleSidecarsWithoutWorkloadSelectors => "IST0111",
            Code::PortNameIsNotUnderNamingConvention => "IST0118",
            Code::VirtualServiceUnreachableRule => "IST0130",
            Code::VirtualServiceHostNotFoundInGateway => "IST0132",
        }
    }

    /// Istio's name.
    pub const fn name(self) -> &'static str {
        match self {
            Code::ReferencedResourceNotFound => "ReferencedResourceNotFound",
            Code::GatewayPortNotOnWorkload => "GatewayPortNotOnWorkload",
            Code::SchemaValidationError => "SchemaValidationError",
            Code::Deprecated => "Deprecated",
            Code::CredentialNotUsable => "ReferencedResourceNotFound",
            Code::PolicyDependencyNotUsable => "ReferencedResourceNotFound",
            Code::ConflictingPolicies => "ConflictingPolicies",
            Code::NoMatchingWorkloadsFound => "NoMatchingWorkloadsFound",
            Code::ConflictingMeshGatewayVirtualServiceHosts => "ConflictingMeshGatewayVirtualServiceHosts",
            Code::MultipleSidecarsWithoutWorkloadSelectors => "MultipleSidecarsWithoutWorkloadSelectors",
            Code::PortNameIsNotUnderNamingConvention => "PortNameIsNotUnderNamingConvention",
            Code::VirtualServiceUnreachableRule => "VirtualServiceUnreachableRule",
            Code::VirtualServiceHostNotFoundInGateway => "VirtualServiceHostNotFoundInGateway",
        }
    }
}

/// One thing that is wrong, or looks wrong, with a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The resource.
    pub resource: ConfigKey,
    /// The field: `spec.http[0].route[1].destination.host`; empty when it is the whole resource.
    pub field: String,
    /// What kind of finding it is.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub mend: String,
}

impl Finding {
    pub(crate) fn new(
        code: Code,
        severity: Severity,
        resource: ConfigKey,
        field: String,
        message: String,
        mend: impl Into<String>,
    ) -> Self {
        Finding { severity, resource, field, code, message, mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    /// In the form of `istioctl analyze`: `Error [IST0101] (VirtualService default/reviews) ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { severity, resource, field, code, message, mend } = self;
        write!(f, "{severity} [{}] ({resource}) ", code.code())?;
        if !field.is_empty() {
            write!(f, "{field}: ")?;
        }
        write!(f, "{message}; {mend}")
    }
}

/// The key of a resource.
pub(crate) fn key(kind: Kind, meta: &Meta) -> ConfigKey {
    ConfigKey::new(kind, meta.namespace.clone(), meta.name.clone())
}
