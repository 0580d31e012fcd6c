//! Transactions: all of it or nothing.

use crate::attr::{Buffer, Open};
use crate::compile::{AnonymousSet, compile};
use crate::error::Error;
use crate::expr::{self, verdict_data};
use crate::model::{Chain, Family, Policy, Table};
use crate::rule::{Proto, Rule, Verdict};
use crate::set::{PairSet, ServiceElements, ServiceMap, datatype};
use crate::socket;
use std::net::Ipv4Addr;

/// `NFNL_SUBSYS_NFTABLES << 8`.
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const DEL_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const DEL_CHAIN: u16 = SUBSYSTEM | 5;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const DEL_RULE: u16 = SUBSYSTEM | 8;
const NEW_SET: u16 = SUBSYSTEM | 9;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const DEL_ELEMENT: u16 = SUBSYSTEM | 14;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;

const SET_ANONYMOUS: u32 = 1;
const SET_CONSTANT: u32 = 2;
const SET_MAP: u32 = 8;

/// Elements a message: nested attributes count their length in 16 bits.
const ELEMENTS_PER_MESSAGE: usize = 400;

/// A name that no table has.
const NO_TABLE: &str = "lateen-rehearsal-only";

/// Changes that are applied together, in order.
#[derive(Debug)]
pub struct Batch {
    family: Family,
    table: String,
    messages: Buffer,
    /// What each message does, for errors; message `i` has sequence number `i + 1`.
    changes: Vec<String>,
    last: Option<Open>,
    next_set: u32,
}

impl Batch {
    /// An empty batch of changes to one table.
    pub fn new(family: Family, table: impl Into<String>) -> Self {
        Self {
            family,
            table: table.into(),
            messages: Buffer::default(),
            changes: Vec::new(),
            last: None,
            next_set: 1,
        }
    }

    /// Whether nothing would be changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// A batch that puts `table` in place of whatever has its name.
    pub fn replace_table(table: &Table) -> Self {
        let mut batch = Self::new(table.family, &table.name);
        batch.remove_table();
        batch.add_table();
        for chain in &table.chains {
            batch.add_chain(chain);
        }
        for chain in &table.chains {
            for rule in &chain.rules {
                batch.add_rule(&chain.name, rule);
            }
        }
        batch
    }

    fn message(&mut self, kind: u16, flags: u16, change: String, fill: impl FnOnce(&mut Buffer, &str)) {
        let seq = self.changes.len() as u32 + 1;
        let open = self.messages.open_message(kind, REQUEST | flags, seq, self.family.number(), 0);
        fill(&mut self.messages, &self.table);
        self.messages.close_message(open);
        self.last = Some(open);
        self.changes.push(change);
    }

    /// Makes the table unless it is there.
    pub fn add_table(&mut self) {
        let change = format!("add table {} {}", self.family.word(), self.table);
        self.message(NEW_TABLE, CREATE, change, |b, table| {
            b.text(1, table);
            b.u32(2, 0);
        });
    }

    /// Removes the table with all that is in it, if it is there.
    pub fn remove_table(&mut self) {
        // Deleting what is not there is an error before Linux 6.3 (NFT_MSG_DESTROYTABLE): make it first.
        self.add_table();
        let change = format!("delete table {} {}", self.family.word(), self.table);
        self.message(DEL_TABLE, 0, change, |b, table| b.text(1, table));
    }

    /// Makes a chain unless it is there; its rules are added by [`Self::add_rule`].
    pub fn add_chain(&mut self, chain: &Chain) {
        self.message(NEW_CHAIN, CREATE, format!("add chain {}", chain.name), |b, table| {
            b.text(1, table);
            b.text(3, &chain.name);
            if let Some(hook) = &chain.hook {
                b.nested(4, |b| {
                    b.u32(1, hook.point.number());
                    b.u32(2, hook.priority as u32);
                });
                b.u32(5, u32::from(hook.policy == Policy::Accept));
                b.text(7, hook.kind.word());
            }
        });
    }

