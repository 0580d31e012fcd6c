//! `istio.meta.v1alpha1.IstioStatus`: what the control plane says about a resource.

use crate::wire::message::{enumeration, message};

message! {
    /// What the control plane says about a resource.
    pub struct IstioStatus {
        /// The state of the resource, condition by condition.
        conditions: Vec<IstioCondition>,
        /// Findings of the analysers.
        validation_messages: Vec<AnalysisMessage>,
        /// The generation that the status speaks of.
        observed_generation: i64,
        /// Addresses that were allocated to a ServiceEntry's hosts.
        addresses: Vec<ServiceEntryAddress>,
    }
}

message! {
    /// One condition of a resource.
    pub struct IstioCondition {
        /// The condition's type.
        r#type: String,
        /// `True`, `False` or `Unknown`.
        status: String,
        /// When the condition was last looked at (RFC 3339).
        last_probe_time: String,
        /// When the condition last changed (RFC 3339).
        last_transition_time: String,
        /// Why it changed, in one word.
        reason: String,
        /// Why it changed, for people.
        message: String,
        /// The generation that the condition speaks of.
        observed_generation: i64,
    }
}

message! {
    /// One finding of an analyser.
    pub struct AnalysisMessage {
        /// Which finding it is.
        r#type: Option<AnalysisType>,
        /// How much it matters.
        level: AnalysisLevel,
        /// Where it is explained.
        documentation_url: String,
        /// What is wrong, where, and what to do about it.
        message: String,
    }
}

message! {
    /// The type of an analyser's finding.
    pub struct AnalysisType {
        /// Its name.
        name: String,
        /// Its code (`IST0101`).
        code: String,
    }
}

enumeration! {
    /// How much a finding matters.
    pub enum AnalysisLevel {
        /// Not said.
        Unknown = 0 "UNKNOWN",
        /// The resource does not work.
        Error = 3 "ERROR",
        /// The resource may not do what is meant.
        Warning = 8 "WARNING",
        /// Good to know.
        Info = 12 "INFO",
    }
}

message! {
    /// An address that was allocated to a host of a ServiceEntry.
    pub struct ServiceEntryAddress {
        /// The address.
        value: String,
        /// The host.
        host: String,
    }
}
