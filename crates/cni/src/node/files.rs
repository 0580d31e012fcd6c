//! What is put on the node: the program, its access to the API, its place in the network configuration.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Install, conflist};
use crate::PLUGIN;

/// Behind every network configuration by name, so that no runtime takes it for one.
const KUBECONFIG: &str = "ZZZ-istio-cni-kubeconfig";
/// The configuration of its own, where the plugin is not chained.
const OWN_CONFIG: &str = "YYY-istio-cni.conf";

/// The node's files.
pub struct Files<'a> {
    install: &'a Install,
    /// The plugin as it stands in a network configuration.
    plugin: Value,
}

impl<'a> Files<'a> {
    /// Those that the arguments describe.
    pub fn new(install: &'a Install) -> Result<Files<'a>> {
        let kubeconfig = install.net_dir.join(KUBECONFIG);
        let Some(kubeconfig) = kubeconfig.to_str() else { bail!("--net-dir is no text") };
        let plugin = json!({
            "type": PLUGIN,
            "kubernetes": { "kubeconfig": kubeconfig, "exclude_namespaces": install.exclude_namespaces },
        });
        Ok(Files { install, plugin })
    }

    /// Copies this program to the node, unless it is there.
    pub fn program(&self) -> Result<()> {
        let path = self.install.bin_dir.join(PLUGIN);
        let program = fs::read("/proc/self/exe").context("cannot read this program")?;
        if fs::read(&path).is_ok_and(|there| there == program) {
            return Ok(());
        }
        replace(&path, &program, 0o755)?;
        tracing::info!(path = %path.display(), "plugin copied");
        Ok(())
    }

    /// Brings kubeconfig and network configuration in order; tells what was done.
    pub fn keep(&self) -> Result<Option<String>> {
        let kubeconfig = self.install.mounted_net_dir.join(KUBECONFIG);
        let text = self.kubeconfig()?;
        let renewed = fs::read_to_string(&kubeconfig).is_ok_and(|there| there == text);
        if !renewed {
            replace(&kubeconfig, text.as_bytes(), 0o600)?;
        }
        if self.install.unchained {
            return self.keep_own();
        }
        let Some((name, text)) = self.network()? else {
            bail!("no network configuration in {} yet", self.install.mounted_net_dir.display());
        };
        if conflist::has(&text, &self.plugin) {
            return Ok(None);
        }
        let path = self.install.mounted_net_dir.join(&name);
        let list = conflist::insert(&text, &self.plugin).with_context(|| path.display().to_string())?;
        // Single configurations end in .conf, and lists in .conflist: runtimes go by it.
        let target = if name.ends_with(".conf") { path.with_extension("conflist") } else { path.clone() };
        replace(&target, list.as_bytes(), 0o644)?;
        if target != path {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
        Ok(Some(format!("{PLUGIN} is in {}", target.display())))
    }

    fn keep_own(&self) -> Result<Option<String>> {
        let name = self.install.conf_name.as_deref().unwrap_or(OWN_CONFIG);
        let path = self.install.mounted_net_dir.join(name);
        let mut config = json!({ "cniVersion": "0.3.1", "name": PLUGIN });
        if let (Value::Object(config), Value::Object(plugin)) = (&mut config, self.plugin.clone()) {
            config.extend(plugin);
        }
        let text = format!("{config:#}\n");
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(None);
        }
        replace(&path, text.as_bytes(), 0o644)?;
        Ok(Some(format!("{} is written", path.display())))
    }

    /// Whether everything is there.
    pub fn is_installed(&self) -> bool {
        let net = &self.install.mounted_net_dir;
        let files = self.install.bin_dir.join(PLUGIN).exists() && net.join(KUBECONFIG).exists();
        let configured = match self.install.unchained {
            true => net.join(self.install.conf_name.as_deref().unwrap_or(OWN_CONFIG)).exists(),
            false => matches!(self.network(), Ok(Some((_, text))) if conflist::has(&text, &self.plugin)),
        };
        files && configured
    }

    /// Takes everything away again: first the configuration, so that no runtime misses the rest.
    pub fn remove(&self) -> Result<()> {
        let net = &self.install.mounted_net_dir;
        for (name, text) in self.configurations()? {
            if let Some(without) = conflist::remove(&text) {
                replace(&net.join(name), without.as_bytes(), 0o644)?;
            }
        }
        let mut gone = vec![net.join(KUBECONFIG), self.install.bin_dir.join(PLUGIN)];
        if self.install.unchained {
            gone.insert(0, net.join(self.install.conf_name.as_deref().unwrap_or(OWN_CONFIG)));
        }
        for path in gone {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).context(path.display().to_string());
                }
                _ => {}
            }
        }
        tracing::info!("the plugin is removed from this node");
        Ok(())
    }

    fn network(&self) -> Result<Option<(String, String)>> {
        let files = self.configurations()?;
        Ok(conflist::first(&files, self.install.conf_name.as_deref()).cloned())
    }

    /// Names and texts of the network configurations.
    fn configurations(&self) -> Result<Vec<(String, String)>> {
        let folder = &self.install.mounted_net_dir;
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
            let path = entry?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".conf") || name.ends_with(".conflist") {
                // One that vanishes meanwhile is no longer there.
                let Ok(text) = fs::read_to_string(&path) else { continue };
                files.push((name.to_owned(), text));
            }
        }
        Ok(files)
    }

    /// The plugin's access to the API, with the token of the moment: kubelet renews it, and so is this file.
    fn kubeconfig(&self) -> Result<String> {
        let read = |name: &str| -> Result<String> {
            let path = self.install.account_dir.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let host = match self.install.api_host.contains(':') {
            true => format!("[{}]", self.install.api_host),
            false => self.install.api_host.clone(),
        };
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "local", "cluster": {
                "server": format!("https://{host}:{}", self.install.api_port),
                "certificate-authority-data": STANDARD.encode(read("ca.crt")?),
            } }],
            "users": [{ "name": PLUGIN, "user": { "token": read("token")?.trim() } }],
            "contexts": [{ "name": PLUGIN, "context": { "cluster": "local", "user": PLUGIN } }],
            "current-context": PLUGIN,
        });
        Ok(format!("{config:#}\n"))
    }
}

