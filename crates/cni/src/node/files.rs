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
