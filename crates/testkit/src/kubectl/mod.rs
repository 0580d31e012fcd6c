//! Holds one Kubernetes API against another: the same `kubectl` commands on both, and what they print.
//!
//! The commands stand in `kubectl/commands/`, the manifests that they use in `kubectl/manifests/`, what a real cluster
//! printed in `kubectl/cluster.txt`, and the differences that are meant in `kubectl/differences.txt`.

mod compare;
mod mask;
mod run;
mod script;
mod transcript;

pub use compare::{Difference, Verdict, compare, differences};
pub use run::{client_version, run};
pub use script::{Chapter, chapters};
pub use transcript::{Answer, read, write};

use std::path::PathBuf;

/// A file or folder of the comparison.
pub fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kubectl").join(name)
}