/// Puts a file in place at once: nobody ever sees a part of it. The name of the half-made one is no configuration's.
fn replace(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut half = PathBuf::from(path);
    half.set_extension(format!("{}.tmp", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&half)?;
        file.write_all(content)?;
        // Creating takes the process's umask into account.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&half, path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&half))).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        install: Install,
    }

    /// A node's folders, with a network configuration that some plugin has written.
    struct Node {
        folder: PathBuf,
        install: Install,
    }

    const BRIDGE: &str = r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"}]}"#;

    impl Node {
        fn new(name: &str, more: &[&str]) -> Node {
            let folder = std::env::temp_dir().join(format!("lateen-cni-{}-{name}", std::process::id()));
            for part in ["bin", "net.d", "account"] {
                fs::create_dir_all(folder.join(part)).unwrap();
            }
            fs::write(folder.join("account/ca.crt"), "ca").unwrap();
            fs::write(folder.join("account/token"), "first\n").unwrap();
            let flag = |flag: &str, part: &str| format!("--{flag}={}", folder.join(part).display());
            let words =
                [flag("bin-dir", "bin"), flag("mounted-net-dir", "net.d"), flag("account-dir", "account")];
            let fixed = ["install", "--api-host=fd00::1", "--api-port=6443"];
            let words =
                fixed.into_iter().map(str::to_owned).chain(words).chain(more.iter().map(|w| (*w).to_owned()));
            let install = Cli::parse_from(words).install;
            Node { folder, install }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.join("net.d").join(name)
        }
    }

    impl Drop for Node {
        fn drop(&mut self) {
            drop(fs::remove_dir_all(&self.folder));
        }
    }

    #[test]
    fn the_plugin_comes_stays_and_goes() {
        let node =
            Node::new("stays", &["--exclude-namespaces=kube-system", "--exclude-namespaces=istio-system"]);
        let files = Files::new(&node.install).unwrap();
        assert!(
            files.keep().unwrap_err().to_string().contains("no network configuration"),
            "nothing to go into yet"
        );
        fs::write(node.path("10-net.conflist"), BRIDGE).unwrap();
        assert!(!files.is_installed());
        files.program().unwrap();
        assert!(files.keep().unwrap().is_some());
        assert!(files.keep().unwrap().is_none(), "once is enough");
        assert!(files.is_installed());
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(node.folder.join("bin/istio-cni")), 0o755);
        assert_eq!(mode(node.path(KUBECONFIG)), 0o600, "a token is nobody else's");
        let list: Value =
            serde_json::from_str(&fs::read_to_string(node.path("10-net.conflist")).unwrap()).unwrap();
        assert_eq!(
            list["plugins"][1],
            json!({ "type": "istio-cni", "kubernetes": {
                "kubeconfig": "/etc/cni/net.d/ZZZ-istio-cni-kubeconfig",
                "exclude_namespaces": ["kube-system", "istio-system"],
            } })
        );

        // The network plugin writes its configuration anew, and kubelet a token.
        fs::write(node.path("10-net.conflist"), BRIDGE).unwrap();
        fs::write(node.folder.join("account/token"), "second").unwrap();
        assert!(files.keep().unwrap().is_some());
        let kubeconfig = fs::read_to_string(node.path(KUBECONFIG)).unwrap();
        assert!(
            kubeconfig.contains("second") && kubeconfig.contains("https://[fd00::1]:6443"),
            "{kubeconfig}"
        );

        files.remove().unwrap();
        let list: Value =
            serde_json::from_str(&fs::read_to_string(node.path("10-net.conflist")).unwrap()).unwrap();
        assert_eq!(list, serde_json::from_str::<Value>(BRIDGE).unwrap());
        let left: Vec<_> =
            fs::read_dir(node.folder.join("net.d")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["10-net.conflist"]);
        assert_eq!(fs::read_dir(node.folder.join("bin")).unwrap().count(), 0);
        files.remove().unwrap();
    }

    #[test]
    fn a_configuration_of_its_own_where_it_is_not_chained() {
        let node = Node::new("own", &["--unchained"]);
        let files = Files::new(&node.install).unwrap();
        files.keep().unwrap();
        let text = fs::read_to_string(node.path(OWN_CONFIG)).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["type"], "istio-cni");
        files.remove().unwrap();
        assert!(!node.path(OWN_CONFIG).exists());
    }

    #[test]
    fn a_single_configuration_becomes_a_list_of_that_name() {
        let node = Node::new("single", &["--conf-name=10-net.conf"]);
        fs::write(node.path("10-net.conf"), r#"{"cniVersion":"0.4.0","name":"n","type":"bridge"}"#).unwrap();
        let files = Files::new(&node.install).unwrap();
        files.keep().unwrap();
        assert!(!node.path("10-net.conf").exists());
        assert!(files.keep().unwrap().is_none());
        assert!(fs::read_to_string(node.path("10-net.conflist")).unwrap().contains("istio-cni"));
    }
}
