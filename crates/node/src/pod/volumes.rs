//! A pod's volumes as directories of the node.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, Secret, Volume,
};

use super::volume_files::{self, Payload};
use super::{PodContext, downward};
use crate::launcher::Mount;

const DEFAULT_MODE: i32 = 0o644;
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// Where a volume is, and whether containers may write it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: PathBuf,
    read_only: bool,
}

/// Where the pod's volumes are.
pub(crate) type Places = BTreeMap<String, Place>;

/// Makes all volumes, or brings them up to date. Returns also when a token wants to be renewed.
///
/// # Errors
/// Names the volume and what is missing (kubelet: FailedMount).
pub(crate) async fn materialise(ctx: &PodContext) -> Result<(Places, Option<Timestamp>)> {
    let pod = ctx.pod();
    let mut places = Places::new();
    let mut renew = None;
    for volume in pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()) {
        let place = one(ctx, volume, &mut renew)
            .await
            .with_context(|| format!("MountVolume.SetUp failed for volume \"{}\"", volume.name))?;
        places.insert(volume.name.clone(), place);
    }
    Ok((places, renew))
}

async fn one(ctx: &PodContext, volume: &Volume, renew: &mut Option<Timestamp>) -> Result<Place> {
    let pod = ctx.pod();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let path = ctx.dir().join("volumes").join(&volume.name);
    let objects = &ctx.runtime.objects;
    let mut payload = Payload::new();
    if volume.empty_dir.is_some() {
        return writable(path);
    } else if let Some(claim) = &volume.persistent_volume_claim {
        return writable(ctx.runtime.dirs.claim(namespace, &claim.claim_name));
    } else if volume.ephemeral.is_some() {
        return writable(path);
    } else if let Some(host) = &volume.host_path {
        return host_path(ctx, &host.path, host.type_.as_deref().unwrap_or_default());
    } else if let Some(source) = &volume.config_map {
        let found = objects.config_map(namespace, &source.name);
        let optional = source.optional == Some(true);
        config_map(
            &mut payload,
            found.as_deref(),
            &source.name,
            source.items.as_deref(),
            source.default_mode,
            optional,
        )?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let found = objects.secret(namespace, name);
        let optional = source.optional == Some(true);
        secret(&mut payload, found.as_deref(), name, source.items.as_deref(), source.default_mode, optional)?;
    } else if let Some(source) = &volume.downward_api {
        downward_files(ctx, &mut payload, source.items.as_deref(), source.default_mode)?;
    } else if let Some(source) = &volume.projected {
        projected(ctx, &path, &mut payload, source, renew).await?;
    } else {
        bail!(
            "this node has no such kind of volume; use emptyDir, configMap, secret, projected, downwardAPI or hostPath"
        );
    }
    volume_files::write(&path, &payload).with_context(|| path.display().to_string())?;
    Ok(Place { path, read_only: true })
}

fn writable(path: PathBuf) -> Result<Place> {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    Ok(Place { path, read_only: false })
}

/// The host's files can be read, never written: a pod of this node must not change the machine it runs on.
fn host_path(ctx: &PodContext, path: &str, kind: &str) -> Result<Place> {
    let inside = ctx.runtime.dirs.host().join(path.trim_start_matches('/'));
    let found = fs::metadata(&inside);
    match (kind, &found) {
        ("DirectoryOrCreate" | "FileOrCreate", Err(_)) => {
            bail!("hostPath {path} does not exist, and this node creates nothing on the host")
        }
        (_, Err(error)) => bail!("hostPath {path}: {error}"),
        ("Directory", Ok(m)) if !m.is_dir() => bail!("hostPath type check failed: {path} is not a directory"),
        ("File", Ok(m)) if !m.is_file() => bail!("hostPath type check failed: {path} is not a file"),
        _ => Ok(Place { path: inside, read_only: true }),
    }
}

fn mode(own: Option<i32>, default: Option<i32>) -> u32 {
    own.or(default).unwrap_or(DEFAULT_MODE).cast_unsigned() & 0o777
}

