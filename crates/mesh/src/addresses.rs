//! Addresses for ServiceEntries without any, so that clients can tell them apart by address.
//!
//! Source: Istio, "DNS Proxying", "Address auto allocation": addresses of 240.240.0.0/16, which nothing else has (class E).
//! Each host's place follows from its name: it stays where it is when the control plane starts anew, and does not move for
//! as long as one runs.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::mesh::Services;
use crate::{Address, Service, ServiceId};

/// Last octets that are used: neither 0 nor 255.
const LAST_OCTETS: u32 = 254;
/// How many addresses there are.
const SLOTS: u32 = 256 * LAST_OCTETS;

/// The addresses that were chosen.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    slots: HashMap<ServiceId, u32>,
    /// Services with their address, by host and the object's name.
    made: HashMap<(ServiceId, Arc<str>), Made>,
}

#[derive(Debug)]
struct Made {
    of: Arc<Service>,
    service: Arc<Service>,
}

impl Addresses {
    /// The services, with an address for each that wants one; `None` where none does.
    pub fn choose(&mut self, services: &[Arc<Service>]) -> Option<Arc<Services>> {
        let mut wanting: Vec<&Arc<Service>> = services.iter().filter(|s| s.wants_address).collect();
        let ids: HashSet<&ServiceId> = wanting.iter().map(|s| &s.id).collect();
        self.slots.retain(|id, _| ids.contains(id));
        if wanting.is_empty() {
            self.made.clear();
            return None;
        }
        // Of two names that fall on one place the older keeps it.
        wanting.sort_by(|a, b| a.meta.created.cmp(&b.meta.created).then_with(|| a.id.cmp(&b.id)));
        let mut taken: HashSet<u32> = self.slots.values().copied().collect();
        let mut made = HashMap::with_capacity(wanting.len());
        for service in wanting {
            let Some(slot) = self.slot(&service.id, &mut taken) else { continue };
            let key = (service.id.clone(), service.meta.name.clone());
            let known = self.made.remove(&key).filter(|known| Arc::ptr_eq(&known.of, service));
            let one = known.unwrap_or_else(|| Made {
                of: service.clone(),
                service: Arc::new(Service {
                    addresses: vec![address(slot)],
                    wants_address: false,
                    ..(**service).clone()
                }),
            });
            made.insert(key, one);
        }
        self.made = made;
        let with_address = |service: &Arc<Service>| {
            let key = || (service.id.clone(), service.meta.name.clone());
            let made = if service.wants_address { self.made.get(&key()) } else { None };
            made.map_or_else(|| service.clone(), |made| made.service.clone())
        };
        let all: Vec<Arc<Service>> = services.iter().map(with_address).collect();
        Some(Arc::new(Services::index(all.iter())))
    }

    /// The place of a name: its own if it has one, else the first free one from where it falls. `None` when all are taken.
    fn slot(&mut self, id: &ServiceId, taken: &mut HashSet<u32>) -> Option<u32> {
        if let Some(slot) = self.slots.get(id) {
            return Some(*slot);
        }
        if taken.len() >= SLOTS as usize {
            return None;
        }
        let first = hash(id) % SLOTS;
        let slot = (first..SLOTS).chain(0..first).find(|slot| !taken.contains(slot))?;
        taken.insert(slot);
        self.slots.insert(id.clone(), slot);
        Some(slot)
    }
}

fn address(slot: u32) -> Address {
    let [.., third] = (slot / LAST_OCTETS).to_be_bytes();
    let [.., fourth] = (slot % LAST_OCTETS + 1).to_be_bytes();
    Address { ip: IpAddr::V4(Ipv4Addr::new(240, 240, third, fourth)), prefix: 32 }
}

/// FNV-1a: the same in every release and on every machine, which the standard library does not promise.
fn hash(id: &ServiceId) -> u32 {
    let bytes = id.namespace.bytes().chain([b'/']).chain(id.host.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Meta;
    use crate::source::service_entry::services;

    fn entry(host: &str, created: i64, spec: serde_json::Value, labels: &[(&str, &str)]) -> Arc<Service> {
        let meta = Meta { name: host.into(), namespace: "n".into(), created };
        let mut object = serde_json::json!({"metadata": {"name": "x"}, "spec": spec});
        object["spec"]["hosts"] = serde_json::json!([host]);
        let object: lateen_api::ServiceEntry = serde_json::from_value(object).unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Arc::new(services(&meta, Some(&labels), &object.spec).remove(0))
    }

    fn dns(host: &str, created: i64) -> Arc<Service> {
        entry(host, created, serde_json::json!({"resolution": "DNS"}), &[])
    }

    fn chosen(addresses: &mut Addresses, services: &[Arc<Service>]) -> Vec<String> {
        let services = addresses.choose(services).unwrap();
        let one = |s: &Arc<Service>| s.addresses.iter().map(|a| a.ip.to_string()).collect();
        services.all().iter().map(one).collect()
    }

    #[test]
    fn an_address_follows_from_the_name_and_stays() {
        let mut addresses = Addresses::default();
        let first = chosen(&mut addresses, &[dns("a.example", 2)]);
        assert!(first[0].starts_with("240.240."), "{first:?}");
        let both = chosen(&mut addresses, &[dns("a.example", 2), dns("b.example", 1)]);
        assert_eq!(both[0], first[0]);
        assert_ne!(both[1], both[0]);
        let anew = chosen(&mut Addresses::default(), &[dns("b.example", 1), dns("a.example", 2)]);
        assert_eq!(anew, both);
    }

    #[test]
    fn what_did_not_change_is_the_same_object() {
        let mut addresses = Addresses::default();
        let (a, b) = (dns("a.example", 1), dns("b.example", 1));
        let before = addresses.choose(std::slice::from_ref(&a)).unwrap();
        let after = addresses.choose(&[a, b]).unwrap();
        assert!(Arc::ptr_eq(&before.all()[0], &after.all()[0]));
        let fixed = entry("c.example", 1, serde_json::json!({"addresses": ["192.0.2.1"]}), &[]);
        assert!(addresses.choose(&[fixed]).is_none(), "nobody wants one");
    }

    #[test]
    fn two_names_never_share_an_address() {
        let mut addresses = Addresses::default();
        let many: Vec<_> = (0..3000).map(|n| dns(&format!("host-{n}.example"), n)).collect();
        let all = chosen(&mut addresses, &many);
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3000);
        let few = chosen(&mut addresses, &many[..1500]);
        assert!(few.iter().all(|address| all.contains(address)));
    }

    #[test]
    fn entries_that_say_where_they_are_or_refuse_get_none() {
        let wants = |host: &str, spec, labels: &[(&str, &str)]| entry(host, 0, spec, labels).wants_address;
        let label = "networking.istio.io/enable-autoallocate-ip";
        assert!(wants("a.example", serde_json::json!({"resolution": "STATIC"}), &[(label, "true")]));
        assert!(!wants("a.example", serde_json::json!({"resolution": "STATIC"}), &[(label, "false")]));
        assert!(!wants("a.example", serde_json::json!({"resolution": "NONE"}), &[]));
        assert!(!wants("*.example", serde_json::json!({"resolution": "DNS"}), &[]));
        let fixed = serde_json::json!({"resolution": "DNS", "addresses": ["192.0.2.1"]});
        assert!(!wants("a.example", fixed, &[]));
    }
}
