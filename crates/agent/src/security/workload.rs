//! The workload's certificate: fetched, renewed in time, kept when it cannot be.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use lateen_identity::{KeyKind, KeyRequest};
use rand::Rng;

use super::backoff::Backoff;
use super::certificates::{self, Issued};
use super::options::SecurityOptions;
use super::secrets::{CERTIFICATE, Secrets};
use super::trust::Trust;
use super::upstream::Upstream;

/// Waits between attempts: short at first, since pods often start before the control plane can be reached.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The clock is looked at so often: a machine that slept does not notice otherwise.
const LOOK: Duration = Duration::from_secs(60);

/// Keeps the workload's certificate for ever. The last good one stays when the next cannot be had.
pub(super) async fn keep(
    options: Arc<SecurityOptions>,
    authority: Arc<Upstream>,
    secrets: Arc<Secrets>,
    trust: Arc<Trust>,
) {
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut end: Option<SystemTime> = None;
    loop {
        match renew(&options, &authority, &secrets, &trust).await {
            Ok(until) => {
                backoff.reset();
                let now = SystemTime::now();
                let life = until.duration_since(now).unwrap_or_default();
                let random = rand::rng().random_range(-1.0..=1.0);
                let wait = rotation_delay(life, options.grace, options.grace_jitter, random);
                tracing::info!(
                    identity = %options.identity,
                    life_s = life.as_secs(),
                    next_in_s = wait.as_secs(),
                    "workload certificate"
                );
                end = Some(until);
                sleep_until(now + wait).await;
            }
            Err(error) => {
                let left = end.map(|end| end.duration_since(SystemTime::now()).unwrap_or_default());
                let error = format!("{error:#}");
                tracing::warn!(
                    error,
                    last_one_ends_in_s = left.map(|left| left.as_secs()),
                    "no workload certificate; trying again"
                );
                tokio::time::sleep(backoff.wait()).await;
            }
        }
    }
}

/// Makes a key, has it certified, and gives both to the proxy. Returns when the certificate ends.
async fn renew(
    options: &SecurityOptions,
    authority: &Upstream,
    secrets: &Secrets,
    trust: &Trust,
) -> Result<SystemTime> {
    let request = make_key(options).await?;
    let Issued { chain, roots } = certificates::create(authority, options, request.csr_pem()).await?;
    if !request.is_certified_by(&chain)? {
        bail!("the certificate is for another key");
    }
    let (_, end) = lateen_identity::pem_validity(&chain)?;
    if end <= SystemTime::now() {
        bail!("the certificate has ended already");
    }
    let key = request.key_pem();
    // What vouches for a certificate is known before it is shown.
    let roots_pem = roots.to_pem();
    trust.issued(roots);
    secrets.set_certificate(CERTIFICATE, &chain, &key);
    if let Some(directory) = &options.output {
        let files = [("root-cert.pem", roots_pem), ("cert-chain.pem", chain), ("key.pem", key)];
        for (name, text) in files {
            write(&directory.join(name), &text)?;
        }
    }
    Ok(end)
}

/// RSA keys take long enough to hold up the agent; other keys take less than a thread.
async fn make_key(options: &SecurityOptions) -> Result<KeyRequest> {
    let (kind, identity) = (options.key, options.identity.clone());
    match kind {
        KeyKind::P256 | KeyKind::P384 => Ok(KeyRequest::create(kind, &identity)?),
        KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => {
            Ok(tokio::task::spawn_blocking(move || KeyRequest::create(kind, &identity)).await??)
        }
    }
}

/// How long to use a certificate before the next is fetched: until `grace` of its life is left, give or take
/// `jitter` (`random` is from -1 to 1).
fn rotation_delay(life: Duration, grace: f64, jitter: f64, random: f64) -> Duration {
    life.mul_f64(1.0 - (grace + jitter * random).clamp(0.0, 1.0))
}

async fn sleep_until(when: SystemTime) {
    while let Ok(left) = when.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK)).await;
    }
}

/// Replaces a file in one step; only this user may read it.
fn write(path: &Path, text: &str) -> Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let staged = path.with_extension("new");
    let mut options = std::fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&staged);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&staged, path))
        .with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_at_half_of_its_life_give_or_take() {
        let day = Duration::from_secs(86_400);
        assert_eq!(rotation_delay(day, 0.5, 0.01, 0.0), day / 2);
        assert_eq!(rotation_delay(day, 0.5, 0.1, 1.0), day.mul_f64(0.4));
        assert_eq!(rotation_delay(day, 0.5, 0.1, -1.0), day.mul_f64(0.6));
        assert_eq!(rotation_delay(day, 1.0, 0.5, 1.0), Duration::ZERO);
        assert_eq!(rotation_delay(Duration::ZERO, 0.5, 0.01, 0.3), Duration::ZERO);
    }
}