/// Keys to files: all keys, or those that are listed.
fn keys(
    payload: &mut Payload,
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<()> {
    let Some(items) = items.filter(|i| !i.is_empty()) else {
        payload.extend(data.iter().map(|(k, v)| ((*k).to_owned(), (v.to_vec(), mode(None, default)))));
        return Ok(());
    };
    for item in items {
        match data.get(item.key.as_str()) {
            Some(value) => insert(payload, &item.path, value.to_vec(), mode(item.mode, default))?,
            None if optional => {}
            None => bail!("references non-existent key: {}", item.key),
        }
    }
    Ok(())
}

fn insert(payload: &mut Payload, path: &str, content: Vec<u8>, mode: u32) -> Result<()> {
    let escapes = Path::new(path).components().any(|c| !matches!(c, std::path::Component::Normal(_)));
    if path.is_empty() || escapes || path.starts_with("..") {
        bail!("path {path:?} must be relative and stay in the volume");
    }
    payload.insert(path.to_owned(), (content, mode));
    Ok(())
}

fn config_map(
    payload: &mut Payload,
    found: Option<&ConfigMap>,
    name: &str,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<()> {
    let Some(map) = found else {
        return if optional { Ok(()) } else { Err(anyhow!("configmap \"{name}\" not found")) };
    };
    let text = map.data.iter().flatten().map(|(k, v)| (k.as_str(), v.as_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(k, v)| (k.as_str(), v.0.as_slice()));
    keys(payload, &text.chain(binary).collect(), items, default, optional)
}

fn secret(
    payload: &mut Payload,
    found: Option<&Secret>,
    name: &str,
    items: Option<&[KeyToPath]>,
    default: Option<i32>,
    optional: bool,
) -> Result<()> {
    let Some(secret) = found else {
        return if optional { Ok(()) } else { Err(anyhow!("secret \"{name}\" not found")) };
    };
    let data = secret.data.iter().flatten().map(|(k, ByteString(v))| (k.as_str(), v.as_slice()));
    keys(payload, &data.collect(), items, default, optional)
}

fn downward_files(
    ctx: &PodContext,
    payload: &mut Payload,
    items: Option<&[DownwardAPIVolumeFile]>,
    default: Option<i32>,
) -> Result<()> {
    let pod = ctx.pod();
    for item in items.unwrap_or_default() {
        let value = match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), _) => downward::field(&pod, ctx.ip(), &field.field_path)?,
            (None, Some(resource)) => downward::resource(None, &pod, resource)?,
            (None, None) => {
                bail!("downwardAPI item {} names neither fieldRef nor resourceFieldRef", item.path)
            }
        };
        insert(payload, &item.path, value.into_bytes(), mode(item.mode, default))?;
    }
    Ok(())
}

async fn projected(
    ctx: &PodContext,
    dir: &Path,
    payload: &mut Payload,
    source: &ProjectedVolumeSource,
    renew: &mut Option<Timestamp>,
) -> Result<()> {
    let pod = ctx.pod();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let objects = &ctx.runtime.objects;
    let default = source.default_mode;
    for part in source.sources.iter().flatten() {
        if let Some(token) = &part.service_account_token {
            let seconds = token.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS);
            let content =
                fresh_token(ctx, dir, token.audience.as_deref(), &token.path, seconds, renew).await?;
            insert(payload, &token.path, content, mode(None, default))?;
        }
        if let Some(map) = &part.config_map {
            let found = objects.config_map(namespace, &map.name);
            let optional = map.optional == Some(true);
            config_map(payload, found.as_deref(), &map.name, map.items.as_deref(), default, optional)?;
        }
        if let Some(wanted) = &part.secret {
            let found = objects.secret(namespace, &wanted.name);
            let optional = wanted.optional == Some(true);
            secret(payload, found.as_deref(), &wanted.name, wanted.items.as_deref(), default, optional)?;
        }
        if let Some(downward) = &part.downward_api {
            downward_files(ctx, payload, downward.items.as_deref(), default)?;
        }
        if part.cluster_trust_bundle.is_some() {
            bail!("this node has no clusterTrustBundle volumes");
        }
    }
    Ok(())
}

/// The token that is there while it is young (four fifths of its life, as kubelets keep them), or a new one.
async fn fresh_token(
    ctx: &PodContext,
    dir: &Path,
    audience: Option<&str>,
    path: &str,
    seconds: i64,
    renew: &mut Option<Timestamp>,
) -> Result<Vec<u8>> {
    let file = dir.join(path);
    let age = fs::metadata(&file).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    let life = Duration::from_secs(seconds.max(0).cast_unsigned()) * 4 / 5;
    let content = match age {
        Some(age) if age < life => fs::read(&file)?,
        _ => ctx.runtime.objects.token(&ctx.pod(), audience, seconds).await?.into_bytes(),
    };
    let left = life.saturating_sub(age.filter(|age| *age < life).unwrap_or_default());
    let when = Timestamp::now().checked_add(left).unwrap_or(Timestamp::MAX);
    *renew = Some(renew.map_or(when, |r| r.min(when)));
    Ok(content)
}

/// What a container mounts, outer directories first.
///
/// # Errors
/// Names a volume that the pod does not have, or a sub-path that leaves its volume.
pub(crate) fn mounts(
    container: &Container,
    places: &Places,
    expand: impl Fn(&str) -> String,
) -> Result<Vec<Mount>> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let place =
            places.get(&mount.name).with_context(|| format!("volumeMounts: no volume {:?}", mount.name))?;
        let sub = match (&mount.sub_path, &mount.sub_path_expr) {
            (Some(path), _) => path.clone(),
            (None, Some(expression)) => expand(expression),
            (None, None) => String::new(),
        };
        let inside = Path::new(&sub);
        if inside.is_absolute() || inside.components().any(|c| c == std::path::Component::ParentDir) {
            bail!("subPath {sub:?} must be relative and stay in the volume");
        }
        let source = place.path.join(inside);
        if !source.exists() && !place.read_only {
            fs::create_dir_all(&source).with_context(|| source.display().to_string())?;
        }
        let source = if sub.is_empty() { source } else { source.canonicalize().unwrap_or(source) };
        let read_only = place.read_only || mount.read_only == Some(true);
        mounts.push(Mount { source, target: mount.mount_path.clone(), read_only });
    }
    mounts.sort_by_key(|m| m.target.matches('/').count());
    Ok(mounts)
}
