//! Into a pod's namespaces.

use std::fs::File;

use anyhow::{Context, Result};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use super::rootfs;
use super::spec::{EnterSpec, StartSpec};

/// Joins the pod's network, makes a mount and host-name namespace of the container's own, and moves to its root.
pub(crate) fn start(spec: &StartSpec) -> Result<()> {
    for (path, kind) in
        [(&spec.namespaces.net, CloneFlags::CLONE_NEWNET), (&spec.namespaces.ipc, CloneFlags::CLONE_NEWIPC)]
    {
        if let Some(path) = path {
            join(path, kind)?;
        }
    }
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS).context("make the container's namespaces")?;
    nix::unistd::sethostname(&spec.hostname).context("set the host name")?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("make mounts private")?;
    rootfs::build(&spec.root)
}

/// Joins all namespaces of a container's process.
pub(crate) fn enter(spec: &EnterSpec) -> Result<()> {
    // Opened before any is entered: the mount namespace changes what /proc shows.
    let open = |name: &str| {
        let path = format!("/proc/{}/ns/{name}", spec.pid);
        File::open(&path).with_context(|| format!("the container is gone ({path})"))
    };
    let net = open("net")?;
    let ipc = open("ipc")?;
    let uts = open("uts")?;
    let mnt = open("mnt")?;
    setns(net, CloneFlags::CLONE_NEWNET).context("enter the pod's network")?;
    setns(ipc, CloneFlags::CLONE_NEWIPC).context("enter the pod's IPC")?;
    setns(uts, CloneFlags::CLONE_NEWUTS).context("enter the container's host name")?;
    setns(mnt, CloneFlags::CLONE_NEWNS).context("enter the container's file system")
}

fn join(path: &str, kind: CloneFlags) -> Result<()> {
    let namespace = File::open(path).with_context(|| format!("the pod's namespace {path}"))?;
    setns(namespace, kind).with_context(|| format!("enter the pod's namespace {path}"))
}
