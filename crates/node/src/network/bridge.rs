//! The bridge and the node's own end.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use rtnetlink::{Handle, LinkBridge, LinkUnspec, RouteMessageBuilder};

use super::{API_IP, BRIDGE, DNS_IP, NODE_IP, POD_NETWORK, SERVICE_NETWORK, hardware_address, sysctl};

/// The bridge, ready for pods.
#[derive(Clone)]
pub(crate) struct Bridge {
    /// rtnetlink in the mesh's root namespace.
    pub handle: Handle,
    /// The bridge's interface index.
    pub index: u32,
}

impl Bridge {
    /// Makes the bridge with the node's, the API's and the DNS's addresses, and routes services to it.
    ///
    /// # Errors
    /// The kernel's refusal, with what was tried.
    pub async fn create() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        tokio::spawn(connection);
        raise_loopback(&handle).await?;
        handle
            .link()
            // Left to the kernel, a bridge's address follows the lowest of its ports': it would change as pods come and
            // go, and every pod that knows the old one would be cut off until its neighbour entry is probed.
            .add(LinkBridge::new(BRIDGE).address(hardware_address(NODE_IP).to_vec()).up().build())
            .execute()
            .await
            .context("make the bridge lateen0")?;
        let index = super::pod::index_of(&handle, BRIDGE).await?;
        for (address, prefix) in [(NODE_IP, POD_NETWORK.1), (API_IP, 32), (DNS_IP, 32)] {
            let add = handle.address().add(index, IpAddr::V4(address), prefix);
            add.execute().await.with_context(|| format!("give lateen0 the address {address}"))?;
        }
        // Programs of the node reach services, too: a route lets the packet get as far as its translation.
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(SERVICE_NETWORK.0, SERVICE_NETWORK.1)
            .output_interface(index)
            .pref_source(NODE_IP)
            .build();
        handle.route().add(route).execute().await.context("route services to lateen0")?;
        sysctl("net/ipv4/ip_forward", "1");
        // Pods speak to one another through the node although they share a bridge: no advice to go straight.
        sysctl("net/ipv4/conf/all/send_redirects", "0");
        sysctl(&format!("net/ipv4/conf/{BRIDGE}/send_redirects"), "0");
        sysctl("net/ipv4/conf/all/rp_filter", "0");
        sysctl("net/ipv4/ip_unprivileged_port_start", "0");
        Ok(Self { handle, index })
    }
}

async fn raise_loopback(handle: &Handle) -> Result<()> {
    let loopback = LinkUnspec::new_with_index(1).up().build();
    handle.link().set(loopback).execute().await.context("raise lo")
}

/// Raises `lo`, which is down in a new network namespace. [`crate::Node::start`] does so, too; this is for what must
/// run before it.
///
/// # Errors
/// The kernel's refusal.
pub async fn loopback_up() -> Result<()> {
    let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
    let connection = tokio::spawn(connection);
    let raised = raise_loopback(&handle).await;
    connection.abort();
    raised
}
