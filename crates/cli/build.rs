//! Links the binary small.
//!
//! - Packed relative relocations (RELR) where the C library of the machine that builds can load them: 2.5 MB of
//!   relocations, which every process reads at its start, become 0.1 MB.
//! - Functions of the same code are one (ICF) where the linker is the toolchain's own: 1.3 MB. Rust gives no promise that
//!   functions have addresses of their own.

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
    let release = std::env::var("PROFILE").as_deref() == Ok("release");
    if native && release && target("OS") == "linux" && target("ENV") == "gnu" && links_by_lld(&target("ARCH"))
    {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}

/// Whether the linker is rust-lld: the toolchain's choice for this target (Rust 1.90), and nobody chose another.
fn links_by_lld(arch: &str) -> bool {
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let chosen = ["linker", "fuse-ld", "link-self-contained"].iter().any(|flag| flags.contains(flag));
    arch == "x86_64" && std::env::var_os("RUSTC_LINKER").is_none() && !chosen
}

/// Version of the C library, from `getconf`: `glibc 2.36`.
fn glibc() -> Option<(u32, u32)> {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (major, minor) = text.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
