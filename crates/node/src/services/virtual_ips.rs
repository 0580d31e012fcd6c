//! Services' virtual addresses in the kernel: kube-proxy's part.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lateen_netfilter::{
    Batch, Chain, Cmp, ConcatKey, Error, Family, Hook, HookPoint, PairSet, Prefix, Proto, Reject, Rule,
    ServiceMap, Side, Verdict,
};

use super::plan::{Plan, plan};
use crate::cluster::Catalog;
use crate::network::{API_IP, DNS_IP, NODE_IP, POD_NETWORK, SERVICE_NETWORK};

const TABLE: &str = "lateen-services";
const RETRY: Duration = Duration::from_secs(1);

/// The table of services, kept in step with the catalog.
pub(crate) struct VirtualIps {
    applied: Plan,
}

fn addresses() -> ServiceMap {
    ServiceMap { name: "service-ips".into(), key: ConcatKey::AddrProtoPort }
}

fn node_ports() -> ServiceMap {
    ServiceMap { name: "service-nodeports".into(), key: ConcatKey::ProtoPort }
}

fn hairpins() -> PairSet {
    PairSet { name: "hairpin".into() }
}

impl VirtualIps {
    /// Makes the table without services.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn create() -> Result<Self, Error> {
        base().commit()?;
        Ok(Self { applied: Plan::default() })
    }

    /// Follows the catalog for as long as the task lives.
    pub async fn follow(mut self, catalog: Arc<Catalog>) {
        let mut changes = catalog.network_changes();
        loop {
            changes.mark_unchanged();
            let wanted = plan(&catalog);
            let result = difference(&self.applied, &wanted).commit();
            match result {
                Ok(()) => self.applied = wanted,
                Err(error) => {
                    // Whatever the kernel holds now, the next attempt starts from nothing.
                    tracing::error!(%error, "services' addresses are not up to date; trying again");
                    if let Err(error) = base().commit() {
                        tracing::error!(%error, "services' addresses cannot be set up");
                    }
                    self.applied = Plan::default();
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The table without services.
fn base() -> Batch {
    let mut batch = Batch::new(Family::Inet, TABLE);
    batch.remove_table();
    batch.add_table();
    batch.add_service_map(&addresses());
    batch.add_service_map(&node_ports());
    batch.add_pair_set(&hairpins());
    let chains = [
        Chain::regular("services").rule(Rule::new().vmap("service-ips", ConcatKey::AddrProtoPort)).rule(
            Rule::new()
                .addr(Side::Destination, Cmp::Eq, Prefix::host(IpAddr::V4(NODE_IP)))
                .vmap("service-nodeports", ConcatKey::ProtoPort),
        ),
        Chain::base("prerouting", Hook::nat_prerouting()).rule(jump("services")),
        Chain::base("output", Hook::nat_output()).rule(jump("services")),
        postrouting(),
        refuse(),
        Chain::base("refuse-forward", Hook::filter(HookPoint::Forward)).rule(jump("refuse")),
        Chain::base("refuse-output", Hook::filter(HookPoint::Output)).rule(jump("refuse")),
    ];
    for chain in &chains {
        batch.add_chain(chain);
    }
    for chain in &chains {
        chain.rules.iter().for_each(|rule| batch.add_rule(&chain.name, rule));
    }
    batch
}

fn jump(chain: &str) -> Rule {
    Rule::new().verdict(Verdict::Jump(chain.into()))
}

/// A pod that reaches itself through a service must see another sender, or it would answer itself directly. What
/// leaves the mesh leaves as the node.
fn postrouting() -> Chain {
    let pods = Prefix { addr: IpAddr::V4(POD_NETWORK.0), len: POD_NETWORK.1 };
    Chain::base("postrouting", Hook::nat_postrouting())
        .rule(Rule::new().ct_dnat().pair_in("hairpin").masquerade())
        .rule(
            Rule::new().addr(Side::Source, Cmp::Eq, pods).addr(Side::Destination, Cmp::Ne, pods).masquerade(),
        )
}

/// A service address that was not translated has no endpoints: the client hears so at once.
fn refuse() -> Chain {
    let services = Prefix { addr: IpAddr::V4(SERVICE_NETWORK.0), len: SERVICE_NETWORK.1 };
    let served = [IpAddr::V4(API_IP), IpAddr::V4(DNS_IP)];
    let unserved =
        || Rule::new().addr(Side::Destination, Cmp::Eq, services).addrs(Side::Destination, Cmp::Ne, &served);
    Chain::regular("refuse")
        .rule(unserved().proto(Cmp::Eq, Proto::Tcp).reject(Reject::TcpReset))
        .rule(unserved().reject(Reject::PortUnreachable))
}

type Element = (Option<Ipv4Addr>, Proto, u16, Verdict);

fn address_element(((ip, proto, port), chain): (&(Ipv4Addr, Proto, u16), &String)) -> Element {
    (Some(*ip), *proto, *port, Verdict::Goto(chain.clone()))
}

fn node_port_element(((proto, port), chain): (&(Proto, u16), &String)) -> Element {
    (None, *proto, *port, Verdict::Goto(chain.clone()))
}

/// The changes from one plan to the next: new chains before what points to them, old ones after.
fn difference(old: &Plan, new: &Plan) -> Batch {
    let mut batch = Batch::new(Family::Inet, TABLE);
    for (name, target) in &new.chains {
        match old.chains.get(name) {
            Some(before) if before == target => continue,
            Some(_) => batch.flush_chain(name),
            None => batch.add_chain(&Chain::regular(name)),
        }
        batch.add_rule(name, &Rule::new().dnat(target.pick, &target.endpoints));
    }
    let gone = old.addresses.iter().filter(|(k, v)| new.addresses.get(k) != Some(v)).map(address_element);
    batch.remove_services(&addresses(), &gone.collect::<Vec<_>>());
    let come = new.addresses.iter().filter(|(k, v)| old.addresses.get(k) != Some(v)).map(address_element);
    batch.add_services(&addresses(), &come.collect::<Vec<_>>());
    let gone = old.node_ports.iter().filter(|(k, v)| new.node_ports.get(k) != Some(v)).map(node_port_element);
    batch.remove_services(&node_ports(), &gone.collect::<Vec<_>>());
    let come = new.node_ports.iter().filter(|(k, v)| old.node_ports.get(k) != Some(v)).map(node_port_element);
    batch.add_services(&node_ports(), &come.collect::<Vec<_>>());
    let pairs = |ips: &mut dyn Iterator<Item = &Ipv4Addr>| ips.map(|ip| (*ip, *ip)).collect::<Vec<_>>();
    batch.remove_pairs(&hairpins(), &pairs(&mut old.endpoints.difference(&new.endpoints)));
    batch.add_pairs(&hairpins(), &pairs(&mut new.endpoints.difference(&old.endpoints)));
    for name in old.chains.keys().filter(|name| !new.chains.contains_key(*name)) {
        batch.remove_chain(name);
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_new_is_no_change() {
        let plan = Plan::default();
        assert!(difference(&plan, &plan).is_empty());
    }
}
