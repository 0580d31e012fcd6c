//! The group `security.istio.io`.

pub mod authorization_policy;
pub mod peer_authentication;
pub mod request_authentication;

use crate::wire::message::message;

/// The group's name.
pub const GROUP: &str = "security.istio.io";

/// The versions of the group's kinds, the stored one first.
pub const VERSIONS: &[&str] = &["v1", "v1beta1"];

/// The categories of the group's kinds.
pub const CATEGORIES: &[&str] = &["istio-io", "security-istio-io"];

message! {
    /// Names a resource to which a policy applies (`istio.type.v1beta1.PolicyTargetReference`).
    pub struct PolicyTargetReference {
        /// Its group; empty for the core group.
        group: String,
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Its namespace, which must be the policy's.
        namespace: String,
    }
}
