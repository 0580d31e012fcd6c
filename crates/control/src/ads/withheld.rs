use std::collections::BTreeSet;

use lateen_generate::Proxy;
use lateen_mesh::Mesh;
use lateen_xds::TypeUrl;
use lateen_xds::server::Resources;

use super::registry::Connection;
use crate::{Context, Refusal};

/// The type of Secrets.
pub(super) const SECRET: &str = TypeUrl::Secret.as_str();

/// Names that are remembered of one stream: whoever asks for more is told off often enough.
const REMEMBERED: usize = 64;

/// Secrets that a stream asked for and is not given. Each is told once.
#[derive(Debug, Default)]
pub(super) struct Withheld(BTreeSet<String>);

impl Withheld {
    /// Looks for names that the proxy may not have.
    pub(super) fn look(&mut self, names: &[String], connection: &Connection, context: &Context) {
        let proxy = &connection.proxy;
        let mut view = None;
        for name in names {
            if self.0.len() >= REMEMBERED || self.0.contains(name) {
                continue;
            }
            let view = view.get_or_insert_with(|| context.hub.view(proxy));
            if view.get(TypeUrl::Secret, name).is_some() {
                continue;
            }
            self.0.insert(name.clone());
            context.metrics.refusals.on(Refusal::Secret);
            tracing::warn!(
                node = %proxy.id,
                secret = name,
                reason = reason(name, proxy, &context.hub.mesh()),
                "secret withheld from a proxy"
            );
        }
    }
}

/// Why a proxy does not get a Secret.
fn reason(name: &str, proxy: &Proxy, mesh: &Mesh) -> &'static str {
    if !proxy.authenticated {
        return "the stream proved no identity, and secrets are only for streams that do";
    }
    let Some(name) = name.strip_prefix("kubernetes://") else {
        return "the control plane serves Secrets of Kubernetes alone: kubernetes://NAME";
    };
    if name.contains('/') {
        return "a proxy gets Secrets of its own namespace alone";
    }
    let own = |name: &str| mesh.credentials.get(&proxy.namespace, name).is_some();
    match own(name) || name.strip_suffix("-cacert").is_some_and(own) {
        true => "no Gateway and no DestinationRule of the proxy names it",
        false => "there is no such Secret in the proxy's namespace",
    }
}

#[cfg(test)]
mod tests {
    use lateen_xds::pb::envoy::config::core::v3::Node;

    use super::*;

    #[test]
    fn the_log_says_why() {
        let node =
            Node { id: "router~10.0.0.1~gateway-1.edge~edge.svc.cluster.local".into(), ..Node::default() };
        let mut proxy = Proxy::from_node(&node).unwrap();
        let mesh = Mesh::default();
        assert!(reason("kubernetes://a", &proxy, &mesh).contains("no identity"));
        proxy.authenticated = true;
        for (name, part) in [
            ("kubernetes://bank/vault", "own namespace"),
            ("kubernetes://vault", "no such Secret"),
            ("default", "kubernetes://NAME"),
        ] {
            assert!(reason(name, &proxy, &mesh).contains(part), "{name}");
        }
    }
}
