//! Cluster DNS, after the specification "Kubernetes DNS-Based Service Discovery".

mod answer;
mod forward;
mod server;
mod zone;

pub(crate) use server::serve;
