//! `lateen proxy-config cluster|listener|route|endpoint|secret POD`.

mod cluster;
mod listener;
mod route;
mod secret;

use anyhow::Result;
use serde_json::Value;

use super::super::resources::{Session, block_on};
use super::table::table;
use crate::args::{Output, ProxyConfig};

/// A table: its head, and its rows.
type Shown = (&'static [&'static str], Vec<Vec<String>>);

/// Shows what a proxy has been told.
pub fn run(arguments: &ProxyConfig) -> Result<()> {
    print!("{}", block_on(show(arguments))?);
    Ok(())
}

async fn show(arguments: &ProxyConfig) -> Result<String> {
    let (of, shown): (_, fn(&Value) -> Shown) = match arguments {
        ProxyConfig::Cluster(of) => (of, cluster::shown),
        ProxyConfig::Listener(of) => (of, listener::shown),
        ProxyConfig::Route(of) => (of, route::shown),
        ProxyConfig::Endpoint(of) => (of, cluster::endpoints),
        ProxyConfig::Secret(of) => (of, secret::shown),
    };
    let path = match arguments {
        ProxyConfig::Endpoint(_) => "/clusters?format=json",
        _ => "/config_dump",
    };
    let session = Session::open(&of.connection).await?;
    let dump = super::admin(&session, &of.pod, path).await?;
    Ok(match of.output {
        Output::Json => format!("{}\n", serde_json::to_string_pretty(&section(arguments, &dump))?),
        Output::Short => {
            let (head, mut rows) = shown(&dump);
            rows.sort();
            table(head, &rows)
        }
    })
}

/// The part of a dump that is asked for.
fn section(arguments: &ProxyConfig, dump: &Value) -> Value {
    let of = |section: &str, field: &str| {
        Value::Array(super::dump::resources(dump, section, field).into_iter().cloned().collect())
    };
    match arguments {
        ProxyConfig::Cluster(_) => of("ClustersConfigDump", "cluster"),
        ProxyConfig::Listener(_) => of("ListenersConfigDump", "listener"),
        ProxyConfig::Route(_) => of("RoutesConfigDump", "route_config"),
        ProxyConfig::Secret(_) => of("SecretsConfigDump", "secret"),
        ProxyConfig::Endpoint(_) => dump.clone(),
    }
}
