//! Database servers of this machine as images: under the names of those that the manifests of tutorials pull.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lateen_demo::DemoCommand;
use lateen_demo::images::DatabaseServer;

use super::root::{put, put_libraries};
use super::{APPLICATION, Image, PROGRAM};

const REDIS: &str = "/usr/bin/redis-server";
const REDIS_CLIENT: &str = "/usr/bin/redis-cli";
const MARIADB: &str = "/usr/sbin/mariadbd";
/// What MariaDB makes a data directory from, and its messages.
const MARIADB_FILES: &str = "/usr/share/mysql";
const MESSAGES: [&str; 2] = ["english", "charsets"];
/// As in the image, where a volume belongs to root.
const ROOT: &str = "0:0";

/// The image of a database server, if this machine has the server; says so if not.
pub fn image(tag: String, server: DatabaseServer) -> Option<Image> {
    let (program, image) = match server {
        DatabaseServer::Redis => {
            let entry_point = [REDIS, "--save", "", "--protected-mode", "no"].map(str::to_owned).into();
            (REDIS, Image { tag, entry_point, user: APPLICATION })
        }
        DatabaseServer::Mysql(tables) => {
            let command = DemoCommand::mysql_server(MARIADB, tables).arguments();
            let entry_point = std::iter::once(PROGRAM.to_owned()).chain(command).collect();
            (MARIADB, Image { tag, entry_point, user: ROOT })
        }
        DatabaseServer::Mongo => return None,
    };
    if Path::new(program).exists() {
        return Some(image);
    }
    println!("skipped: no image {}, for this machine has no {program}", image.tag);
    None
}

/// The programs that images need besides the mesh's own.
pub fn wanted(images: &[Image]) -> Vec<&'static str> {
    let named =
        |program: &str| images.iter().any(|image| image.entry_point.iter().any(|word| word == program));
    let mut programs: Vec<&str> = [REDIS, MARIADB].into_iter().filter(|program| named(program)).collect();
    if programs.contains(&REDIS) && Path::new(REDIS_CLIENT).exists() {
        programs.push(REDIS_CLIENT);
    }
    programs
}

/// Lays out the programs with their libraries and files.
pub fn lay_out(programs: &[&str], root: &Path) -> Result<()> {
    for program in programs {
        let inside = root.join(program.trim_start_matches('/'));
        put(Path::new(program), &inside, 0o755)?;
        put_libraries(Path::new(program), root)?;
    }
    if programs.contains(&MARIADB) {
        let there = Path::new(MARIADB_FILES);
        for entry in fs::read_dir(there).with_context(|| there.display().to_string())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if MESSAGES.contains(&&*name) || name.ends_with(".sql") {
                put_all(&path, root)?;
            }
        }
    }
    Ok(())
}

/// Copies a file or a folder's files to the same place under another root.
fn put_all(path: &Path, root: &Path) -> Result<()> {
    if !path.is_dir() {
        let inside: PathBuf = root.join(path.strip_prefix("/").unwrap_or(path));
        return put(path, &inside, 0o644);
    }
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        put_all(&entry?.path(), root)?;
    }
    Ok(())
}
