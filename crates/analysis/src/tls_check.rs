//! Whether clients and servers agree on mutual TLS, port by port: the table of `istioctl authn tls-check`.

use lateen_api::networking::destination_rule::DestinationRuleSpec;
use lateen_api::networking::traffic_policy::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use lateen_mesh::{ConfigKey, Endpoint, Labels, Mesh, Mtls, Port, Service};

/// One service port, as a client and its servers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsStatus {
    /// The service's host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the two go together.
    pub ok: bool,
    /// What servers take: `mTLS`, `HTTP`, or `HTTP/mTLS`.
    pub server: &'static str,
    /// What the client sends: the same words, or `TLS`.
    pub client: &'static str,
    /// The policy that decides for the servers, as `name/namespace`; `-` without one.
    pub policy: String,
    /// The rule that decides for the client, as `name/namespace`; `-` without one.
    pub rule: String,
}

/// Who calls: a workload, or, without one, any workload of the service's own namespace.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels.
    pub labels: &'a Labels,
}

/// What a side speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Speaks {
    plain: bool,
    mutual: bool,
}

impl Speaks {
    fn word(self) -> &'static str {
        match (self.plain, self.mutual) {
            (true, true) => "HTTP/mTLS",
            (false, true) => "mTLS",
            _ => "HTTP",
        }
    }
}

/// Every service port of the mesh, by host and port.
pub fn tls_check(mesh: &Mesh, caller: Option<Caller<'_>>) -> Vec<TlsStatus> {
    let services = mesh.services.all().iter().filter(|s| s.external_name.is_none());
    let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    ports.map(|(service, port)| check(mesh, caller, service, port)).collect()
}

fn check(mesh: &Mesh, caller: Option<Caller<'_>>, service: &Service, port: &Port) -> TlsStatus {
    let anyone = Labels::new();
    let caller = caller.unwrap_or(Caller { namespace: &service.id.namespace, labels: &anyone });
    let endpoints = mesh.endpoints(&service.id).of_port(port.number);
    let (servers, source) = servers(mesh, service, port, endpoints);
    let rule = mesh.destination_rules.lookup(caller.namespace, caller.labels, &service.id);
    let settings = rule.and_then(|r| settings(&r.spec, port.number));
    let automatic = mesh.settings.auto_mtls && !service.external;
    let mode = settings.map(|tls| tls.mode.unwrap_or_default());
    let takes = |accepted: fn(&Speaks) -> bool| servers.iter().all(accepted);
    let (client, ok) = match mode {
        Some(ClientTlsMode::IstioMutual) => ("mTLS", takes(|s| s.mutual)),
        Some(ClientTlsMode::Disable) => ("HTTP", takes(|s| s.plain)),
        Some(ClientTlsMode::Simple | ClientTlsMode::Mutual) => ("TLS", takes(|s| s.plain)),
        None if automatic => {
            let mutual = servers.iter().any(|s| s.mutual);
            (Speaks { plain: takes(|s| s.mutual) != mutual || !mutual, mutual }.word(), true)
        }
        None => ("HTTP", takes(|s| s.plain)),
    };
    let server = Speaks { plain: servers.iter().any(|s| s.plain), mutual: servers.iter().any(|s| s.mutual) };
    TlsStatus {
        host: service.id.host.to_string(),
        port: port.number,
        ok,
        server: server.word(),
        client,
        policy: source.map_or_else(|| "-".to_owned(), |key| format!("{}/{}", key.name, key.namespace)),
        rule: rule
            .filter(|_| settings.is_some())
            .map_or_else(|| "-".to_owned(), |r| format!("{}/{}", r.meta.name, r.meta.namespace)),
    }
}

/// What each endpoint takes, and the policy that says so. Without endpoints: what one that the service selects would.
fn servers(
    mesh: &Mesh,
    service: &Service,
    port: &Port,
    endpoints: &[Endpoint],
) -> (Vec<Speaks>, Option<ConfigKey>) {
    let served = [(service, port)];
    let mut source = None;
    let mut speaks = |labels: &Labels, target: u16, has_proxy: bool| {
        let policy = mesh.policies.peer(&service.id.namespace, labels, target, &served);
        if source.is_none() {
            source = policy.source;
        }
        match policy.mode {
            // Nothing that could encrypt stands before the application.
            _ if !has_proxy => Speaks { plain: true, mutual: false },
            Mtls::Strict => Speaks { plain: false, mutual: true },
            Mtls::Permissive => Speaks { plain: true, mutual: true },
            Mtls::Disable => Speaks { plain: true, mutual: false },
        }
    };
    let known = |e: &Endpoint| e.workload.as_ref().is_some_and(|w| w.takes_mtls());
    let mut all: Vec<Speaks> = endpoints.iter().map(|e| speaks(&e.labels, e.port, known(e))).collect();
    if all.is_empty() {
        let target = match &port.target {
            lateen_mesh::TargetPort::Number(number) => *number,
            lateen_mesh::TargetPort::Name(_) => port.number,
        };
        all.push(speaks(&service.selector, target, !service.selector.is_empty()));
    }
    (all, source)
}

/// The TLS settings of a rule for a port: those of the port, else those for all.
fn settings(rule: &DestinationRuleSpec, port: u16) -> Option<&ClientTlsSettings> {
    let policy: &TrafficPolicy = rule.traffic_policy.as_ref()?;
    let of_port = policy
        .port_level_settings
        .iter()
        .find(|p| p.port.as_ref().is_some_and(|selector| selector.number == u32::from(port)));
    match of_port {
        Some(own) => own.tls.as_ref(),
        None => policy.tls.as_ref(),
    }
}
