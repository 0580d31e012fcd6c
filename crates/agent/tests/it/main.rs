//! The agent and the control plane against each other, over real sockets, with a real Kubernetes API between them.

mod attacks;
mod mesh;
mod rotation;
mod sds_client;
mod secrets;
