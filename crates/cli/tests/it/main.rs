//! The whole mesh, end to end, as its users meet it.

mod asked;
mod asked_connections;
mod attacks;
mod bad_input;
mod bookinfo;
mod command_line;
mod forged;
mod gateway_tls;
mod handshakes;
mod harness;
mod impostor;
mod judges;
mod kubectl_answers;
mod mixed;
mod names;
mod pki;
mod rotation;
mod static_bootstrap;
mod tokens;
mod transparent;
mod voting;
mod wire;
