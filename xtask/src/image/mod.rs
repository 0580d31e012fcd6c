//! `cargo xtask image`: the image of the `Containerfile` as an OCI archive, made without a container engine.

mod archive;
mod demos;
mod root;
mod servers;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

/// Largest image, compressed: nodes pull it before the first sidecar starts.
const LIMIT: u64 = 25 << 20;

/// What goes into the image, and where it goes.
#[derive(Args)]
pub struct Options {
    /// The program [default: built by `cargo build --release`]
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// The archive.
    #[arg(long, short = 'o', value_name = "FILE", default_value = "lateen.tar")]
    output: PathBuf,
    /// Name of the image in the archive [default: the name that the charts use]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<String>,
    /// Beside it, an image for each demo application that this manifest names, under the name that stands there; may be
    /// given several times. Databases are this machine's own servers.
    #[arg(long, value_name = "MANIFEST")]
    demos_of: Vec<PathBuf>,
    /// Another proxy, such as Envoy: it is laid beside the program, where `pilot.env.LATEEN_PROXY_BINARY` finds it as
    /// /usr/local/bin/NAME.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
    /// Accept an image above the limit, such as one with a program for debugging.
    #[arg(long)]
    any_size: bool,
}

/// An image of the archive.
struct Image {
    /// Its name.
    tag: String,
    /// What it runs.
    entry_point: Vec<String>,
    /// `UID:GID`. The mesh's roles run as the user whose traffic is not captured; applications must not.
    user: &'static str,
}

const PROGRAM: &str = "/usr/local/bin/lateen";
const ROLE: &str = "1337:1337";
const APPLICATION: &str = "1000:1000";

impl Image {
    /// The image of the mesh's own roles.
    fn role(tag: String) -> Image {
        Image { tag, entry_point: vec![PROGRAM.to_owned()], user: ROLE }
    }

    fn is_role(&self) -> bool {
        self.user == ROLE
    }
}

/// Where the files of images are laid out.
struct Files {
    /// Those of every image.
    own: PathBuf,
    /// Those that applications have besides: database servers, where a manifest names one.
    servers: Option<PathBuf>,
}

/// Makes the archive, and says how large it is.
pub fn run(options: &Options) -> Result<()> {
    let binary = match &options.binary {
        Some(path) => path.clone(),
        None => build()?,
    };
    let own = || format!("docker.io/lateen/lateen:{}", env!("CARGO_PKG_VERSION"));
    let mut images = vec![Image::role(options.tag.clone().unwrap_or_else(own))];
    for manifest in &options.demos_of {
        demos::collect(manifest, &mut images)?;
    }
    let work = std::env::temp_dir().join(format!("lateen-image-{}", std::process::id()));
    let made = lay_out(&binary, options.proxy.as_deref(), &images, &work)
        .and_then(|files| archive::write(&work, &files, &images, &options.output));
    std::fs::remove_dir_all(&work).ok();
    let size = made?;
    println!("{}: {:.1} MiB compressed", options.output.display(), size as f64 / f64::from(1 << 20));
    for image in &images {
        println!("  {}", image.tag);
    }
    if size > LIMIT && !options.any_size {
        bail!("the image is larger than {} MiB; strip the program, or say --any-size", LIMIT >> 20);
    }
    Ok(())
}

fn lay_out(binary: &Path, proxy: Option<&Path>, images: &[Image], work: &Path) -> Result<Files> {
    let own = work.join("root");
    root::lay_out(binary, &own)?;
    if let Some(proxy) = proxy {
        root::put_proxy(proxy, &own)?;
    }
    let mut files = Files { own, servers: None };
    let wanted = servers::wanted(images);
    if !wanted.is_empty() {
        let folder = work.join("servers");
        servers::lay_out(&wanted, &folder)?;
        files.servers = Some(folder);
    }
    Ok(files)
}

fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "lateen"])
        .status()
        .context("cannot start cargo")?;
    if !built.success() {
        bail!("the program cannot be built");
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    Ok(target.join("release/lateen"))
}

/// Runs a program that has to succeed, and gives what it printed.
fn call(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
