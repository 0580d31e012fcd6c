//! Secrets and ConfigMaps that gateways and rules name, and that are missing or cannot be used.

use std::collections::BTreeSet;
use std::sync::Arc;

use lateen_api::networking::gateway::{Server, ServerTlsMode, ServerTlsSettings};
use lateen_api::networking::traffic_policy::{ClientTlsMode, ClientTlsSettings, TrafficPolicy};
use lateen_mesh::{Credential, DestinationRule, Gateway, Kind, Mesh};

use crate::finding::{Code, Finding, Severity, key};

/// What stands before namespaces and names of ConfigMaps.
const MAP: &str = "configmap://";

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    for gateway in &mesh.gateways.all {
        for (at, server) in gateway.spec.servers.iter().enumerate() {
            of_server(mesh, gateway, at, server, findings);
        }
    }
    for rule in mesh.destination_rules.all() {
        for (field, tls) in client_settings(rule) {
            of_client(mesh, rule, &field, tls, findings);
        }
    }
}

/// What is wanted of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Pair,
    /// Authorities, in a Secret.
    Roots,
    /// Authorities, in a Secret or a ConfigMap.
    RootsAnywhere,
}

/// What a gateway's server names.
fn of_server(mesh: &Mesh, gateway: &Gateway, at: usize, server: &Server, findings: &mut Vec<Finding>) {
    let Some(tls) = &server.tls else { return };
    let mode = tls.mode.unwrap_or_default();
    if !matches!(mode, ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual) {
        return;
    }
    let pods = mesh.workloads().filter(|w| w.alive && gateway.selects(&w.labels));
    let namespaces: BTreeSet<&str> = pods.map(|w| &*w.meta.namespace).collect();
    for namespace in namespaces {
        for (field, name, part) in wanted(tls, mode) {
            let (severity, message) = match look_at(mesh, namespace, name, part) {
                Usable::Yes => continue,
                Usable::Before(problem) => (Severity::Warning, format!("{problem}; the last good one stays")),
                Usable::Bad(problem) | Usable::Missing(problem) => {
                    (Severity::Error, format!("{problem}; the hosts {} are closed", server.hosts.join(", ")))
                }
            };
            findings.push(Finding::new(
                Code::CredentialNotUsable,
                severity,
                key(Kind::Gateway, &gateway.meta),
                format!("spec.servers[{at}].tls.{field}"),
                message,
                mend(name, namespace, part),
            ));
        }
    }
}

fn mend(name: &str, namespace: &str, part: Part) -> String {
    if let Some(map) = name.strip_prefix(MAP) {
        return format!("create the ConfigMap {map} with ca.crt");
    }
    match part {
        Part::RootsAnywhere => format!("create a Secret or a ConfigMap {name:?} in {namespace} with ca.crt"),
        Part::Pair | Part::Roots => {
            format!(
                "create a Secret {name:?} in {namespace} with tls.crt and tls.key (and ca.crt for MUTUAL)"
            )
        }
    }
}

/// What a server names: field, name, and what is wanted of it.
fn wanted(tls: &ServerTlsSettings, mode: ServerTlsMode) -> Vec<(&'static str, &str, Part)> {
    let one = Some(tls.credential_name.as_str()).filter(|n| !n.is_empty()).map(|n| ("credentialName", n));
    let several = tls.credential_names.iter().map(|n| ("credentialNames", n.as_str()));
    let pairs: Vec<_> = one.into_iter().chain(several).collect();
    let own = Some(tls.ca_cert_credential_name.as_str()).filter(|n| !n.is_empty());
    let roots = match own {
        Some(own) => Some(("caCertCredentialName", own, Part::RootsAnywhere)),
        None => pairs.first().map(|(field, name)| (*field, *name, Part::Roots)),
    };
    let roots = roots.filter(|_| mode != ServerTlsMode::Simple);
    pairs.into_iter().map(|(field, name)| (field, name, Part::Pair)).chain(roots).collect()
}

/// Every TLS of a rule that may name a Secret, with the path of its field.
fn client_settings(rule: &DestinationRule) -> Vec<(String, &ClientTlsSettings)> {
    fn of<'a>(path: &str, policy: &'a TrafficPolicy, found: &mut Vec<(String, &'a ClientTlsSettings)>) {
        found.extend(policy.tls.as_ref().map(|tls| (format!("{path}.tls"), tls)));
        let ports = policy.port_level_settings.iter().enumerate();
        found
            .extend(ports.filter_map(|(at, p)| {
                Some((format!("{path}.portLevelSettings[{at}].tls"), p.tls.as_ref()?))
            }));
    }
    let mut found = Vec::new();
    if let Some(policy) = &rule.spec.traffic_policy {
        of("spec.trafficPolicy", policy, &mut found);
    }
    for (at, subset) in rule.spec.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            of(&format!("spec.subsets[{at}].trafficPolicy"), policy, &mut found);
        }
    }
    found
}

