//! Links the binary with packed relative relocations (RELR) where the C library of the machine that builds can load
//! them: 2.5 MB of relocations, which every process reads at its start, become 0.1 MB.

use std::process::Command;

/// The first glibc that applies RELR (its release notes).
const SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |part: &str| std::env::var(format!("CARGO_CFG_TARGET_{part}")).unwrap_or_default();
    let native = std::env::var("TARGET") == std::env::var("HOST");
    if native
        && target("OS") == "linux"
        && target("ENV") == "gnu"
        && glibc().is_some_and(|found| found >= SINCE)
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Version of the C library, from `getconf`: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
