//! A container's root: the host's file system to read, a temporary one to write.
//!
//! The root is a tmpfs. The host's top-level directories are mounted read-only below it. Where a volume is mounted
//! inside one of them, its parents become directories of the tmpfs whose entries are links to the host's: so a
//! volume can be anywhere, and nothing of the host can be written.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::unistd::pivot_root;

use super::spec::{Mount, RootSpec};

/// The host's file system in every container.
pub(crate) const HOST: &str = "/.lateen/host";
/// The node's own small programs in every container.
pub(crate) const BIN: &str = "/.lateen/bin";

const NONE: Option<&str> = None;
/// Top-level directories of the host that containers get their own of.
const OWN: [&str; 6] = ["proc", "sys", "dev", "run", "tmp", ".lateen"];
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "ptmx"];

/// Where containers find a file of the host, given by its absolute path without links: a container has its own
/// `/tmp` and `/run`, say, and sees the host's elsewhere.
pub fn host_file(path: &Path) -> PathBuf {
    let below = path.strip_prefix("/").unwrap_or(path);
    if OWN.iter().any(|own| below.starts_with(own)) { Path::new(HOST).join(below) } else { path.to_owned() }
}

/// Mounts the host's file system read-only at `at`, once for all containers.
///
/// # Errors
/// If mounting is not permitted, or a mount below cannot be made read-only or hidden.
pub(crate) fn prepare_host(at: &Path) -> Result<()> {
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).context("make mounts private")?;
    fs::create_dir_all(at).with_context(|| at.display().to_string())?;
    bind(Path::new("/"), at)?;
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    for line in table.lines() {
        let mut fields = line.split(' ').skip(4);
        let (Some(point), Some(options)) = (fields.next(), fields.next()) else { continue };
        let point = PathBuf::from(unescape(point));
        if !point.starts_with(at) {
            continue;
        }
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept(options);
        if let Err(error) = mount(NONE, &point, NONE, flags, NONE) {
            // Behind a directory that we, who are root of this namespace, may not enter: no container may.
            if fs::symlink_metadata(&point).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied) {
                continue;
            }
            // What cannot be made read-only must not be seen.
            umount2(&point, MntFlags::MNT_DETACH)
                .with_context(|| format!("make {} read-only ({error}), or hide it", point.display()))?;
        }
    }
    Ok(())
}

/// Takes the host's file system away again; containers that run keep theirs.
pub(crate) fn release_host(at: &Path) -> Result<()> {
    umount2(at, MntFlags::MNT_DETACH).with_context(|| format!("unmount {}", at.display()))
}

/// Options that a user namespace may not take away from a mount.
fn kept(options: &str) -> MsFlags {
    options.split(',').fold(MsFlags::empty(), |flags, option| {
        flags
            | match option {
                "nosuid" => MsFlags::MS_NOSUID,
                "nodev" => MsFlags::MS_NODEV,
                "noexec" => MsFlags::MS_NOEXEC,
                "noatime" => MsFlags::MS_NOATIME,
                "nodiratime" => MsFlags::MS_NODIRATIME,
                "relatime" => MsFlags::MS_RELATIME,
                _ => MsFlags::empty(),
            }
    })
}

/// mountinfo writes blanks and backslashes in octal (proc(5)).
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (code, plain)| text.replace(code, plain))
}

fn bind(source: &Path, target: &Path) -> Result<()> {
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .with_context(|| format!("mount {} at {}", source.display(), target.display()))
}

