//! The state directory: what a mesh keeps between runs, and how its commands find one another.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::host::link::Summary;

/// Paths of one mesh on this machine.
#[derive(Clone, Debug)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// The directory of the mesh `name`: `dir` if given, else below the user's state folder (XDG base directories).
    pub fn locate(name: &str, dir: Option<&Path>) -> Result<StateDir> {
        let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 40 || !name.chars().all(valid) {
            bail!("--name {name:?}: use 1 to 40 lower-case letters, digits and hyphens");
        }
        let root = match dir {
            Some(dir) => std::path::absolute(dir)?,
            None => default_root()?.join(name),
        };
        Ok(StateDir { root })
    }

    /// Makes the directory, readable by its owner alone: it holds keys.
    pub fn create(&self) -> Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(&self.root).with_context(|| format!("state directory {}", self.root.display()))?;
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the kubeconfig is written unless `--kubeconfig` says otherwise.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Log of the mesh's daemon.
    pub fn log(&self) -> PathBuf {
        self.root.join("lateen.log")
    }

    /// The API server's store.
    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    /// Pods' logs and volumes.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// The node's kubelet interface, a unix socket.
    pub fn kubelet_socket(&self) -> PathBuf {
        self.root.join("kubelet.sock")
    }

    /// Takes the lock that a running mesh holds, and writes this process's id into it. `None` if a mesh runs.
    pub fn try_lock(&self) -> Result<Option<Flock<File>>> {
        let path = self.lock_path();
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                write!(lock, "{}", std::process::id())?;
                Ok(Some(lock))
            }
            Err((_, nix::Error::EWOULDBLOCK)) => Ok(None),
            Err((_, error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// The process id of the running `up`, or `None` if no mesh runs.
    pub fn running(&self) -> Result<Option<i32>> {
        let path = self.lock_path();
        let Ok(mut file) = File::options().read(true).write(true).open(&path) else { return Ok(None) };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_unlocked_on_drop) => Ok(None),
            Err((_, nix::Error::EWOULDBLOCK)) => Ok(text.trim().parse().ok()),
            Err((_, error)) => Err(error).with_context(|| path.display().to_string()),
        }
    }

    /// Waits until no mesh holds the lock.
    pub fn wait_until_stopped(&self) -> Result<()> {
        let Ok(file) = File::options().read(true).write(true).open(self.lock_path()) else { return Ok(()) };
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
        Ok(())
    }

    /// Keeps what `up` told, for `status` and `kubeconfig`.
    pub fn write_summary(&self, summary: &Summary) -> Result<()> {
        let path = self.root.join("summary.json");
        fs::write(&path, serde_json::to_vec_pretty(summary)?).with_context(|| path.display().to_string())
    }

    /// What the last `up` told.
    pub fn summary(&self) -> Option<Summary> {
        serde_json::from_slice(&fs::read(self.root.join("summary.json")).ok()?).ok()
    }

    /// The port that the API had last time, so that a kubeconfig stays valid over a restart.
    pub fn api_port(&self) -> u16 {
        let text = fs::read_to_string(self.root.join("api-port")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Keeps the API's port.
    pub fn keep_api_port(&self, port: u16) -> Result<()> {
        Ok(fs::write(self.root.join("api-port"), port.to_string())?)
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }
}

fn default_root() -> Result<PathBuf> {
    if let Some(state) = std::env::var_os("XDG_STATE_HOME").filter(|s| !s.is_empty()) {
        return Ok(PathBuf::from(state).join("lateen"));
    }
    let home =
        std::env::var_os("HOME").context("neither XDG_STATE_HOME nor HOME is set; give --state-dir")?;
    Ok(PathBuf::from(home).join(".local/state/lateen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_the_state_folder_is_refused() {
        assert!(StateDir::locate("../x", None).is_err());
        assert!(StateDir::locate("", None).is_err());
    }

    #[test]
    fn a_running_mesh_is_found_by_its_lock() {
        let dir = std::env::temp_dir().join(format!("lateen-state-{}", std::process::id()));
        let state = StateDir::locate("test", Some(&dir)).unwrap();
        state.create().unwrap();
        assert_eq!(state.running().unwrap(), None);
        let lock = state.try_lock().unwrap().unwrap();
        assert_eq!(state.running().unwrap(), Some(std::process::id() as i32));
        drop(lock);
        assert_eq!(state.running().unwrap(), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
