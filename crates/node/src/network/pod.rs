//! A pod's network namespace.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, anyhow};
use futures::TryStreamExt;
use nix::sched::{CloneFlags, unshare};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use tokio::sync::oneshot;

use super::{Bridge, NODE_IP, hardware_address, sysctl};

const INTERFACE: &str = "eth0";

/// A pod's namespaces. They live as long as this; no process is needed to hold them.
pub(crate) struct PodNetwork {
    /// The pod's address.
    pub ip: Ipv4Addr,
    net: File,
    ipc: File,
}

impl PodNetwork {
    /// Makes a network namespace joined to the bridge.
    ///
    /// # Errors
    /// The kernel's refusal, with what was tried.
    pub async fn create(bridge: &Bridge, ip: Ipv4Addr) -> Result<Self> {
        let (made, namespaces) = oneshot::channel::<Result<(File, File)>>();
        let (joined, wait) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<Result<()>>();
        // A thread's namespace is its own: this one enters the new namespace, sets it up from inside and ends.
        std::thread::Builder::new().name("pod-network".into()).spawn(move || {
            let namespaces = enter_new();
            let failed = namespaces.is_err();
            if made.send(namespaces).is_err() || failed || wait.blocking_recv().is_err() {
                return;
            }
            // Nobody waits any more: then the namespace goes, too.
            let _ = done.send(configure(ip));
        })?;
        let (net, ipc) = namespaces.await.map_err(|_| anyhow!("the namespace thread ended early"))??;
        join(bridge, &net, ip).await?;
        joined.send(()).map_err(|()| anyhow!("the namespace thread ended early"))?;
        finished.await.map_err(|_| anyhow!("the namespace thread ended early"))??;
        Ok(Self { ip, net, ipc })
    }

    /// Where a child process finds the network namespace.
    pub fn net_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.net.as_raw_fd())
    }

    /// Where a child process finds the IPC namespace.
    pub fn ipc_path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.ipc.as_raw_fd())
    }

    /// Runs `work` on a thread inside the pod's network.
    ///
    /// # Errors
    /// If the namespace cannot be entered.
    pub async fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let net = self.net.try_clone()?;
        let (reply, answer) = oneshot::channel();
        std::thread::Builder::new().name("pod-network".into()).spawn(move || {
            let result = nix::sched::setns(net, CloneFlags::CLONE_NEWNET).context("enter the pod's network");
            // The caller may have given up.
            let _ = reply.send(result.map(|()| work()));
        })?;
        answer.await.map_err(|_| anyhow!("the namespace thread ended early"))?
    }
}

fn enter_new() -> Result<(File, File)> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC).context("make the pod's namespaces")?;
    let open =
        |name: &str| File::open(format!("/proc/thread-self/ns/{name}")).context("hold the pod's namespaces");
    Ok((open("net")?, open("ipc")?))
}

/// Makes the pair of interfaces, one end on the bridge and one in the pod.
async fn join(bridge: &Bridge, net: &File, ip: Ipv4Addr) -> Result<()> {
    let [_, _, high, low] = ip.octets();
    let peer = LinkMessageBuilder::<LinkUnspec>::default()
        .name(INTERFACE)
        .address(hardware_address(ip).to_vec())
        .setns_by_fd(net.as_raw_fd())
        .build();
    let mut link =
        LinkMessageBuilder::<LinkVeth>::new_with_info_kind(rtnetlink::packet_route::link::InfoKind::Veth)
            .name(format!("veth{high:02x}{low:02x}"))
            .controller(bridge.index)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .up()
            .build();
    link.attributes.retain(|a| !matches!(a, LinkAttribute::NetNsFd(_)));
    bridge.handle.link().add(link).execute().await.context("make the pod's interface")
}

/// Addresses and routes, from inside the pod. The address stands alone (/32) and everything goes through the node:
/// so the answers of a translated connection come back through the node as well, and the source stays the pod's.
fn configure(ip: Ipv4Addr) -> Result<()> {
    sysctl("net/ipv4/ip_unprivileged_port_start", "0");
    sysctl("net/ipv4/ping_group_range", "0 2147483647");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().context("open a netlink socket")?;
        tokio::spawn(connection);
        let up = |index| LinkUnspec::new_with_index(index).up().build();
        handle.link().set(up(1)).execute().await.context("raise the pod's lo")?;
        let index = index_of(&handle, INTERFACE).await?;
        handle
            .address()
            .add(index, IpAddr::V4(ip), 32)
            .execute()
            .await
            .context("give the pod its address")?;
        handle.link().set(up(index)).execute().await.context("raise the pod's eth0")?;
        let gateway = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(NODE_IP, 32)
            .output_interface(index)
            .scope(rtnetlink::packet_route::route::RouteScope::Link)
            .build();
        handle.route().add(gateway).execute().await.context("route to the node")?;
        let default = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(Ipv4Addr::UNSPECIFIED, 0)
            .gateway(NODE_IP)
            .output_interface(index)
            .build();
        handle.route().add(default).execute().await.context("route through the node")
    })
}

/// Index of the interface `name`.
pub(crate) async fn index_of(handle: &Handle, name: &str) -> Result<u32> {
    let mut links = handle.link().get().match_name(name.to_owned()).execute();
    let link = links.try_next().await.with_context(|| format!("find the interface {name}"))?;
    Ok(link.with_context(|| format!("the interface {name} is gone"))?.header.index)
}
