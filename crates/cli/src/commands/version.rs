//! `lateen version`.

/// Prints the version.
pub fn run() {
    println!("lateen version {}", env!("CARGO_PKG_VERSION"));
}
