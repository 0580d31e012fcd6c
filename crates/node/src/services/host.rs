//! Services on the host: NodePorts on 127.0.0.1, each LoadBalancer on an address of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::choose;
use crate::HostPorts;
use crate::cluster::{Catalog, Events};
use crate::pod::Severity;

/// First three parts of load balancers' addresses.
const BALANCERS: [u8; 3] = [127, 77, 0];
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long an address that another program holds is left to it before the next try.
const LISTEN_RETRY: Duration = Duration::from_secs(2);

/// One port of a service on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostListener {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub service: String,
    /// Name of the port; empty if it has none.
    pub port_name: String,
    /// The service's port.
    pub port: u16,
    /// Its NodePort, which is open on 127.0.0.1.
    pub node_port: Option<u16>,
    /// The host's address.
    pub address: SocketAddr,
    /// Why the host does not listen there, if it does not.
    pub error: Option<String>,
    /// Whether that is because another program listens there, and may stop one day.
    pub taken: bool,
}

/// Keeps the host's listeners in step with services.
pub(crate) struct HostServices {
    client: Client,
    events: Events,
    catalog: Arc<Catalog>,
    ports: Arc<dyn HostPorts>,
    balancers: BTreeMap<(String, String), Ipv4Addr>,
    open: BTreeMap<SocketAddr, (HostListener, Option<JoinHandle<()>>)>,
    /// Addresses whose failure has been told already.
    refused: BTreeSet<SocketAddr>,
    report: watch::Sender<Vec<HostListener>>,
}

impl HostServices {
    /// No listeners yet; the receiver has their list.
    pub fn new(
        client: Client,
        events: Events,
        catalog: Arc<Catalog>,
        ports: Arc<dyn HostPorts>,
    ) -> (Self, watch::Receiver<Vec<HostListener>>) {
        let (report, receiver) = watch::channel(Vec::new());
        let (balancers, open) = (BTreeMap::new(), BTreeMap::new());
        (Self { client, events, catalog, ports, balancers, open, refused: BTreeSet::new(), report }, receiver)
    }

