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

#[cfg(test)]
mod tests {
    use super::super::bind_config;
    use super::{At, ExtraSourceAddress, SocketAddress, core};

    fn address(ip: &str) -> SocketAddress {
        use super::core::socket_address::PortSpecifier::PortValue;
        SocketAddress {
            address: ip.to_owned(),
            port_specifier: Some(PortValue(0)),
            ..SocketAddress::default()
        }
    }

    #[test]
    fn each_ip_version_has_a_source_the_first_one_that_is_named() {
        let extra = |ip| ExtraSourceAddress { address: Some(address(ip)), ..ExtraSourceAddress::default() };
        let bind = core::BindConfig {
            source_address: Some(address("127.0.0.6")),
            extra_source_addresses: vec![extra("127.0.0.7"), extra("::6")],
            ..core::BindConfig::default()
        };
        let socket = bind_config(&bind, &At::root("bind")).unwrap();
        let source = |target: &str| socket.source(target.parse().unwrap()).map(|source| source.to_string());
        assert_eq!(source("10.0.0.1").as_deref(), Some("127.0.0.6:0"));
        assert_eq!(source("fd00::1").as_deref(), Some("[::6]:0"));
    }

    #[test]
    fn a_wrong_source_is_named_by_its_path() {
        let wrong = ExtraSourceAddress { address: Some(address("six")), ..ExtraSourceAddress::default() };
        let bind = core::BindConfig { extra_source_addresses: vec![wrong], ..core::BindConfig::default() };
        let error = bind_config(&bind, &At::root("bind")).unwrap_err().to_string();
        assert!(error.contains("extra_source_addresses[0].address"), "{error}");
    }
}
