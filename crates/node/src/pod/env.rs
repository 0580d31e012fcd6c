//! A container's environment.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, Pod, Service};

use super::Objects;
use super::downward;

/// Variables in the order in which they were set; a later one of the same name replaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Env(pub Vec<(String, String)>);

impl Env {
    /// Sets a variable.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(k, _)| *k == key) {
            Some(entry) => entry.1 = value,
            None => self.0.push((key, value)),
        }
    }

    /// A variable's value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    /// Replaces `$(NAME)` by the variable's value; unknown names stay, `$$` stands for one `$`.
    pub fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(tail) = rest.strip_prefix('$') {
                out.push('$');
                rest = tail;
            } else if let Some((name, tail)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
                match self.get(name) {
                    Some(value) => out.push_str(value),
                    None => out.extend(["$(", name, ")"]),
                }
                rest = tail;
            } else {
                out.push('$');
            }
        }
        out + rest
    }
}

/// Builds the environment: the image's, services', `envFrom`, `env`, each over the one before.
///
/// # Errors
/// Names the variable and the object that is missing (kubelet: CreateContainerConfigError).
pub(crate) fn build(
    pod: &Pod,
    container: &Container,
    ip: Option<Ipv4Addr>,
    image: &[(String, String)],
    objects: &dyn Objects,
) -> Result<Env> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let mut env = Env::default();
    env.set("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    env.set("HOSTNAME", pod.metadata.name.as_deref().unwrap_or_default());
    env.set("HOME", "/root");
    image.iter().for_each(|(k, v)| env.set(k, v));
    let links = pod.spec.as_ref().and_then(|s| s.enable_service_links).unwrap_or(true);
    for service in
        objects.services("default").iter().filter(|s| s.metadata.name.as_deref() == Some("kubernetes"))
    {
        service_links(&mut env, service);
    }
    if links {
        objects.services(namespace).iter().for_each(|service| service_links(&mut env, service));
    }
    from_sources(&mut env, namespace, container, objects)?;
    for var in container.env.iter().flatten() {
        let value = match (&var.value, &var.value_from) {
            (Some(value), _) => Some(env.expand(value)),
            (None, Some(source)) => source_value(pod, container, ip, source, namespace, objects)
                .with_context(|| format!("env {}", var.name))?,
            (None, None) => Some(String::new()),
        };
        if let Some(value) = value {
            env.set(&var.name, value);
        }
    }
    Ok(env)
}

fn from_sources(env: &mut Env, namespace: &str, container: &Container, objects: &dyn Objects) -> Result<()> {
    for source in container.env_from.iter().flatten() {
        let prefix = source.prefix.as_deref().unwrap_or_default();
        if let Some(wanted) = &source.config_map_ref {
            match objects.config_map(namespace, &wanted.name) {
                Some(map) => {
                    map.data.iter().flatten().for_each(|(k, v)| env.set(format!("{prefix}{k}"), v));
                }
                None if wanted.optional == Some(true) => {}
                None => return Err(anyhow!("configmap {:?} not found", wanted.name)),
            }
        }
        if let Some(wanted) = &source.secret_ref {
            match objects.secret(namespace, &wanted.name) {
                Some(secret) => secret.data.iter().flatten().for_each(|(k, v)| {
                    env.set(format!("{prefix}{k}"), String::from_utf8_lossy(&v.0));
                }),
                None if wanted.optional == Some(true) => {}
                None => return Err(anyhow!("secret {:?} not found", wanted.name)),
            }
        }
    }
    Ok(())
}

/// The value of `valueFrom`; `None` if it is optional and missing.
fn source_value(
    pod: &Pod,
    container: &Container,
    ip: Option<Ipv4Addr>,
    source: &EnvVarSource,
    namespace: &str,
    objects: &dyn Objects,
) -> Result<Option<String>> {
    if let Some(reference) = &source.field_ref {
        return downward::field(pod, ip, &reference.field_path).map(Some);
    }
    if let Some(reference) = &source.resource_field_ref {
        return downward::resource(Some(container), pod, reference).map(Some);
    }
    let (kind, name, key, optional, found) = if let Some(r) = &source.config_map_key_ref {
        let map = objects.config_map(namespace, &r.name);
        let value = map.and_then(|m| m.data.as_ref()?.get(&r.key).cloned());
        ("configmap", &r.name, &r.key, r.optional, value)
    } else if let Some(r) = &source.secret_key_ref {
        let secret = objects.secret(namespace, &r.name);
        let value =
            secret.and_then(|s| Some(String::from_utf8_lossy(&s.data.as_ref()?.get(&r.key)?.0).into_owned()));
        ("secret", &r.name, &r.key, r.optional, value)
    } else {
        return Err(anyhow!("valueFrom names no source that this node knows"));
    };
    match found {
        None if optional != Some(true) => {
            Err(anyhow!("couldn't find key {key} in {kind} {namespace}/{name}"))
        }
        value => Ok(value),
    }
}

/// The variables by which Docker links told containers of services.
fn service_links(env: &mut Env, service: &Service) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else { return };
    let name = service.metadata.name.as_deref().unwrap_or_default().to_uppercase().replace('-', "_");
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    env.set(format!("{name}_SERVICE_HOST"), ip);
    env.set(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for port in ports {
        if let Some(port_name) = port.name.as_deref().filter(|n| !n.is_empty()) {
            let port_name = port_name.to_uppercase().replace('-', "_");
            env.set(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
    }
    let proto =
        |p: &k8s_openapi::api::core::v1::ServicePort| p.protocol.as_deref().unwrap_or("TCP").to_owned();
    env.set(format!("{name}_PORT"), format!("{}://{ip}:{}", proto(first).to_lowercase(), first.port));
    for port in ports {
        let proto = proto(port);
        let prefix = format!("{name}_PORT_{}_{proto}", port.port);
        env.set(prefix.clone(), format!("{}://{ip}:{}", proto.to_lowercase(), port.port));
        env.set(format!("{prefix}_PROTO"), proto.to_lowercase());
        env.set(format!("{prefix}_PORT"), port.port.to_string());
        env.set(format!("{prefix}_ADDR"), ip);
    }
}

/// Whether the container asks for a variable itself.
pub(crate) fn names(container: &Container, key: &str) -> bool {
    container.env.iter().flatten().any(|var: &EnvVar| var.name == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_expand_and_unknown_ones_stay() {
        let env = Env(vec![("A".into(), "1".into()), ("B".into(), "2".into())]);
        assert_eq!(env.expand("$(A)-$(B)-$(C)-$$(A)-$A-$(A"), "1-2-$(C)-$(A)-$A-$(A");
        assert_eq!(env.expand("100$"), "100$");
    }

    #[test]
    fn services_become_docker_links() {
        let service: Service = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "my-db"},
            "spec": {"clusterIP": "10.96.7.7", "ports": [{"name": "sql", "port": 3306}]}
        }))
        .unwrap();
        let mut env = Env::default();
        service_links(&mut env, &service);
        assert_eq!(env.get("MY_DB_SERVICE_HOST"), Some("10.96.7.7"));
        assert_eq!(env.get("MY_DB_SERVICE_PORT_SQL"), Some("3306"));
        assert_eq!(env.get("MY_DB_PORT_3306_TCP"), Some("tcp://10.96.7.7:3306"));
        let mut none = Env::default();
        let headless = serde_json::json!({"metadata": {"name": "h"}, "spec": {"clusterIP": "None"}});
        service_links(&mut none, &serde_json::from_value(headless).unwrap());
        assert_eq!(none, Env::default());
    }
}