    /// Follows the catalog for as long as the task lives.
    pub async fn follow(mut self) {
        let mut changes = self.catalog.network_changes();
        loop {
            changes.mark_unchanged();
            self.update().await;
            let taken = self.open.values().any(|(listener, _)| listener.taken);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() {
                    return;
                },
                // Nothing tells when another program gives an address up.
                () = tokio::time::sleep(LISTEN_RETRY), if taken => {}
            }
        }
    }

    async fn update(&mut self) {
        let services = self.catalog.services();
        self.assign(&services).await;
        let wanted: BTreeMap<SocketAddr, (HostListener, Arc<Service>)> = services
            .iter()
            .flat_map(|s| self.listeners(s).into_iter().map(|l| (l.address, (l, s.clone()))))
            .collect();
        self.open.retain(|address, (listener, task)| {
            let stays = !listener.taken && wanted.get(address).is_some_and(|(w, _)| same_port(w, listener));
            if let Some(task) = task.as_ref().filter(|_| !stays) {
                task.abort();
            }
            stays
        });
        for (address, (mut listener, service)) in wanted {
            if self.open.contains_key(&address) {
                continue;
            }
            let task = match self.ports.listen(address).await {
                Ok(socket) => Some(tokio::spawn(serve(socket, listener.clone(), self.catalog.clone()))),
                Err(error) => {
                    listener.error = Some(error.to_string());
                    listener.taken = error.kind() == io::ErrorKind::AddrInUse;
                    if self.refused.insert(address) {
                        self.complain(&service, &listener, &error);
                    }
                    None
                }
            };
            self.open.insert(address, (listener, task));
        }
        let list: Vec<HostListener> = self.open.values().map(|(listener, _)| listener.clone()).collect();
        self.report.send_if_modified(|old| {
            let changed = *old != list;
            *old = list;
            changed
        });
    }

    fn complain(&self, service: &Service, listener: &HostListener, error: &io::Error) {
        let mut message = format!("the host does not listen on {}: {error}", listener.address);
        if error.kind() == io::ErrorKind::PermissionDenied {
            message += " (allow low ports with sysctl net.ipv4.ip_unprivileged_port_start=0)";
        }
        if let Some(port) = listener.node_port {
            message += &format!("; use 127.0.0.1:{port}");
        }
        self.events.report(
            service,
            None,
            "service-controller",
            Severity::Warning,
            "HostPortUnavailable",
            message,
        );
    }

    /// Gives each load balancer an address and writes it to the service's status.
    async fn assign(&mut self, services: &[Arc<Service>]) {
        let balancers: Vec<&Arc<Service>> = services.iter().filter(|s| kind(s) == "LoadBalancer").collect();
        let present: BTreeSet<(String, String)> = balancers.iter().map(|s| key(s)).collect();
        self.balancers.retain(|key, _| present.contains(key));
        // Addresses that services have from an earlier run come first, so that none of them is given away.
        for service in &balancers {
            if let Some(before) = ingress(service).filter(|ip| ip.octets()[..3] == BALANCERS)
                && !self.balancers.values().any(|ip| *ip == before)
                && (self.balancers.contains_key(&key(service)) || !self.is_taken(before, service).await)
            {
                self.balancers.entry(key(service)).or_insert(before);
            }
        }
        for service in balancers {
            let ip = match self.balancers.get(&key(service)) {
                Some(ip) => Some(*ip),
                None => self.free_address(service).await,
            };
            let Some(ip) = ip else {
                let message = "all load balancer addresses of 127.77.0.0/24 are in use".to_owned();
                self.events.report(
                    service.as_ref(),
                    None,
                    "service-controller",
                    Severity::Warning,
                    "SyncLoadBalancerFailed",
                    message,
                );
                continue;
            };
            self.balancers.insert(key(service), ip);
            if ingress(service) != Some(ip) {
                let status =
                    serde_json::json!({"status": {"loadBalancer": {"ingress": [{"ip": ip.to_string()}]}}});
                let api: Api<Service> =
                    Api::namespaced(self.client.clone(), &service.namespace().unwrap_or_default());
                let patch = Patch::Merge(&status);
                if let Err(error) =
                    api.patch_status(&service.name_any(), &PatchParams::default(), &patch).await
                {
                    tracing::warn!(service = service.name_any(), %error, "load balancer's address not written");
                }
            }
        }
    }

    /// The first address that neither this mesh nor another program of the host uses.
    async fn free_address(&self, service: &Service) -> Option<Ipv4Addr> {
        for n in 1..=254 {
            let ip = Ipv4Addr::new(BALANCERS[0], BALANCERS[1], BALANCERS[2], n);
            if !self.balancers.values().any(|used| *used == ip) && !self.is_taken(ip, service).await {
                return Some(ip);
            }
        }
        None
    }

    /// Whether another program (another mesh of this machine) listens on one of the service's ports there.
    async fn is_taken(&self, ip: Ipv4Addr, service: &Service) -> bool {
        for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()) {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let probe = self.ports.listen(SocketAddrV4::new(ip, number).into()).await;
            if probe.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse) {
                return true;
            }
        }
        false
    }

    fn listeners(&self, service: &Service) -> Vec<HostListener> {
        let (namespace, name) = key(service);
        let balancer = self.balancers.get(&(namespace.clone(), name.clone()));
        let mut listeners = Vec::new();
        let tcp =
            |p: &&k8s_openapi::api::core::v1::ServicePort| p.protocol.as_deref().is_none_or(|p| p == "TCP");
        for port in service.spec.iter().flat_map(|s| s.ports.iter().flatten()).filter(tcp) {
            let Ok(number) = u16::try_from(port.port) else { continue };
            let typed = matches!(kind(service), "NodePort" | "LoadBalancer");
            let node_port = port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0 && typed);
            let addresses = node_port
                .map(|p| (Ipv4Addr::LOCALHOST, p))
                .into_iter()
                .chain(balancer.map(|ip| (*ip, number)));
            listeners.extend(addresses.map(|(ip, p)| HostListener {
                namespace: namespace.clone(),
                service: name.clone(),
                port_name: port.name.clone().unwrap_or_default(),
                port: number,
                node_port,
                address: SocketAddrV4::new(ip, p).into(),
                error: None,
                taken: false,
            }));
        }
        listeners
    }
}

fn same_port(a: &HostListener, b: &HostListener) -> bool {
    (&a.namespace, &a.service, &a.port_name, a.port) == (&b.namespace, &b.service, &b.port_name, b.port)
}

fn key(service: &Service) -> (String, String) {
    (service.namespace().unwrap_or_default(), service.name_any())
}

fn kind(service: &Service) -> &str {
    service.spec.as_ref().and_then(|s| s.type_.as_deref()).unwrap_or("ClusterIP")
}

fn ingress(service: &Service) -> Option<Ipv4Addr> {
    let balancer = service.status.as_ref()?.load_balancer.as_ref()?;
    balancer.ingress.as_ref()?.first()?.ip.as_ref()?.parse().ok()
}

/// Passes connections on to the service's endpoints.
async fn serve(socket: TcpListener, listener: HostListener, catalog: Arc<Catalog>) {
    let socket = match socket.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(socket)) {
        Ok(socket) => socket,
        Err(error) => {
            tracing::error!(address = %listener.address, %error, "the host's listener cannot be used");
            return;
        }
    };
    loop {
        match socket.accept().await {
            Ok((client, _)) => {
                let backend = choose(&catalog, &listener.namespace, &listener.service, &listener.port_name);
                tokio::spawn(forward(client, backend.map(|b| SocketAddr::from((b.ip, b.port)))));
            }
            Err(error) => {
                tracing::debug!(address = %listener.address, %error, "accept");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn forward(mut client: TcpStream, backend: Option<SocketAddr>) {
    let server = match backend {
        Some(address) => TcpStream::connect(address).await,
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    match server {
        Ok(mut server) => {
            // Small packets must not wait; a socket that refuses is slower, no more.
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            // Both ends see what went wrong as a closed connection.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        }
        // A reset is what a refused connection would have looked like.
        Err(_) => drop(socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO))),
    }
}
