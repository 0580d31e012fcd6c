//! Kubernetes' controllers for the one-machine mode, as plain `kube` clients.
//!
//! Each controller works on keys from its own queue. Watches feed the stores and put the keys of the objects that a
//! change touches into the queues; so nothing is polled, and a change is acted upon at once. What to do is worked out
//! by pure functions from what there is, and done by the functions around them.

mod autoscaler;
mod budget;
mod context;
mod cronjob;
mod daemonset;
mod deployment;
mod endpoints;
mod events;
mod job;
mod ownership;
mod pods;
mod queue;
mod replicaset;
mod revisions;
mod routes;
mod run;
mod statefulset;
mod store;
mod template_hash;
mod watch;

pub use run::run;
