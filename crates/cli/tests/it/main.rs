//! The whole mesh, end to end, as its users meet it.

mod bookinfo;
mod harness;
