//! Changes of files, by inotify on their directories: Kubernetes replaces mounted files by renaming a link beside them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::net::unix::pipe::Receiver;

/// Files are looked at so often even without word of a change: a link may lead to another directory.
const LOOK: Duration = Duration::from_secs(60);
/// As long as a directory is missing, or the system gives no inotify.
const LOOK_OFTEN: Duration = Duration::from_secs(1);
/// Changes come in several steps; all of them are waited for.
const SETTLE: Duration = Duration::from_millis(50);

/// Watches files.
pub(super) struct Watch {
    directories: BTreeSet<PathBuf>,
    watched: BTreeSet<PathBuf>,
    /// inotify's descriptor. It is read as a pipe is, and tokio has no other type for such that is safe.
    descriptor: Option<Receiver>,
}

impl Watch {
    pub(super) fn new<'a>(files: impl IntoIterator<Item = &'a Path>) -> Watch {
        let descriptor = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let descriptor = descriptor.and_then(|fd| Receiver::from_owned_fd_unchecked(fd).ok());
        let mut watch = Watch { directories: BTreeSet::new(), watched: BTreeSet::new(), descriptor };
        files.into_iter().for_each(|file| watch.add(file));
        watch
    }

    /// Watches one more file.
    pub(super) fn add(&mut self, file: &Path) {
        self.directories.insert(file.parent().unwrap_or(Path::new(".")).to_owned());
        self.attach();
    }

    /// Watches the directories that are there by now.
    fn attach(&mut self) {
        let Some(descriptor) = &self.descriptor else { return };
        let flags = WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        for directory in &self.directories {
            if !self.watched.contains(directory) && inotify::add_watch(descriptor, directory, flags).is_ok() {
                self.watched.insert(directory.clone());
            }
        }
    }

    /// Resolves when something may have changed.
    pub(super) async fn changed(&mut self) {
        self.attach();
        let complete = self.directories.len() == self.watched.len();
        let Some(descriptor) = &self.descriptor else { return tokio::time::sleep(LOOK_OFTEN).await };
        let limit = if complete { LOOK } else { LOOK_OFTEN };
        if tokio::time::timeout(limit, next(descriptor)).await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            // What came meanwhile is seen together with this.
            drain(descriptor);
        }
    }
}

async fn next(descriptor: &Receiver) {
    loop {
        if descriptor.readable().await.is_err() {
            return std::future::pending().await;
        }
        if drain(descriptor) {
            return;
        }
    }
}

/// Reads all events, whatever they are; whether there was one.
fn drain(descriptor: &Receiver) -> bool {
    let mut buffer = [0; 4096];
    let mut any = false;
    while descriptor.try_read(&mut buffer).is_ok_and(|read| read > 0) {
        any = true;
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_replaced_link_is_noticed_and_so_is_a_directory_that_comes_later() {
        let base = std::env::temp_dir().join(format!("lateen-notify-{}", std::process::id()));
        std::fs::create_dir_all(base.join("a")).unwrap();
        let file = base.join("a/file");
        let mut watch = Watch::new([file.as_path()]);
        std::fs::write(base.join("a/staged"), "1").unwrap();
        std::fs::rename(base.join("a/staged"), &file).unwrap();
        let limit = Duration::from_secs(20);
        tokio::time::timeout(limit, watch.changed()).await.unwrap();

        let later = base.join("b/file");
        watch.add(&later);
        std::fs::create_dir_all(base.join("b")).unwrap();
        std::fs::write(&later, "1").unwrap();
        tokio::time::timeout(limit, async {
            while !later.exists() {
                watch.changed().await;
            }
        })
        .await
        .unwrap();
        std::fs::remove_dir_all(base).unwrap();
    }
}
