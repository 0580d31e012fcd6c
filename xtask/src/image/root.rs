use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::call;

/// The user that the image runs as: the one whose traffic is not captured.
const USERS: &str = "root:x:0:0:root:/:/none\nistio-proxy:x:1337:1337:istio-proxy:/:/none\n";
const GROUPS: &str = "root:x:0:\nistio-proxy:x:1337:\n";
/// The public roots, where this machine has them: for HTTPS to hosts outside of the mesh.
const ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Lays out the image's files: the program, its libraries, users, public roots, a folder for temporary files.
pub fn lay_out(binary: &Path, root: &Path) -> Result<()> {
    put(binary, &root.join("usr/local/bin/lateen"), 0o755)?;
    put_libraries(binary, root)?;
    // Programs that tutorials run in pods: the program answers to these names.
    for program in ["usr/bin/curl", "bin/sleep"] {
        let link = root.join(program);
        fs::create_dir_all(link.parent().unwrap_or(root))?;
        symlink("/usr/local/bin/lateen", link)?;
    }
    fs::create_dir_all(root.join("etc"))?;
    fs::write(root.join("etc/passwd"), USERS)?;
    fs::write(root.join("etc/group"), GROUPS)?;
    if Path::new(ROOTS).exists() {
        put(Path::new(ROOTS), &root.join("etc/ssl/certs/ca-certificates.crt"), 0o644)?;
    }
    let temporary = root.join("tmp");
    fs::create_dir_all(&temporary)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777))?;
    Ok(())
}

/// Copies a file; the folders above it are made.
pub fn put(from: &Path, to: &Path, mode: u32) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| from.display().to_string())?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Lays another proxy beside the program.
pub fn put_proxy(proxy: &Path, root: &Path) -> Result<()> {
    let name = proxy.file_name().with_context(|| proxy.display().to_string())?;
    put(proxy, &root.join("usr/local/bin").join(name), 0o755)?;
    put_libraries(proxy, root)
}

/// Copies what a program is linked with.
pub fn put_libraries(binary: &Path, root: &Path) -> Result<()> {
    for library in libraries(binary)? {
        let inside = root.join(library.strip_prefix("/").unwrap_or(&library));
        put(&library, &inside, 0o755)?;
    }
    Ok(())
}

/// The shared libraries and the loader, as the loader itself finds them; none for a static program.
fn libraries(binary: &Path) -> Result<Vec<PathBuf>> {
    let Ok(listed) = call(Command::new("ldd").arg(binary)) else { return Ok(Vec::new()) };
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    Ok(listed.lines().filter_map(path).collect())
}
