//! `lateen authn tls-check [POD[.NAMESPACE]] [HOST]`.

use anyhow::{Result, bail};
use serde_json::Value;

use super::super::resources::{Session, block_on};
use super::table::table;
use crate::args::{Authn, TlsCheck};

const HEAD: [&str; 6] = ["HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE"];

/// Shows whether clients and servers agree on mutual TLS.
pub fn run(arguments: &Authn) -> Result<()> {
    let Authn::TlsCheck(arguments) = arguments;
    print!("{}", block_on(tls_check(arguments))?);
    Ok(())
}

async fn tls_check(arguments: &TlsCheck) -> Result<String> {
    let session = Session::open(&arguments.connection).await?;
    // A single argument with `.svc` in it, as the tutorials give it, is a host.
    let (pod, host) = match (arguments.first.as_deref(), arguments.second.as_deref()) {
        (Some(only), None) if is_host(only) => (None, Some(only)),
        (first, second) => (first, second),
    };
    let path = match pod {
        Some(text) => {
            let (name, namespace) = super::pod(&session, text).await?;
            format!("/debug/authenticationz?proxyID={name}.{namespace}")
        }
        None => "/debug/authenticationz".to_owned(),
    };
    let found = super::debug(&session, &arguments.istio_namespace, &path).await?;
    let lines: Vec<&Value> = found.as_array().into_iter().flatten().collect();
    let wanted = |line: &&&Value| host.is_none_or(|host| named(text(line, "host"), host, &session.namespace));
    let rows: Vec<Vec<String>> = lines.iter().filter(wanted).map(|line| row(line)).collect();
    if let (true, Some(host)) = (rows.is_empty(), host) {
        bail!("there is no service {host:?}; name it in full, such as web.default.svc.cluster.local");
    }
    Ok(table(&HEAD, &rows))
}

fn is_host(text: &str) -> bool {
    text.split('.').skip(2).any(|part| part == "svc") || text.ends_with(".svc")
}

/// Whether a host is meant by a name that may be short.
fn named(host: &str, wanted: &str, namespace: &str) -> bool {
    let starts =
        |prefix: &str| host.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    starts(wanted) && wanted.contains('.') || starts(&format!("{wanted}.{namespace}.svc"))
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line.get(key).and_then(Value::as_str).unwrap_or("-")
}

fn row(line: &Value) -> Vec<String> {
    let port = line.get("port").and_then(Value::as_u64).unwrap_or_default();
    let cell = |key: &str| text(line, key).to_owned();
    vec![
        format!("{}:{port}", text(line, "host")),
        cell("TLS_conflict_status"),
        cell("server_protocol"),
        cell("client_protocol"),
        cell("authentication_policy_name"),
        cell("destination_rule_name"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_pods_and_may_be_short() {
        assert!(is_host("voting-app.voting.svc.cluster.local"));
        assert!(!is_host("voting-app-1-0-6c65c4bdd4-bdmld.voting"));
        let host = "web.default.svc.cluster.local";
        assert!(
            named(host, host, "other")
                && named(host, "web", "default")
                && named(host, "web.default", "other")
        );
        assert!(!named(host, "web", "other") && !named(host, "we", "default"));
    }
}
