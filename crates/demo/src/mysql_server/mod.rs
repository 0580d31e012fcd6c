//! The entry point of MySQL's and MariaDB's images: makes a data directory as the container's environment says, then
//! becomes the host's server.
//!
//! The variables are those of the official images (Docker Hub: "mysql", "mariadb": "Environment Variables"); like
//! there, they mean nothing to a data directory that exists.

mod arguments;
mod setup;

use std::convert::Infallible;
use std::fs;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};

use setup::Setup;

/// Where the images keep data.
const DATA: &str = "/var/lib/mysql";
/// Where data is kept without a volume: it ends with the container, as in a container's own layer.
const OWN_DATA: &str = "/tmp/lib-mysql";
const SOCKET: &str = "/tmp/mysqld.sock";
/// What a new data directory begins with, in this order.
const SYSTEM_TABLES: [&str; 3] =
    ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"];
/// Is in the data directory while it is made.
const UNFINISHED: &str = "lateen-unfinished";

/// What the server is told.
#[derive(Clone, Debug, Args)]
pub struct MysqlServer {
    /// The host's server
    #[arg(long)]
    pub server: PathBuf,
    /// Tables that the image brings along
    #[arg(long)]
    pub tables: Option<Tables>,
    /// The server's own options
    #[arg(last = true)]
    pub options: Vec<String>,
}

/// Tables that images bring along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tables {
    /// The votes of the voting application
    Voting,
    /// The ratings of Bookinfo
    Bookinfo,
}

/// Makes the data directory where there is none, and becomes the server.
///
/// # Errors
/// When the environment names no root password, the directory cannot be made, or the server cannot be started.
pub fn run(wanted: &MysqlServer) -> anyhow::Result<Infallible> {
    let (data, options) = arguments::translate(&wanted.options);
    let data = data_directory(data.as_deref().unwrap_or(Path::new(DATA)))?;
    if !is_made(&data) {
        let setup = Setup::from_env(wanted.tables)?;
        make(&wanted.server, &data, &setup).with_context(|| format!("make {}", data.display()))?;
    }
    let error = Command::new(&wanted.server).args(common(&data)).args(network()).args(options).exec();
    Err(error).with_context(|| format!("start {}", wanted.server.display()))
}

/// The directory, or another where nothing can be written there.
fn data_directory(wanted: &Path) -> anyhow::Result<PathBuf> {
    let probe = wanted.join(".lateen-write");
    if fs::create_dir_all(wanted).and_then(|()| fs::write(&probe, "")).is_ok() {
        fs::remove_file(&probe)?;
        return Ok(wanted.to_owned());
    }
    println!("{} is no volume: data ends with this container", wanted.display());
    fs::create_dir_all(OWN_DATA).context(OWN_DATA)?;
    Ok(PathBuf::from(OWN_DATA))
}

fn is_made(data: &Path) -> bool {
    data.join("mysql").is_dir() && !data.join(UNFINISHED).exists()
}

/// System tables, then accounts and tables. What an earlier attempt left is taken away first.
fn make(server: &Path, data: &Path, setup: &Setup) -> anyhow::Result<()> {
    if data.join(UNFINISHED).exists() {
        empty(data)?;
    }
    fs::write(data.join(UNFINISHED), "")?;
    println!("making a data directory in {}", data.display());
    let mut statements = String::from("CREATE DATABASE mysql;\nUSE mysql;\nSET @auth_root_socket = NULL;\n");
    let scripts = scripts(server)?;
    for name in SYSTEM_TABLES {
        let file = scripts.join(name);
        statements += &fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        statements.push('\n');
    }
    statements += &setup.statements();
    bootstrap(server, data, &statements)?;
    fs::remove_file(data.join(UNFINISHED))?;
    Ok(())
}

fn empty(data: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        if entry.file_name() == UNFINISHED {
            continue;
        }
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        removed.with_context(|| entry.path().display().to_string())?;
    }
    Ok(())
}

/// Where the server's package keeps the statements that make the system tables.
fn scripts(server: &Path) -> anyhow::Result<PathBuf> {
    let prefix = server.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let places = ["share/mysql", "share/mariadb"].map(|place| prefix.join(place));
    let found = places.iter().find(|place| place.join(SYSTEM_TABLES[0]).is_file());
    found.cloned().with_context(|| {
        format!("{} is not in {}; install Debian's mariadb-server", SYSTEM_TABLES[0], places[0].display())
    })
}

/// Runs statements without accounts and network, and tells the server's output only if it fails.
fn bootstrap(server: &Path, data: &Path, statements: &str) -> anyhow::Result<()> {
    let mut command = Command::new(server);
    command.args(common(data)).arg("--bootstrap");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| server.display().to_string())?;
    let stdin = child.stdin.take();
    let written = std::thread::scope(|scope| {
        // The server's output is read meanwhile: it would wait for a full pipe.
        let writer = scope.spawn(|| stdin.map_or(Ok(()), |mut stdin| stdin.write_all(statements.as_bytes())));
        let output = child.wait_with_output();
        (writer.join(), output)
    });
    let (Ok(written), output) = written else { bail!("the statements could not be written") };
    let output = output?;
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // After a statement that fails, the server may go on to the next and end well.
    let failed = said.lines().any(|line| line.contains("ERROR:") || line.contains("[ERROR]"));
    ensure!(output.status.success() && !failed, "the server ended with {}: {said}", output.status);
    written.context("write statements to the server")
}

/// Root, where the container's process is root; the server would refuse otherwise.
fn user() -> Option<&'static str> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    root.then_some("--user=root")
}

/// Options of every run: none of the host's configuration, and little memory and disk.
fn common(data: &Path) -> Vec<String> {
    let fixed = [
        "--no-defaults",
        "--tmpdir=/tmp",
        "--skip-name-resolve",
        "--performance-schema=OFF",
        "--innodb-buffer-pool-size=16M",
        "--innodb-log-file-size=8M",
        // A kernel has few contexts for asynchronous I/O, and many pods.
        "--innodb-use-native-aio=OFF",
    ];
    let data = format!("--datadir={}", data.display());
    fixed.iter().copied().chain([data.as_str()]).chain(user()).map(str::to_owned).collect()
}

fn network() -> [String; 4] {
    [
        format!("--socket={SOCKET}"),
        "--pid-file=/tmp/mysqld.pid".to_owned(),
        "--bind-address=*".to_owned(),
        "--port=3306".to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("lateen-mysql-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_directory_whose_making_was_interrupted_is_not_made() {
        let data = folder("made");
        assert!(!is_made(&data));
        fs::create_dir(data.join("mysql")).unwrap();
        assert!(is_made(&data));
        fs::write(data.join(UNFINISHED), "").unwrap();
        assert!(!is_made(&data));
        empty(&data).unwrap();
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
        fs::remove_dir_all(&data).unwrap();
    }

    #[test]
    fn what_a_server_says_of_a_statement_that_fails_is_quoted() {
        let folder = folder("fake");
        let server = folder.join("server");
        let run = |script: &str| {
            fs::write(&server, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&server, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
            bootstrap(&server, &folder, "SELECT 1;\n")
        };
        run("cat").unwrap();
        for script in ["cat; exit 3", "cat >/dev/null; echo 'ERROR: 1064 SELECT'"] {
            let error = run(script).unwrap_err().to_string();
            assert!(error.contains("SELECT"), "{error}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
