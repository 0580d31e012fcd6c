//! Files of a volume, replaced all at once.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// A volume's files: relative path, then content and mode.
pub(crate) type Payload = BTreeMap<String, (Vec<u8>, u32)>;

const DATA: &str = "..data";

/// Writes `payload` into `dir` as kubelets do: files in a directory of their own, reached through the link `..data`,
/// which is replaced in one step. Does nothing if that is what is there. Returns whether anything changed.
pub(crate) fn write(dir: &Path, payload: &Payload) -> io::Result<bool> {
    fs::create_dir_all(dir)?;
    let old = fs::read_link(dir.join(DATA)).ok();
    if old.is_some() && current(&dir.join(DATA), payload) {
        return Ok(false);
    }
    let generation = jiff::Timestamp::now().as_nanosecond();
    let fresh = format!("..{generation}");
    for (path, (content, mode)) in payload {
        let file = dir.join(&fresh).join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, content)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(*mode))?;
    }
    fs::create_dir_all(dir.join(&fresh))?;
    let staged = dir.join("..data_tmp");
    if let Err(error) = fs::remove_file(&staged)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    symlink(&fresh, &staged)?;
    fs::rename(&staged, dir.join(DATA))?;
    links(dir, payload)?;
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old))?;
    }
    Ok(true)
}

/// What users see: a link for each first part of a path.
fn links(dir: &Path, payload: &Payload) -> io::Result<()> {
    let wanted: std::collections::BTreeSet<&str> =
        payload.keys().filter_map(|path| path.split('/').next()).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !name.starts_with("..") && !wanted.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for name in wanted {
        let link = dir.join(name);
        if fs::symlink_metadata(&link).is_err() {
            symlink(Path::new(DATA).join(name), link)?;
        }
    }
    Ok(())
}

fn current(data: &Path, payload: &Payload) -> bool {
    let same = |(path, (content, _)): (&String, &(Vec<u8>, u32))| {
        fs::read(data.join(path)).is_ok_and(|c| c == *content)
    };
    payload.iter().all(same) && count(data) == payload.len()
}

fn count(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|e| if e.path().is_dir() { count(&e.path()) } else { 1 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_change_together_and_removed_ones_go() {
        let dir = std::env::temp_dir().join(format!("lateen-volume-{}", std::process::id()));
        let payload = |items: &[(&str, &str)]| -> Payload {
            items.iter().map(|(k, v)| ((*k).to_owned(), (v.as_bytes().to_vec(), 0o644))).collect()
        };
        assert!(write(&dir, &payload(&[("a", "1"), ("b/c", "2")])).unwrap());
        assert!(!write(&dir, &payload(&[("a", "1"), ("b/c", "2")])).unwrap());
        let held = fs::read_link(dir.join(DATA)).unwrap();
        assert!(write(&dir, &payload(&[("a", "3")])).unwrap());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "3");
        assert!(!dir.join("b").exists() && !dir.join(held).exists());
        fs::remove_dir_all(&dir).unwrap();
    }
}
