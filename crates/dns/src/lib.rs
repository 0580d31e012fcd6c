//! A DNS server over UDP and TCP: what a [`Zone`] knows is answered, the rest is asked of other resolvers.
//!
//! The cluster's name server of the one-machine mode and the agent's resolver (DNS capture) are such servers; they differ
//! in their zones.

mod message;
mod resolv_conf;
mod server;
mod upstream;
mod zone;

pub use message::{Reply, reply};
pub use resolv_conf::ResolvConf;
pub use server::{Sockets, serve};
pub use simple_dns::rdata::{self, RData};
pub use simple_dns::{Name, RCODE, ResourceRecord, TYPE};
pub use upstream::{Transport, Upstream};
pub use zone::{Asked, Records, Verdict, Zone, address, alias, record};
