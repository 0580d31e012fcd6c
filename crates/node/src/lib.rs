//! node
mod host_ports;
mod image;
pub mod launcher;
mod logs;
mod network;
mod pod;
mod process;
pub use host_ports::HostPorts;
pub use image::{ImageCommand, ImageResolver};
