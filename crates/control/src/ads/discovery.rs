use crate::view::View;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::core::v3::Node;
use lateen_xds::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use lateen_xds::server::{Event, RequestError, Session};
use prost::Name as _;

/// A request of either protocol.
pub(super) trait Discovery: Send {
    fn node(&self) -> Option<&Node>;
    /// The type, and names that are asked for in addition.
    fn asked(&self) -> (&str, &[String]);
    fn apply(&self, session: &mut Session<View>) -> Result<Option<Event>, RequestError>;

    /// Whether it says how the client took a response.
    fn is_acknowledgement(&self) -> bool;

    /// Whether an agent asks what to lay over the bootstrap of its proxy, and nothing else.
    fn wants_bootstrap(&self) -> bool {
        false
    }
}

impl Discovery for DeltaDiscoveryRequest {
    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }
    fn asked(&self) -> (&str, &[String]) {
        (&self.type_url, &self.resource_names_subscribe)
    }
    fn apply(&self, session: &mut Session<View>) -> Result<Option<Event>, RequestError> {
        session.on_delta(self)
    }
    fn is_acknowledgement(&self) -> bool {
        !self.response_nonce.is_empty()
    }
}

impl Discovery for DiscoveryRequest {
    fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }
    fn asked(&self) -> (&str, &[String]) {
        (&self.type_url, &self.resource_names)
    }
    fn apply(&self, session: &mut Session<View>) -> Result<Option<Event>, RequestError> {
        session.on_sotw(self)
    }
    fn is_acknowledgement(&self) -> bool {
        !self.response_nonce.is_empty()
    }
    fn wants_bootstrap(&self) -> bool {
        self.type_url == Bootstrap::type_url()
    }
}
