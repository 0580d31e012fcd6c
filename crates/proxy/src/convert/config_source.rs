//! `envoy.config.core.v3.ConfigSource`.

use std::path::PathBuf;
use std::time::Duration;

use super::pb::core;
use super::{At, Converted, take, values};

/// Envoy's default of `initial_fetch_timeout`.
const INITIAL_FETCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Where resources come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The control plane's stream.
    Ads,
    /// A file that is watched.
    File(PathBuf),
}

/// Reads a source and how long its resources are waited for at first (zero: for ever). None stands for ADS.
pub(crate) fn read(source: Option<&core::ConfigSource>, at: &At<'_>) -> Converted<(Source, Duration)> {
    use core::config_source::ConfigSourceSpecifier as Kind;
    use core::{ConfigSource, PathConfigSource};
    let Some(source) = source else { return Ok((Source::Ads, INITIAL_FETCH_TIMEOUT)) };
    take!(source, at, ConfigSource { initial_fetch_timeout, config_source_specifier } ignore {
        authorities, resource_api_version,
    });
    let wait = match initial_fetch_timeout {
        Some(timeout) => values::duration(timeout, &at.field("initial_fetch_timeout"))?,
        None => INITIAL_FETCH_TIMEOUT,
    };
    let source = match config_source_specifier {
        // `self`: the stream that the resource itself came by.
        None | Some(Kind::Ads(_) | Kind::Self_(_)) => Source::Ads,
        Some(Kind::Path(path)) => Source::File(file(path, &at.field("path"))?),
        Some(Kind::PathConfigSource(config)) => {
            let at = at.field("path_config_source");
            take!(config, at, PathConfigSource { path } ignore { watched_directory, poll_interval });
            Source::File(file(path, &at.field("path"))?)
        }
        Some(Kind::ApiConfigSource(_)) => {
            let why = "a stream of its own is not supported: use `ads` or `path_config_source`";
            return Err(at.field("api_config_source").error(why));
        }
    };
    Ok((source, wait))
}

fn file(path: &str, at: &At<'_>) -> Converted<PathBuf> {
    if path.is_empty() { Err(at.missing()) } else { Ok(PathBuf::from(path)) }
}

/// How long resources of a source are waited for at first; zero: for ever.
pub(super) fn fetch_timeout(source: Option<&core::ConfigSource>) -> Duration {
    source
        .and_then(|source| source.initial_fetch_timeout.as_ref())
        .and_then(|timeout| values::duration(timeout, &At::root("initial_fetch_timeout")).ok())
        .unwrap_or(INITIAL_FETCH_TIMEOUT)
}
