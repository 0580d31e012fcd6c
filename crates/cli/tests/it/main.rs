//! The whole mesh, end to end, as its users meet it.

mod bad_input;
mod bookinfo;
mod command_line;
mod harness;
mod static_bootstrap;
mod voting;
mod wire;