fn read_only(target: &Path) -> Result<()> {
    // A mount of a user namespace must keep what it has of these.
    let own = statvfs(target).with_context(|| target.display().to_string())?.flags();
    let kept = [
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let kept = kept
        .iter()
        .filter(|(has, _)| own.contains(*has))
        .fold(MsFlags::empty(), |all, (_, flag)| all | *flag);
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept;
    mount(NONE, target, NONE, flags, NONE).with_context(|| format!("make {} read-only", target.display()))
}

/// Builds the root and makes it the root of this process.
pub(crate) fn build(spec: &RootSpec) -> Result<()> {
    let root = &spec.scratch;
    mount(Some("tmpfs"), root, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755"))
        .context("mount the new root")?;
    let host = root.join(HOST.trim_start_matches('/'));
    fs::create_dir_all(&host)?;
    bind(&spec.host, &host)?;
    let mounts: Vec<(PathBuf, &Mount)> =
        spec.mounts.iter().map(|m| (resolve(&host, Path::new(&m.target)), m)).collect();
    let mut expanded = BTreeSet::new();
    for (target, _) in &mounts {
        let parents = target.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty());
        expanded.extend(parents.map(Path::to_owned));
    }
    top_level(root, &host, &expanded)?;
    devices(root)?;
    bind(Path::new("/proc"), &made(root.join("proc"))?)?;
    bind(&host.join("sys"), &made(root.join("sys"))?)?;
    for sensitive in ["proc/sys", "proc/sysrq-trigger", "proc/irq", "proc/bus"] {
        let path = root.join(sensitive);
        if path.exists() {
            bind(&path, &path)?;
            read_only(&path)?;
        }
    }
    for (target, mount) in mounts {
        volume(&root.join(target), mount)?;
    }
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").context("change the root")?;
    umount2(".", MntFlags::MNT_DETACH).context("leave the old root")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

fn made(path: PathBuf) -> Result<PathBuf> {
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn top_level(root: &Path, host: &Path, expanded: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(host)? {
        let entry = entry?;
        let (name, kind) = (PathBuf::from(entry.file_name()), entry.file_type()?);
        if OWN.iter().any(|own| name == Path::new(own)) {
            continue;
        }
        if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, root.join(&name))?;
        } else if expanded.contains(&name) {
            expand(root, host, &name, expanded)?;
        } else if kind.is_dir() {
            let target = made(root.join(&name))?;
            bind(&entry.path(), &target)?;
        } else {
            symlink(Path::new(HOST).join(&name), root.join(&name))?;
        }
    }
    for (name, mode) in [("run", 0o755), ("tmp", 0o1777), ("dev/shm", 0o1777)] {
        fs::set_permissions(made(root.join(name))?, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A directory of the tmpfs that shows the host's entries as links.
fn expand(root: &Path, host: &Path, dir: &Path, expanded: &BTreeSet<PathBuf>) -> Result<()> {
    fs::create_dir_all(root.join(dir))?;
    let Ok(entries) = fs::read_dir(host.join(dir)) else { return Ok(()) };
    for entry in entries.flatten() {
        let path = dir.join(entry.file_name());
        if expanded.contains(&path) {
            expand(root, host, &path, expanded)?;
            continue;
        }
        let link = match fs::read_link(entry.path()) {
            Ok(link) => link,
            Err(_) => Path::new(HOST).join(&path),
        };
        symlink(link, root.join(&path))?;
    }
    Ok(())
}

fn devices(root: &Path) -> Result<()> {
    let dev = made(root.join("dev"))?;
    for name in DEVICES {
        let source = Path::new("/dev").join(name);
        if source.exists() {
            let target = dev.join(name);
            fs::write(&target, "")?;
            bind(&source, &target)?;
        }
    }
    if Path::new("/dev/pts").exists() {
        bind(Path::new("/dev/pts"), &made(dev.join("pts"))?)?;
    }
    for (name, link) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(link, dev.join(name))?;
    }
    Ok(())
}

fn volume(target: &Path, mount: &Mount) -> Result<()> {
    let source = fs::metadata(&mount.source).with_context(|| format!("volume {}", mount.source.display()))?;
    if fs::symlink_metadata(target).is_ok_and(|m| m.is_symlink()) {
        fs::remove_file(target)?;
    }
    if source.is_dir() {
        fs::create_dir_all(target).with_context(|| format!("mountPath {}", mount.target))?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).with_context(|| format!("mountPath {}", mount.target))?;
        }
        fs::write(target, "").with_context(|| format!("mountPath {}", mount.target))?;
    }
    bind(&mount.source, target)?;
    if mount.read_only { read_only(target) } else { Ok(()) }
}

/// The path below the root that `target` means once the host's links are followed (`/var/run` is `/run`).
fn resolve(host: &Path, target: &Path) -> PathBuf {
    const MAX_LINKS: usize = 40;
    let mut links = 0;
    let mut resolved = PathBuf::new();
    let mut rest: Vec<PathBuf> = parts(target);
    while let Some(part) = rest.pop() {
        if part == Path::new("..") {
            resolved.pop();
            continue;
        }
        let next = resolved.join(&part);
        match fs::read_link(host.join(&next)) {
            // A link at the very end is replaced by the volume, not followed.
            Ok(link) if links < MAX_LINKS && !rest.is_empty() => {
                links += 1;
                if link.is_absolute() {
                    resolved = PathBuf::new();
                }
                rest.extend(parts(&link));
            }
            _ => resolved = next,
        }
    }
    resolved
}

/// Normal components, last first.
fn parts(path: &Path) -> Vec<PathBuf> {
    let keep = |c: Component<'_>| match c {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some(PathBuf::from("..")),
        _ => None,
    };
    path.components().rev().filter_map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_paths_follow_the_hosts_links_but_never_leave_the_root() {
        let host = std::env::temp_dir().join(format!("lateen-rootfs-{}", std::process::id()));
        fs::create_dir_all(host.join("var/lib")).unwrap();
        symlink("/run", host.join("var/run")).unwrap();
        symlink("loop", host.join("loop")).unwrap();
        let resolved = |p: &str| resolve(&host, Path::new(p));
        assert_eq!(resolved("/var/run/secrets/token"), Path::new("run/secrets/token"));
        assert_eq!(resolved("/var/lib/istio/data"), Path::new("var/lib/istio/data"));
        assert_eq!(resolved("/../../etc/x"), Path::new("etc/x"));
        assert_eq!(resolved("/var/run"), Path::new("var/run"));
        assert!(resolved("/loop/x").ends_with("x"));
        fs::remove_dir_all(&host).unwrap();
    }

    #[test]
    fn files_of_the_host_are_found_behind_a_containers_own_directories() {
        assert_eq!(host_file(Path::new("/usr/bin/envoy")), Path::new("/usr/bin/envoy"));
        assert_eq!(host_file(Path::new("/tmp/x/envoy")), Path::new("/.lateen/host/tmp/x/envoy"));
        assert_eq!(host_file(Path::new("/tmpfiles/envoy")), Path::new("/tmpfiles/envoy"));
    }

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/mnt/a\\040b\\134c"), "/mnt/a b\\c");
    }
}
