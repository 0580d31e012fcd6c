//! Project chores: `cargo xtask <task>`.
fn main() {}
