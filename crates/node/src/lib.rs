//! A kubelet-like node: runs pods of a Kubernetes API as processes of this machine, each pod in a network namespace
//! of its own, with cluster DNS and services' virtual addresses. It needs no container engine and no root.
//!
//! The node lives in the mesh's namespaces (user, network, mount, PID), which whoever starts it has entered. It is a
//! plain client of the API; [`launcher::main`] must be reached by the hidden verb [`launcher::VERB`] of the binary.
//!
//! | part | what it does |
//! |---|---|
//! | `cluster` | watches, scheduling, status, events, the Node object |
//! | `pod` | one pod's life; knows no API server |
//! | `launcher` | becomes a container's process: namespaces, root file system, user |
//! | `process`, `logs` | starting and ending processes; their output |
//! | `network` | bridge and pods' interfaces |
//! | `services` | virtual addresses (nftables), listeners on the host |
//! | `dns` | cluster DNS |
//! | `kubelet` | logs, exec, attach and port-forward over a unix socket |

mod cluster;
mod dns;
mod host_ports;
mod image;
mod kubelet;
pub mod launcher;
mod logs;
mod network;
mod node;
mod pod;
mod process;
mod services;

pub use cluster::NODE_NAME;
pub use host_ports::HostPorts;
pub use image::{ImageCommand, ImageResolver};
pub use network::{API_IP, DNS_IP, NODE_IP, loopback_up};
pub use node::{Node, NodeOptions};
pub use pod::PROXY_MARK;
pub use services::HostListener;
