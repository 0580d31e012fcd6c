//! Writing: one line a record, `TIME stdout|stderr P|F TEXT`, as kubelets' log files have them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::watch;

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    fn word(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// One run of a container. At [`Self::ROTATE_BYTES`] the file is renamed and a new one begun; one old file is kept.
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    /// Counts writes, so that followers wake.
    written: watch::Sender<u64>,
    record: Vec<u8>,
}

impl LogFile {
    /// kubelet's `containerLogMaxSize`.
    pub const ROTATE_BYTES: u64 = 10 << 20;

    /// Begins the log of run `attempt` below `dir`; only the run before it is kept beside it.
    pub fn create(dir: &Path, attempt: u32) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        if let Some(old) = attempt.checked_sub(2) {
            for path in [Self::path(dir, old), rotated(&Self::path(dir, old))] {
                if let Err(error) = fs::remove_file(&path)
                    && error.kind() != io::ErrorKind::NotFound
                {
                    tracing::debug!(path = %path.display(), %error, "an old log stays");
                }
            }
        }
        let path = Self::path(dir, attempt);
        let file = File::options().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size, written: watch::Sender::new(0), record: Vec::new() })
    }

    /// Where a run's log is.
    pub fn path(dir: &Path, attempt: u32) -> PathBuf {
        dir.join(format!("{attempt}.log"))
    }

    /// Tells of every write from now on; ends when the container's run does.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    /// Writes lines. `partial` says that the last one is not complete yet.
    pub fn write(&mut self, stream: Stream, lines: &[&[u8]], partial: bool) -> io::Result<()> {
        self.record.clear();
        for (i, line) in lines.iter().enumerate() {
            let tag = if partial && i + 1 == lines.len() { 'P' } else { 'F' };
            write!(self.record, "{:.9} {} {tag} ", Timestamp::now(), stream.word())?;
            self.record.extend_from_slice(line);
            self.record.push(b'\n');
        }
        if self.size + self.record.len() as u64 > Self::ROTATE_BYTES {
            fs::rename(&self.path, rotated(&self.path))?;
            self.file = File::options().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(&self.record)?;
        self.size += self.record.len() as u64;
        self.written.send_modify(|n| *n += 1);
        Ok(())
    }
}

/// Where a full log goes.
pub(crate) fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_rotated_and_old_runs_dropped() {
        let dir = std::env::temp_dir().join(format!("lateen-logs-{}", std::process::id()));
        let line = vec![b'x'; 1 << 20];
        let mut log = LogFile::create(&dir, 0).unwrap();
        for _ in 0..12 {
            log.write(Stream::Stdout, &[&line], false).unwrap();
        }
        assert!(rotated(&LogFile::path(&dir, 0)).exists());
        assert!(fs::metadata(LogFile::path(&dir, 0)).unwrap().len() < LogFile::ROTATE_BYTES);
        LogFile::create(&dir, 1).unwrap();
        assert!(LogFile::path(&dir, 0).exists());
        LogFile::create(&dir, 2).unwrap();
        assert!(!LogFile::path(&dir, 0).exists() && !rotated(&LogFile::path(&dir, 0)).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
