//! node
pub mod launcher;
mod logs;
mod network;
mod process;