/// What a rule names. Each client looks for it in its own namespace: it is missing when no client has it.
fn of_client(
    mesh: &Mesh,
    rule: &DestinationRule,
    field: &str,
    tls: &ClientTlsSettings,
    findings: &mut Vec<Finding>,
) {
    let (name, mode) = (tls.credential_name.as_str(), tls.mode.unwrap_or_default());
    let by_secret = matches!(mode, ClientTlsMode::Simple | ClientTlsMode::Mutual);
    if name.is_empty() || !by_secret {
        return;
    }
    let own = &*rule.meta.namespace;
    let mut namespaces = BTreeSet::from([own]);
    if rule.workload_selector.is_none() {
        let default = &mesh.settings.default_destination_rule_export;
        let clients = mesh.workloads().filter(|w| w.alive && rule.visible_to(&w.meta.namespace, default));
        namespaces.extend(clients.map(|w| &*w.meta.namespace));
    }
    let pair = (mode == ClientTlsMode::Mutual).then_some(Part::Pair);
    let roots = (!tls.insecure_skip_verify.unwrap_or(false)).then_some(Part::Roots);
    for part in pair.into_iter().chain(roots) {
        let best = namespaces.iter().map(|namespace| look_at(mesh, namespace, name, part)).min();
        let (severity, message) = match best {
            None | Some(Usable::Yes) => continue,
            Some(Usable::Before(problem)) => {
                (Severity::Warning, format!("{problem}; the last good one stays"))
            }
            Some(Usable::Bad(problem)) => {
                (Severity::Error, format!("{problem}; {} is not reached", rule.host))
            }
            Some(Usable::Missing(_)) => {
                let Usable::Missing(problem) = look_at(mesh, own, name, part) else { continue };
                let elsewhere = if namespaces.len() > 1 { " (nor has any other namespace)" } else { "" };
                (Severity::Error, format!("{problem}{elsewhere}; {} is not reached", rule.host))
            }
        };
        findings.push(Finding::new(
            Code::CredentialNotUsable,
            severity,
            key(Kind::DestinationRule, &rule.meta),
            format!("{field}.credentialName"),
            message,
            format!("{}: clients look for it in the namespace of their own pods", mend(name, own, part)),
        ));
    }
}

/// Whether something can be used; the better one is the lesser.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Usable {
    Yes,
    /// It could be, and is used as it was.
    Before(String),
    Bad(String),
    Missing(String),
}

fn look_at(mesh: &Mesh, namespace: &str, name: &str, part: Part) -> Usable {
    let name = name.strip_prefix("kubernetes://").unwrap_or(name);
    let (known, wanted) = (&mesh.credentials, part);
    let roots = wanted != Part::Pair;
    let places: Vec<Option<&Arc<Credential>>> = match name.strip_prefix(MAP) {
        Some(map) => {
            let (namespace, map) = map.split_once('/').unwrap_or(("", map));
            vec![known.config_map(namespace, map).filter(|_| roots)]
        }
        None => vec![
            known.get(namespace, &format!("{name}-cacert")).filter(|_| roots),
            known.get(namespace, name),
            known.config_map(namespace, name).filter(|_| wanted == Part::RootsAnywhere),
        ],
    };
    let found: Vec<&Arc<Credential>> = places.into_iter().flatten().collect();
    let has = |c: &&Arc<Credential>| if roots { c.authorities.is_some() } else { c.pair.is_some() };
    let problem = found.iter().find_map(|c| {
        let problem = c.problem.as_ref()?;
        let (kind, meta) = (c.kind, &c.meta);
        Some(format!("the {kind} {}/{} cannot be used: {problem}", meta.namespace, meta.name))
    });
    match (found.iter().any(has), problem) {
        (true, None) => Usable::Yes,
        (true, Some(problem)) => Usable::Before(problem),
        (false, Some(problem)) => Usable::Bad(problem),
        (false, None) => Usable::Missing(missing(namespace, name, wanted)),
    }
}

fn missing(namespace: &str, name: &str, part: Part) -> String {
    if let Some(map) = name.strip_prefix(MAP) {
        return match part {
            Part::Pair => format!("the ConfigMap {map} can hold no certificate and key of a client"),
            Part::Roots | Part::RootsAnywhere => {
                format!("there is no ConfigMap {map} with ca.crt (or cacert)")
            }
        };
    }
    match part {
        Part::Pair => format!("there is no Secret {namespace}/{name} with a certificate and a key"),
        Part::Roots => {
            format!("neither {namespace}/{name}-cacert nor {namespace}/{name} has ca.crt (or cacert)")
        }
        Part::RootsAnywhere => {
            format!("there is neither a Secret nor a ConfigMap {namespace}/{name} with ca.crt (or cacert)")
        }
    }
}
