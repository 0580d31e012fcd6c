//! The OCI image layout: content by its digest, an index that names it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Files, Image, call};

/// Same content, same archive: no times, no owners, one order.
const REPRODUCIBLE: [&str; 5] = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner"];

/// Writes images of laid out files; gives the compressed size of the program's own in bytes.
pub fn write(work: &Path, files: &Files, images: &[Image], output: &Path) -> Result<u64> {
    let layout = work.join("layout");
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let own = Layer::pack(work, &blobs, &files.own)?;
    let servers = files.servers.as_ref().map(|folder| Layer::pack(work, &blobs, folder)).transpose()?;
    let mut named = Vec::new();
    for image in images {
        let layers: Vec<&Layer> = match image.is_role() {
            true => vec![&own],
            false => std::iter::once(&own).chain(&servers).collect(),
        };
        named.push(describe(work, &blobs, image, &layers)?);
    }
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": named,
    });
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    let all = ["oci-layout", "index.json", "blobs"];
    call(Command::new("tar").args(REPRODUCIBLE).arg("-C").arg(&layout).arg("-cf").arg(output).args(all))?;
    Ok(own.packed.size)
}

/// Files of an image.
struct Layer {
    /// Digest of the files before they are compressed.
    contents: String,
    packed: Blob,
}

impl Layer {
    fn pack(work: &Path, blobs: &Path, folder: &Path) -> Result<Layer> {
        let layer = work.join("layer.tar");
        call(Command::new("tar").args(REPRODUCIBLE).arg("-C").arg(folder).arg("-cf").arg(&layer).arg("."))?;
        let contents = digest(&layer)?;
        call(Command::new("gzip").args(["-9", "-n"]).arg(&layer))?;
        Ok(Layer { contents, packed: Blob::keep(blobs, &work.join("layer.tar.gz"))? })
    }
}

/// Writes an image's configuration and manifest; gives its entry of the index.
fn describe(work: &Path, blobs: &Path, image: &Image, layers: &[&Layer]) -> Result<Value> {
    let contents: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.contents)).collect();
    let config = json!({
        "architecture": architecture(),
        "os": "linux",
        "config": {
            "User": image.user,
            "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"],
            "Entrypoint": image.entry_point,
        },
        "rootfs": { "type": "layers", "diff_ids": contents },
    });
    let config = Blob::write(work, blobs, &config)?;
    let packed = |layer: &&Layer| layer.packed.descriptor("application/vnd.oci.image.layer.v1.tar+gzip");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config.descriptor("application/vnd.oci.image.config.v1+json"),
        "layers": layers.iter().map(packed).collect::<Vec<_>>(),
    });
    let manifest = Blob::write(work, blobs, &manifest)?;
    let mut entry = manifest.descriptor("application/vnd.oci.image.manifest.v1+json");
    entry["annotations"] = json!({
        "io.containerd.image.name": image.tag,
        "org.opencontainers.image.ref.name": image.tag.rsplit_once(':').map_or("latest", |(_, version)| version),
    });
    Ok(entry)
}

/// As image configurations name it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn digest(file: &Path) -> Result<String> {
    let printed = call(Command::new("sha256sum").arg(file))?;
    Ok(printed.split_whitespace().next().context("sha256sum printed nothing")?.to_owned())
}

/// Content that is kept by its digest.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn keep(blobs: &Path, file: &Path) -> Result<Blob> {
        let blob = Blob { digest: digest(file)?, size: fs::metadata(file)?.len() };
        fs::rename(file, blobs.join(&blob.digest))?;
        Ok(blob)
    }

    fn write(work: &Path, blobs: &Path, content: &Value) -> Result<Blob> {
        let file = work.join("content.json");
        fs::write(&file, content.to_string())?;
        Blob::keep(blobs, &file)
    }

    fn descriptor(&self, media_type: &str) -> Value {
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", self.digest), "size": self.size })
    }
}