    /// Removes all rules of a chain, which must exist.
    pub fn flush_chain(&mut self, chain: &str) {
        self.message(DEL_RULE, 0, format!("flush chain {chain}"), |b, table| {
            b.text(1, table);
            b.text(2, chain);
        });
    }

    /// Removes a chain to which nothing refers any more.
    pub fn remove_chain(&mut self, chain: &str) {
        self.flush_chain(chain);
        self.message(DEL_CHAIN, 0, format!("delete chain {chain}"), |b, table| {
            b.text(1, table);
            b.text(3, chain);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, chain: &str, rule: &Rule) {
        let compiled = compile(rule, self.family, &mut self.next_set);
        for set in &compiled.sets {
            self.add_anonymous_set(chain, set);
        }
        self.message(NEW_RULE, CREATE | APPEND, format!("add rule {chain} {rule}"), |b, table| {
            b.text(1, table);
            b.text(2, chain);
            b.nested(4, |b| compiled.exprs.iter().for_each(|e| e.encode(b)));
        });
    }

    fn add_anonymous_set(&mut self, chain: &str, set: &AnonymousSet) {
        let map = if set.data.is_some() { SET_MAP } else { 0 };
        self.message(NEW_SET, CREATE, format!("add a set to a rule of chain {chain}"), |b, table| {
            b.text(1, table);
            b.text(2, set.name());
            b.u32(3, SET_ANONYMOUS | SET_CONSTANT | map);
            b.u32(4, set.key_type);
            b.u32(5, set.key_len);
            if let Some((kind, len)) = set.data {
                b.u32(6, kind);
                b.u32(7, len);
            }
            // Description: the number of elements, so that the kernel picks a fitting structure.
            b.nested(9, |b| b.u32(1, set.elements.len() as u32));
            b.u32(10, set.id);
            // NFTNL_UDATA_SET_KEYBYTEORDER: host order for the numbers of maps, network order else.
            let order: u32 = if set.data.is_some() { 1 } else { 2 };
            let mut user = vec![0, 4];
            user.extend_from_slice(&order.to_ne_bytes());
            b.raw(13, &user);
        });
        for chunk in set.elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(NEW_ELEMENT, CREATE, format!("add elements of chain {chain}"), |b, table| {
                b.text(1, table);
                b.text(2, set.name());
                b.u32(4, set.id);
                b.nested(3, |b| {
                    for (key, value) in chunk {
                        b.nested(1, |b| {
                            expr::data(b, 1, key);
                            if let Some(value) = value {
                                expr::data(b, 2, value);
                            }
                        });
                    }
                });
            });
        }
    }

    /// Makes a verdict map.
    pub fn add_service_map(&mut self, map: &ServiceMap) {
        let id = self.next_set;
        self.next_set += 1;
        self.message(NEW_SET, CREATE, format!("add map {}", map.name), |b, table| {
            b.text(1, table);
            b.text(2, &map.name);
            b.u32(3, SET_MAP);
            b.u32(4, map.key.key_type());
            b.u32(5, map.key.key_len());
            b.u32(6, datatype::VERDICT);
            b.u32(7, 0);
            b.u32(10, id);
        });
    }

    /// Makes a set of address pairs.
    pub fn add_pair_set(&mut self, set: &PairSet) {
        let id = self.next_set;
        self.next_set += 1;
        self.message(NEW_SET, CREATE, format!("add set {}", set.name), |b, table| {
            b.text(1, table);
            b.text(2, &set.name);
            b.u32(3, 0);
            b.u32(4, datatype::concat(&[datatype::IPADDR, datatype::IPADDR]));
            b.u32(5, 8);
            b.u32(10, id);
        });
    }

    /// Adds elements to a verdict map: address (for [`crate::ConcatKey::AddrProtoPort`]), protocol, port, verdict.
    pub fn add_services(&mut self, map: &ServiceMap, elements: &[(Option<Ipv4Addr>, Proto, u16, Verdict)]) {
        let elements: ServiceElements =
            elements.iter().map(|(a, proto, port, v)| ((*a, *proto, *port), v.clone())).collect();
        self.service_elements(NEW_ELEMENT, map, elements, "add to");
    }

    /// Removes elements from a verdict map; they must be there with that verdict.
    pub fn remove_services(
        &mut self,
        map: &ServiceMap,
        elements: &[(Option<Ipv4Addr>, Proto, u16, Verdict)],
    ) {
        let elements: ServiceElements =
            elements.iter().map(|(a, proto, port, v)| ((*a, *proto, *port), v.clone())).collect();
        self.service_elements(DEL_ELEMENT, map, elements, "remove from");
    }

    fn service_elements(&mut self, kind: u16, map: &ServiceMap, elements: ServiceElements, verb: &str) {
        let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
        let elements: Vec<_> = elements.into_iter().collect();
        for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, flags, format!("{verb} map {}", map.name), |b, table| {
                b.text(1, table);
                b.text(2, &map.name);
                b.nested(3, |b| {
                    for (key, verdict) in chunk {
                        b.nested(1, |b| {
                            expr::data(b, 1, &map.key.encode(*key));
                            verdict_data(b, 2, verdict);
                        });
                    }
                });
            });
        }
    }

    /// Adds pairs to a set.
    pub fn add_pairs(&mut self, set: &PairSet, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
        self.pairs(NEW_ELEMENT, set, pairs);
    }

    /// Removes pairs from a set; they must be there.
    pub fn remove_pairs(&mut self, set: &PairSet, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
        self.pairs(DEL_ELEMENT, set, pairs);
    }

    fn pairs(&mut self, kind: u16, set: &PairSet, pairs: &[(Ipv4Addr, Ipv4Addr)]) {
        let flags = if kind == NEW_ELEMENT { CREATE } else { 0 };
        for chunk in pairs.chunks(ELEMENTS_PER_MESSAGE) {
            self.message(kind, flags, format!("change set {}", set.name), |b, table| {
                b.text(1, table);
                b.text(2, &set.name);
                b.nested(3, |b| {
                    for (source, destination) in chunk {
                        let mut key = source.octets().to_vec();
                        key.extend_from_slice(&destination.octets());
                        b.nested(1, |b| expr::data(b, 1, &key));
                    }
                });
            });
        }
    }

    /// Whether the kernel knows everything that is in the batch: it reads all of it, and changes nothing.
    ///
    /// # Errors
    /// As of [`Self::commit`], as far as the kernel can tell without applying it.
    pub fn rehearse(mut self) -> Result<(), Error> {
        // A table that cannot be: the kernel refuses the last change, and with it the batch.
        let last = format!("delete table {} {NO_TABLE}", self.family.word());
        self.message(DEL_TABLE, 0, last.clone(), |b, _| b.text(1, NO_TABLE));
        match self.commit() {
            Err(Error::Refused { change, .. }) if change == last => Ok(()),
            outcome => outcome,
        }
    }

    /// Applies the batch in the calling thread's network namespace.
    ///
    /// # Errors
    /// [`Error::Refused`] names the first change that the kernel does not take; nothing is changed then.
    pub fn commit(mut self) -> Result<(), Error> {
        let Some(last) = self.last else { return Ok(()) };
        // One acknowledgement is enough, and many would overflow the socket's buffer.
        self.messages.set_flag(last, ACK);
        socket::transact(&self.messages, &self.changes)
    }
}

/// Whether a table of that name is there, in the calling thread's network namespace.
///
/// # Errors
/// The kernel does not answer, or refuses to.
pub fn table_exists(family: Family, name: &str) -> Result<bool, Error> {
    let mut message = Buffer::default();
    let open = message.open_message(GET_TABLE, REQUEST | ACK, 1, family.number(), 0);
    message.text(1, name);
    message.close_message(open);
    match socket::ask(&message, format!("get table {} {name}", family.word())) {
        Err(Error::Refused { errno: nix::errno::Errno::ENOENT, .. }) => Ok(false),
        other => other.map(|()| true),
    }
}
