//! Where upstream connections come from: one address for each IP version.
//!
//! Source: Envoy, `BindConfig.extra_source_addresses`: the first address of the destination's version is taken, and
//! `source_address` is before all others.

use std::net::SocketAddr;

use super::core::{self, ExtraSourceAddress, SocketAddress};
use super::{At, Converted, take, values};
use crate::config::UpstreamSocket;

/// Takes a source address for connections of its IP version, unless there is one already.
pub(super) fn add(socket: &mut UpstreamSocket, address: &SocketAddress, at: &At<'_>) -> Converted<()> {
    let address = core::Address { address: Some(core::address::Address::SocketAddress(address.clone())) };
    let address = values::ip_port(&Some(address), at)?;
    // The unspecified address is what Envoy asks for when it only wants socket options.
    if address.ip().is_unspecified() && address.port() == 0 {
        return Ok(());
    }
    match address {
        SocketAddr::V4(v4) => socket.source_v4 = socket.source_v4.or(Some(v4)),
        SocketAddr::V6(v6) => socket.source_v6 = socket.source_v6.or(Some(v6)),
    }
    Ok(())
}

/// The further addresses: `additional_source_addresses` is what they were called before.
pub(super) fn extra(
    socket: &mut UpstreamSocket,
    extra: &[ExtraSourceAddress],
    older: &[SocketAddress],
    at: &At<'_>,
) -> Converted<()> {
    let field = at.field("extra_source_addresses");
    for (index, more) in extra.iter().enumerate() {
        let at = &field.index(index);
        take!(more, at, ExtraSourceAddress { address } refuse { socket_options });
        let Some(address) = address else { return Err(at.field("address").missing()) };
        add(socket, address, &at.field("address"))?;
    }
    let field = at.field("additional_source_addresses");
    for (index, address) in older.iter().enumerate() {
        add(socket, address, &field.index(index))?;
    }
    Ok(())
}
