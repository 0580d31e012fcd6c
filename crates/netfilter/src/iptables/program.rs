//! The programs of iptables, run in the calling thread's network namespace.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Error, Owned, Version};

/// Where they are installed, besides the folders of `PATH`: that of a container runtime may lack these.
const FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];
/// Why a table is refused that the program itself finds in order.
const KERNEL: &str = "the kernel does not take it; it may lack a module (xt_REDIRECT, xt_owner, xt_multiport, \
                      xt_conntrack, xt_connmark, xt_TPROXY, xt_CT ...)";
/// How long to wait for another program that changes the tables.
const WAIT: &str = "--wait=30";

/// `iptables-legacy-restore` and `iptables-legacy-save`, or where these are missing `iptables-restore` and
/// `iptables-save`; or those of ip6tables.
#[derive(Debug, Clone)]
pub struct Programs {
    version: Version,
    restore: PathBuf,
    save: PathBuf,
    legacy: bool,
}

impl Programs {
    /// Looks for the programs of an IP version.
    ///
    /// # Errors
    /// [`Error::Missing`]: they are not installed.
    pub fn find(version: Version) -> Result<Programs, Error> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(FOLDERS.iter().map(PathBuf::from)).collect();
        Self::find_in(version, &folders)
    }

    fn find_in(version: Version, folders: &[PathBuf]) -> Result<Programs, Error> {
        let plain = version.word();
        let legacy = format!("{plain}-legacy");
        for (name, legacy) in [(legacy.as_str(), true), (plain, false)] {
            let file =
                |kind: &str| folders.iter().map(|f| f.join(format!("{name}-{kind}"))).find(|f| is_program(f));
            if let (Some(restore), Some(save)) = (file("restore"), file("save")) {
                return Ok(Programs { version, restore, save, legacy });
            }
        }
        Err(Error::Missing { legacy, plain })
    }

    /// The program that changes the tables.
    pub fn file(&self) -> &Path {
        &self.restore
    }

    /// What is ours in the tables now.
    ///
    /// # Errors
    /// The program cannot be run, or fails.
    pub fn read(&self) -> Result<Owned, Error> {
        // Most namespaces have none, and looking costs less than a program.
        if self.legacy && !has_tables(self.version) {
            return Ok(Owned::default());
        }
        let output = Command::new(&self.save).stdin(Stdio::null()).output();
        let output = output.map_err(|error| cannot_run(&self.save, &error))?;
        match output.status.success() {
            true => Ok(Owned::saved(&String::from_utf8_lossy(&output.stdout))),
            false => Err(failed(&self.save, &output, "")),
        }
    }

    /// Puts `new` in place of what is ours there, which is returned. The kernel takes each table as a whole; if it
    /// refuses one, those before it are put back.
    ///
    /// # Errors
    /// The program cannot be run, or fails: then what was there is there still.
    pub fn replace(&self, new: &Owned) -> Result<Owned, Error> {
        let old = self.read()?;
        let Err(failure) = self.restore(&new.replacing(&old)) else { return Ok(old) };
        let back = self.read().and_then(|half| self.restore(&old.replacing(&half)));
        match back {
            Ok(()) => Err(failure),
            Err(restoring) => {
                Err(Error::HalfApplied { failure: Box::new(failure), restoring: Box::new(restoring) })
            }
        }
    }

    fn restore(&self, input: &str) -> Result<(), Error> {
        if input.is_empty() {
            return Ok(());
        }
        let run = || -> std::io::Result<Output> {
            let mut child = Command::new(&self.restore)
                .args(["--noflush", WAIT])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()?;
            if let Some(mut pipe) = child.stdin.take() {
                // A program that ends before it has read all says why.
                drop(pipe.write_all(input.as_bytes()));
            }
            child.wait_with_output()
        };
        let output = run().map_err(|error| cannot_run(&self.restore, &error))?;
        match output.status.success() {
            true => Ok(()),
            false => Err(failed(&self.restore, &output, input)),
        }
    }
}

/// Whether the calling thread's network namespace has tables of the kernel's ip_tables (not of nf_tables): none are there
/// before somebody uses them. `true` if that cannot be told.
pub fn has_tables(version: Version) -> bool {
    let file = match version {
        Version::V4 => "/proc/thread-self/net/ip_tables_names",
        Version::V6 => "/proc/thread-self/net/ip6_tables_names",
    };
    match fs::read_to_string(file) {
        Ok(names) => !names.trim().is_empty(),
        Err(error) => error.kind() != std::io::ErrorKind::NotFound,
    }
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn cannot_run(program: &Path, error: &std::io::Error) -> Error {
    Error::Run { program: program.display().to_string(), reason: error.to_string() }
}

fn failed(program: &Path, output: &Output, input: &str) -> Error {
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The last line only tells of --help.
    let lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("Try `"));
    let stderr = lines.collect::<Vec<_>>().join("; ");
    let at = complained_line(&stderr, input).map(|line| format!(" at {line:?}")).unwrap_or_default();
    let stderr = match stderr.as_str() {
        "" => output.status.to_string(),
        // All that it says where the kernel does not take a table.
        bare if bare.ends_with(" failed") => format!("{bare}: {KERNEL}"),
        _ => stderr,
    };
    Error::Failed { program: program.display().to_string(), at, stderr }
}

/// The line of the input whose number the program names (`line 7 failed`, `Error occurred at line: 7`); for a commit
/// the table's.
fn complained_line<'a>(stderr: &str, input: &'a str) -> Option<&'a str> {
    let behind = stderr.rsplit_once("line")?.1.trim_start_matches([':', ' ']);
    let number: usize = behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
    let lines: Vec<&str> = input.lines().take(number).collect();
    match lines.get(number.checked_sub(1)?) {
        Some(&"COMMIT") => lines.into_iter().rev().find(|line| line.starts_with('*')),
        line => line.copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_at_fault_is_named() {
        let input = "*nat\n:A - [0:0]\n-A A -j NOWHERE\nCOMMIT\n";
        let line = |stderr: &str| complained_line(stderr, input);
        assert_eq!(
            line("iptables-restore v1.8.9 (legacy): bad; Error occurred at line: 3"),
            Some("-A A -j NOWHERE")
        );
        assert_eq!(line("iptables-restore: line 4 failed"), Some("*nat"));
        assert_eq!(line("iptables-restore: line 9 failed"), None);
        assert_eq!(line("line 0"), None);
        assert_eq!(line("no such file"), None);
    }

    #[test]
    fn legacy_programs_are_taken_first_and_missing_ones_named() {
        let folder = std::env::temp_dir().join(format!("lateen-iptables-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let find = || Programs::find_in(Version::V6, std::slice::from_ref(&folder));
        let install = |name: &str| {
            fs::write(folder.join(name), "").unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        };
        assert_eq!(
            find().unwrap_err().to_string(),
            "iptables: neither ip6tables-legacy-restore nor ip6tables-restore is installed"
        );
        install("ip6tables-save");
        install("ip6tables-restore");
        assert_eq!(find().unwrap().file(), folder.join("ip6tables-restore"));
        install("ip6tables-legacy-restore");
        assert!(!find().unwrap().legacy, "without its -save");
        install("ip6tables-legacy-save");
        assert_eq!(find().unwrap().file(), folder.join("ip6tables-legacy-restore"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
