//! `lateen proxy-status`.

use anyhow::Result;
use serde_json::Value;

use super::super::resources::{Session, block_on};
use super::table::table;
use crate::args::ProxyStatus;

const HEAD: [&str; 8] = ["NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD"];

/// Shows how far every proxy is.
pub fn run(arguments: &ProxyStatus) -> Result<()> {
    print!("{}", block_on(status(arguments))?);
    Ok(())
}

async fn status(arguments: &ProxyStatus) -> Result<String> {
    let session = Session::open(&arguments.connection).await?;
    let found = super::debug(&session, &arguments.istio_namespace, "/debug/syncz").await?;
    let mut rows: Vec<Vec<String>> = found.as_array().into_iter().flatten().map(row).collect();
    if let Some(pod) = &arguments.pod {
        let (name, namespace) = super::pod(&session, pod).await?;
        rows.retain(|row| row[0] == format!("{name}.{namespace}"));
        anyhow::ensure!(!rows.is_empty(), "no proxy of {name}.{namespace} is connected to istiod");
    }
    rows.sort();
    Ok(table(&HEAD, &rows))
}

fn row(line: &Value) -> Vec<String> {
    let cell = |key: &str| line.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut cells = vec![cell("proxy"), cell("cluster_id")];
    for kind in ["cluster", "listener", "endpoint", "route", "extensionconfig"] {
        cells.push(cell(&format!("{kind}_status")));
    }
    cells.push("istiod".to_owned());
    cells
}
