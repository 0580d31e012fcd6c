//! The whole mesh, end to end, as its users meet it.

mod attacks;
mod bad_input;
mod bookinfo;
mod command_line;
mod forged;
mod harness;
mod mixed;
mod static_bootstrap;
mod tokens;
mod voting;
mod wire;
