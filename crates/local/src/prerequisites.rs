//! What the kernel must allow, and which setting is missing where it does not.

use std::fs;

use anyhow::{Result, bail};

/// Checks that this user can make the mesh's namespaces.
///
/// Root needs no user namespace. Anyone else does, and distributions close it with one of three settings.
pub fn check() -> Result<()> {
    if nix::unistd::geteuid().is_root() {
        return Ok(());
    }
    if let Some(missing) = missing_setting(|path| fs::read_to_string(path).ok()) {
        bail!("{missing}");
    }
    Ok(())
}

/// The first setting that forbids user namespaces, in words; `read` gives a setting's text, `None` where the kernel
/// does not have it.
fn missing_setting(read: impl Fn(&str) -> Option<String>) -> Option<String> {
    let number = |path: &str| read(path).and_then(|text| text.trim().parse::<i64>().ok());
    let says = |setting: &str, value: &str| {
        format!(
            "this kernel does not let you make a user namespace: set {setting}={value} \
             (`sudo sysctl -w {setting}={value}`), or run lateen as root"
        )
    };
    if number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
        return Some(says("kernel.unprivileged_userns_clone", "1"));
    }
    if number("/proc/sys/user/max_user_namespaces") == Some(0) {
        return Some(says("user.max_user_namespaces", "1024"));
    }
    if number("/proc/sys/user/max_net_namespaces") == Some(0) {
        return Some(says("user.max_net_namespaces", "1024"));
    }
    if number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return Some(says("kernel.apparmor_restrict_unprivileged_userns", "0"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_setting_that_forbids_user_namespaces_is_named() {
        let refused =
            missing_setting(|path| path.ends_with("userns_clone").then(|| "0\n".to_owned())).unwrap();
        assert!(refused.contains("kernel.unprivileged_userns_clone=1"), "{refused}");
        let refused = missing_setting(|path| path.ends_with("unprivileged_userns").then(|| "1\n".to_owned()));
        assert!(refused.unwrap().contains("kernel.apparmor_restrict_unprivileged_userns=0"));
        assert_eq!(missing_setting(|_| None), None);
        assert_eq!(missing_setting(|_| Some("100".to_owned())), None);
    }
}
