//! Which pod has which address.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use super::POD_NETWORK;

/// Addresses .0.0 and .0.1 are the network's and the node's, the last is broadcast.
const FIRST: u32 = 2;
const LAST: u32 = (1 << 16) - 2;

/// Hands out addresses in a ring, so that one is not used again soon after its pod has gone.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: HashSet<u32>,
    next: u32,
}

impl Addresses {
    /// An address for a pod; the one it had before if that is free.
    pub fn allocate(&self, before: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        let network = u32::from(POD_NETWORK.0);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before =
            before.map(|a| u32::from(a).wrapping_sub(network)).filter(|o| (FIRST..=LAST).contains(o));
        if let Some(offset) = before
            && state.used.insert(offset)
        {
            state.next = state.next.max(offset + 1);
            return Some(Ipv4Addr::from(network + offset));
        }
        for _ in FIRST..=LAST {
            let offset = if (FIRST..=LAST).contains(&state.next) { state.next } else { FIRST };
            state.next = offset + 1;
            if state.used.insert(offset) {
                return Some(Ipv4Addr::from(network + offset));
            }
        }
        None
    }

    /// Gives an address back.
    pub fn release(&self, address: Ipv4Addr) {
        let offset = u32::from(address).wrapping_sub(u32::from(POD_NETWORK.0));
        self.state.lock().unwrap_or_else(PoisonError::into_inner).used.remove(&offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_and_not_used_again_at_once() {
        let addresses = Addresses::default();
        let first = addresses.allocate(None).unwrap();
        assert_eq!(first, Ipv4Addr::new(10, 244, 0, 2));
        addresses.release(first);
        assert_eq!(addresses.allocate(None), Some(Ipv4Addr::new(10, 244, 0, 3)));
    }

    #[test]
    fn a_pod_keeps_its_address_over_a_restart_unless_it_is_taken() {
        let addresses = Addresses::default();
        let old = Ipv4Addr::new(10, 244, 0, 9);
        assert_eq!(addresses.allocate(Some(old)), Some(old));
        assert_eq!(addresses.allocate(Some(old)), Some(Ipv4Addr::new(10, 244, 0, 10)));
        assert_ne!(addresses.allocate(Some(Ipv4Addr::new(192, 168, 0, 1))).unwrap().octets()[0], 192);
    }

    #[test]
    fn an_exhausted_network_says_so() {
        let addresses = Addresses::default();
        let count = std::iter::from_fn(|| addresses.allocate(None)).count();
        assert_eq!(count, (LAST - FIRST + 1) as usize);
    }
}
