//! Network namespaces of the test's own: root makes them as it is, others in a user namespace.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// Enters new namespaces, while there is one thread; the current user is root there.
pub fn enter() -> Result<(), String> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    if uid.is_root() && unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Ok(());
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).map_err(|e| e.to_string())?;
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|e| format!("{file}: {e}"));
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Whether processes of other users can be started, which a user namespace of one user cannot.
pub fn has_other_users() -> bool {
    use std::os::unix::process::CommandExt;
    Command::new("true").uid(1337).status().is_ok_and(|status| status.success())
}

/// Loopback starts down in a new namespace.
pub fn loopback_up() -> bool {
    ip("link set lo up")
}

fn ip(arguments: &str) -> bool {
    Command::new("ip").args(arguments.split(' ')).status().is_ok_and(|status| status.success())
}

/// A pod and what is outside of it, joined by a pair of interfaces.
pub struct World {
    pod: File,
    outside: File,
}

pub const POD: &str = "10.244.0.9";
pub const OUTSIDE: &str = "10.244.0.1";
pub const POD_V6: &str = "fd00:9::9";
pub const OUTSIDE_V6: &str = "fd00:9::1";

impl World {
    pub fn new() -> World {
        let world = World { pod: new_namespace(), outside: new_namespace() };
        let path = format!("/proc/{}/fd/{}", std::process::id(), world.outside.as_raw_fd());
        world.in_pod(|| {
            assert!(ip("link add eth0 type veth peer name out0"));
            assert!(ip(&format!("link set out0 netns {path}")));
            up("eth0", POD, POD_V6);
            assert!(ip(&format!("route add default via {OUTSIDE}")));
            assert!(!has_v6() || ip(&format!("-6 route add default via {OUTSIDE_V6}")));
        });
        world.outside(|| up("out0", OUTSIDE, OUTSIDE_V6));
        world
    }

    /// Runs something in the pod's network.
    pub fn in_pod<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in(&self.pod, work)
    }

    /// Runs something in the network around the pod.
    pub fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        run_in(&self.outside, work)
    }

    /// The file of the pod's namespace, as a container runtime tells it.
    pub fn file(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.pod.as_raw_fd())
    }
}

pub fn has_v6() -> bool {
    std::path::Path::new("/proc/net/if_inet6").exists()
}

fn up(interface: &str, v4: &str, v6: &str) {
    assert!(loopback_up());
    assert!(ip(&format!("addr add {v4}/24 dev {interface}")));
    assert!(!has_v6() || ip(&format!("-6 addr add {v6}/64 dev {interface} nodad")));
    assert!(ip(&format!("link set {interface} up")));
}

fn new_namespace() -> File {
    let made = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        File::open("/proc/thread-self/ns/net").unwrap()
    });
    made.join().unwrap()
}

fn run_in<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        match run.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
