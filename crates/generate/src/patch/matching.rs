//! Which listeners and filter chains a patch means.

use lateen_api::networking::envoy_filter::{FilterChainMatch, ListenerMatch, ObjectMatch};
use lateen_xds::pb::envoy::config::core::v3::{address, socket_address};
use lateen_xds::pb::envoy::config::listener::v3::{FilterChain, Listener};

use super::Patch;

/// The listener on which all captured inbound connections arrive: its chains stand for listeners of their own.
const VIRTUAL_INBOUND: &str = "virtualInbound";

/// What a patch wants of a listener.
pub(super) fn wanted(patch: &Patch) -> Option<&ListenerMatch> {
    match &patch.matched.object_types {
        Some(ObjectMatch::Listener(wanted)) => Some(wanted),
        _ => None,
    }
}

/// Whether a patch means a listener. The port of an inbound connection is a matter of the chain.
pub(super) fn listener(patch: &Patch, listener: &Listener) -> bool {
    let Some(wanted) = wanted(patch) else { return patch.matched.object_types.is_none() };
    let by_chain = listener.name == VIRTUAL_INBOUND;
    (wanted.name.is_empty() || wanted.name == listener.name)
        && (wanted.port_number == 0 || by_chain || port(listener) == Some(wanted.port_number))
}

fn port(listener: &Listener) -> Option<u32> {
    let address = listener.address.as_ref()?.address.as_ref()?;
    let address::Address::SocketAddress(socket) = address else { return None };
    match socket.port_specifier.as_ref()? {
        socket_address::PortSpecifier::PortValue(port) => Some(*port),
        socket_address::PortSpecifier::NamedPort(_) => None,
    }
}

/// Whether a patch means a chain of a listener that it means.
pub(super) fn chain(patch: &Patch, listener_name: &str, chain: &FilterChain) -> bool {
    let Some(wanted) = wanted(patch) else { return true };
    let own = chain.filter_chain_match.clone().unwrap_or_default();
    let destination = own.destination_port.map(|port| port.value);
    if listener_name == VIRTUAL_INBOUND && wanted.port_number != 0 && destination != Some(wanted.port_number)
    {
        return false;
    }
    let Some(wanted) = &wanted.filter_chain else { return true };
    let FilterChainMatch { name, sni, transport_protocol, application_protocols, destination_port, .. } =
        wanted;
    let protocols = || application_protocols.split(',').map(str::trim);
    (name.is_empty() || *name == chain.name)
        && (sni.is_empty() || own.server_names.contains(sni))
        && (transport_protocol.is_empty() || *transport_protocol == own.transport_protocol)
        && (application_protocols.is_empty()
            || protocols().all(|wanted| own.application_protocols.iter().any(|known| known == wanted)))
        && (*destination_port == 0 || destination == Some(*destination_port))
}

/// The network filter that a patch names.
pub(super) fn filter(patch: &Patch) -> Option<&str> {
    let filter = wanted(patch)?.filter_chain.as_ref()?.filter.as_ref()?;
    Some(filter.name.as_str()).filter(|name| !name.is_empty())
}

/// The HTTP filter that a patch names.
pub(super) fn http_filter(patch: &Patch) -> Option<&str> {
    let filter = wanted(patch)?.filter_chain.as_ref()?.filter.as_ref()?.sub_filter.as_ref()?;
    Some(filter.name.as_str()).filter(|name| !name.is_empty())
}
