//! The API server of the mesh, and clients for it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use lateen_apiserver::{ApiServer, Handle};

use super::host_ports::HostSide;
use crate::state::StateDir;

/// Port of the API inside the mesh, at the node's and at the service's address.
const MESH_PORT: u16 = 443;

/// Starts the API server: on the host's loopback interface, and inside the mesh.
pub async fn start(state: &StateDir, host: &HostSide) -> Result<Handle> {
    let outside = listen_on_host(state, host).await?;
    state.keep_api_port(outside.local_addr()?.port())?;
    // All addresses: the one of the service is not there before the node has made its bridge.
    let inside =
        TcpListener::bind((Ipv4Addr::UNSPECIFIED, MESH_PORT)).context("the API's port inside the mesh")?;
    let handle = ApiServer::builder()
        .state_dir(state.store())
        .listener(outside)
        .listener(inside)
        .node_socket(state.kubelet_socket())
        .start()
        .await?;
    handle.ready().await;
    Ok(handle)
}

/// The port of last time, so that kubeconfigs stay valid; any other if it is taken.
async fn listen_on_host(state: &StateDir, host: &HostSide) -> Result<TcpListener> {
    let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let last = state.api_port();
    if last != 0
        && let Ok(listener) = host.listen(address(last)).await
    {
        return Ok(listener);
    }
    host.listen(address(0)).await.context("a port for the API on the host")
}

/// An administrator's client, from inside the mesh.
pub async fn client(handle: &Handle) -> Result<Client> {
    let text = handle.kubeconfig_for(&format!("https://127.0.0.1:{MESH_PORT}"));
    let config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(&text)?, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// Writes the host's kubeconfig, readable by its owner alone: it holds a key.
pub fn write_kubeconfig(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = std::fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}
