//! Envoy's bootstrap: read from a file or the command line, checked, and taken apart.

mod apart;
mod options;
mod plan;
#[cfg(test)]
mod tests;

use std::path::Path;

use lateen_xds::json::{JsonError, Pool};
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use lateen_xds::pb::envoy::config::core::v3::{Node, node};
use prost::Message as _;
use thiserror::Error;

pub use apart::{read_apart, write_encoded};
pub use options::{Mode, Options};
pub(crate) use plan::{Ads, Plan};

/// A bootstrap that cannot be used.
#[derive(Debug, Error)]
pub enum BootstrapError {
    /// Neither a file nor text was given.
    #[error("no configuration: give a bootstrap file with -c FILE, or its text with --config-yaml")]
    Missing,
    /// The file cannot be read.
    #[error("cannot read the bootstrap {path}: {error}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// The text is not a bootstrap.
    #[error("{source_name}: {error}")]
    Parse {
        /// The file, or `--config-yaml`.
        source_name: String,
        /// Line, field and reason.
        error: JsonError,
    },
    /// The binary file is not a bootstrap.
    #[error("{path}: not an encoded envoy.config.bootstrap.v3.Bootstrap: {error}")]
    Decode {
        /// The file.
        path: String,
        /// Why.
        error: prost::DecodeError,
    },
    /// The process that reads it did not answer.
    #[error("cannot start a process to read the bootstrap: {0}")]
    Reader(#[from] std::io::Error),
    /// The process that reads it refused it.
    #[error("{0}")]
    Refused(String),
    /// A resource or setting in it cannot be used.
    #[error("{resource}: {error}")]
    Resource {
        /// What it is in, such as `static_resources.clusters[0] (web)`.
        resource: String,
        /// The field's path and reason.
        error: crate::convert::ConvertError,
    },
}

/// Reads the bootstrap that the options name: `-c FILE` (JSON, YAML, or encoded when it ends in `.pb`), merged with
/// `--config-yaml`, whose values win and whose lists are appended (as Envoy merges).
///
/// # Errors
/// Line and field of what cannot be read.
pub fn load(options: &Options) -> Result<Bootstrap, BootstrapError> {
    if options.config_path.is_none() && options.config_yaml.is_none() {
        return Err(BootstrapError::Missing);
    }
    let mut bootstrap = match &options.config_path {
        Some(path) => read_file(path)?,
        None => Bootstrap::default(),
    };
    if let Some(text) = &options.config_yaml {
        let more: Bootstrap = parse("--config-yaml", text)?;
        // Merging messages is what decoding more bytes into one does.
        bootstrap
            .merge(more.encode_to_vec().as_slice())
            .map_err(|error| BootstrapError::Decode { path: "--config-yaml".to_owned(), error })?;
    }
    let node = bootstrap.node.get_or_insert_default();
    if let Some(id) = &options.service_node {
        node.id = id.clone();
    }
    if let Some(cluster) = &options.service_cluster {
        node.cluster = cluster.clone();
    }
    if let Some(zone) = &options.service_zone {
        node.locality.get_or_insert_default().zone = zone.clone();
    }
    name_agent(node);
    Ok(bootstrap)
}

/// Says who we are, so that the control plane can speak to our strengths.
pub fn name_agent(node: &mut Node) {
    node.user_agent_name = "lateen".to_owned();
    node.user_agent_version_type =
        Some(node::UserAgentVersionType::UserAgentVersion(env!("CARGO_PKG_VERSION").to_owned()));
}

fn read_file(path: &Path) -> Result<Bootstrap, BootstrapError> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|error| BootstrapError::Read { path: name.clone(), error })?;
    let binary = path.extension().is_some_and(|extension| extension == "pb");
    if binary {
        return Bootstrap::decode(bytes.as_slice())
            .map_err(|error| BootstrapError::Decode { path: name, error });
    }
    let text = String::from_utf8(bytes).map_err(|error| BootstrapError::Parse {
        source_name: name.clone(),
        error: JsonError::Syntax { line: 0, column: 0, reason: format!("not UTF-8: {error}") },
    })?;
    parse(&name, &text)
}

fn parse(source_name: &str, text: &str) -> Result<Bootstrap, BootstrapError> {
    Pool::load()
        .and_then(|pool| pool.read(text))
        .map_err(|error| BootstrapError::Parse { source_name: source_name.to_owned(), error })
}
