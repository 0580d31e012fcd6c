//! Names of clusters, which are a contract: dashboards, tools and metrics parse them.

/// Sends traffic where the client wanted it to go.
pub(crate) const PASSTHROUGH: &str = "PassthroughCluster";
/// Has no endpoints: what is sent there is refused.
pub(crate) const BLACK_HOLE: &str = "BlackHoleCluster";
/// Sends captured inbound traffic for undeclared ports on to the application.
pub(crate) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughCluster";
/// The same under the name of the address family.
pub(crate) const INBOUND_PASSTHROUGH_V4: &str = "InboundPassthroughClusterIpv4";
/// The same of IPv6.
pub(crate) const INBOUND_PASSTHROUGH_V6: &str = "InboundPassthroughClusterIpv6";

/// `outbound|PORT|SUBSET|HOST`.
pub(crate) fn outbound(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}

/// `inbound|PORT||`.
pub(crate) fn inbound(port: u16) -> String {
    format!("inbound|{port}||")
}

/// `outbound_.PORT_.SUBSET_.HOST`: the server name by which a cluster is asked for within the mesh.
pub(crate) fn server_name(port: u16, subset: &str, host: &str) -> String {
    format!("outbound_.{port}_.{subset}_.{host}")
}
