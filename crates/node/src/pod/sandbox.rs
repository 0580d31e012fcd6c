//! A pod's network and its own files in `/etc`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;

use super::PodContext;
use crate::launcher::Mount;
use crate::network::{DNS_IP, PodNetwork};

const MAX_HOSTNAME: usize = 63;

/// Makes the pod's network namespace and its files.
///
/// # Errors
/// What the kernel refused; kubelet's FailedCreatePodSandBox.
pub(crate) async fn create(ctx: &PodContext) -> Result<()> {
    let pod = ctx.pod();
    if !ctx.host_network() && ctx.network().is_none() {
        let before = pod.status.as_ref().and_then(|s| s.pod_ip.as_ref()?.parse().ok());
        let ip = ctx
            .runtime
            .addresses
            .allocate(before)
            .context("all pod addresses of 10.244.0.0/16 are in use")?;
        match PodNetwork::create(&ctx.runtime.bridge, ip).await {
            Ok(network) => ctx.enter_network(network),
            Err(error) => {
                ctx.runtime.addresses.release(ip);
                return Err(error);
            }
        }
    }
    let etc = ctx.dir().join("etc");
    fs::create_dir_all(&etc).with_context(|| etc.display().to_string())?;
    let ip = ctx.ip().map(|ip| ip.to_string()).unwrap_or_default();
    fs::write(etc.join("hostname"), hostname(&pod) + "\n")?;
    fs::write(etc.join("hosts"), hosts(&pod, &ip))?;
    fs::write(etc.join("resolv.conf"), resolv_conf(&pod, ctx.host_network()))?;
    Ok(())
}

/// The pod's files, to be mounted in every container.
pub(crate) fn files(dir: &Path) -> Vec<Mount> {
    let file = |name: &str| Mount {
        source: dir.join("etc").join(name),
        target: format!("/etc/{name}"),
        read_only: false,
    };
    ["hostname", "hosts", "resolv.conf"].map(file).into()
}

/// The pod's host name: its name, cut to what a host name may be.
pub(crate) fn hostname(pod: &Pod) -> String {
    let own = pod.spec.as_ref().and_then(|s| s.hostname.clone()).filter(|h| !h.is_empty());
    let mut name = own.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    name.truncate(MAX_HOSTNAME);
    name.trim_end_matches(['-', '.']).to_owned()
}

fn hosts(pod: &Pod, ip: &str) -> String {
    let name = hostname(pod);
    let spec = pod.spec.as_ref();
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n",
    );
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    match spec.and_then(|s| s.subdomain.as_deref()).filter(|s| !s.is_empty()) {
        Some(domain) => {
            text += &format!("{ip}\t{name}.{domain}.{namespace}.svc.cluster.local\t{name}\n");
        }
        None => text += &format!("{ip}\t{name}\n"),
    }
    for alias in spec.into_iter().flat_map(|s| s.host_aliases.iter().flatten()) {
        text += &format!("{}\t{}\n", alias.ip, alias.hostnames.as_deref().unwrap_or_default().join("\t"));
    }
    text
}

/// `dnsPolicy` and `dnsConfig`.
fn resolv_conf(pod: &Pod, host_network: bool) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|s| s.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    let host = policy == "Default" || (policy == "ClusterFirst" && host_network);
    if host {
        let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
        if spec.and_then(|s| s.dns_config.as_ref()).is_none() {
            return text;
        }
        servers
            .extend(text.lines().filter_map(|l| l.strip_prefix("nameserver")).map(|s| s.trim().to_owned()));
    } else if policy != "None" {
        servers.push(DNS_IP.to_string());
        searches.extend([
            format!("{namespace}.svc.cluster.local"),
            "svc.cluster.local".to_owned(),
            "cluster.local".to_owned(),
        ]);
        options.push("ndots:5".to_owned());
    }
    if let Some(config) = spec.and_then(|s| s.dns_config.as_ref()) {
        servers.extend(config.nameservers.iter().flatten().cloned());
        searches.extend(config.searches.iter().flatten().cloned());
        for option in config.options.iter().flatten() {
            let name = option.name.as_deref().unwrap_or_default();
            options.retain(|o| o.split(':').next() != Some(name));
            options.push(
                option.value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}:{value}")),
            );
        }
    }
    let mut text: String = servers.iter().map(|s| format!("nameserver {s}\n")).collect();
    if !searches.is_empty() {
        text += &format!("search {}\n", searches.join(" "));
    }
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        let meta = serde_json::json!({"name": "reviews-v1-6f4b", "namespace": "shop"});
        serde_json::from_value(serde_json::json!({"metadata": meta, "spec": spec})).unwrap()
    }

    #[test]
    fn pods_ask_cluster_dns_with_their_namespace_first() {
        let text = resolv_conf(&pod(serde_json::json!({"containers": []})), false);
        assert_eq!(
            text,
            "nameserver 10.96.0.10\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
    }

    #[test]
    fn dns_config_adds_and_overrides() {
        let spec = serde_json::json!({"containers": [], "dnsConfig": {
            "nameservers": ["1.2.3.4"], "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}});
        let text = resolv_conf(&pod(spec), false);
        assert!(text.contains("nameserver 1.2.3.4\n") && text.ends_with("options ndots:2 edns0\n"), "{text}");
    }

    #[test]
    fn hosts_has_the_pod_and_its_aliases() {
        let spec = serde_json::json!({"containers": [], "hostname": "web", "subdomain": "all",
            "hostAliases": [{"ip": "10.0.0.9", "hostnames": ["a", "b"]}]});
        let text = hosts(&pod(spec), "10.244.0.7");
        assert!(text.contains("10.244.0.7\tweb.all.shop.svc.cluster.local\tweb\n"), "{text}");
        assert!(text.contains("10.0.0.9\ta\tb\n"), "{text}");
    }
}
