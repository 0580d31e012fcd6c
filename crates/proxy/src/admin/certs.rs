//! `/certs`: certificates in use, in the shape of Envoy's `envoy.admin.v3.Certificates`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::Reply;
use crate::config::{TlsClient, TlsServer, Transport};
use crate::run::Server;
use crate::tls::CommonContext;
use crate::tls_info::CertificateInfo;

pub(super) fn answer(server: &Server) -> Reply {
    let mut seen = HashSet::new();
    let mut list = Vec::new();
    let mut push = |context: &CommonContext| {
        let (own, authorities) = context.in_use();
        let key: Vec<_> = own.iter().chain(&authorities).map(|info| info.sha256.clone()).collect();
        // Many contexts share the workload's certificate.
        if !key.is_empty() && seen.insert(key) {
            let facts =
                |infos: Vec<Arc<CertificateInfo>>| infos.iter().map(|info| fact(info)).collect::<Vec<_>>();
            list.push(json!({ "ca_cert": facts(authorities), "cert_chain": facts(own) }));
        }
    };
    for context in servers(server) {
        push(context.context());
    }
    for context in clients(server) {
        push(context.context());
    }
    Reply::json(&json!({ "certificates": list }))
}

fn servers(server: &Server) -> Vec<Arc<TlsServer>> {
    let table = server.store.listeners();
    let chains = table.by_name.values().flat_map(|active| {
        active
            .config
            .filter_chains
            .iter()
            .chain(&active.config.default_chain)
            .filter_map(|chain| chain.tls.clone())
    });
    chains.collect()
}

fn clients(server: &Server) -> Vec<Arc<TlsClient>> {
    let mut clients = Vec::new();
    for slot in server.store.clusters().values() {
        match slot.load().as_ref().map(|cluster| cluster.transport.clone()) {
            Some(Transport::Tls(client)) => clients.push(client),
            Some(Transport::Matches(list)) => clients.extend(list.into_iter().filter_map(|found| found.tls)),
            Some(Transport::Plain) | None => {}
        }
    }
    clients
}

fn fact(info: &CertificateInfo) -> Value {
    let uris = info.uri_sans.iter().map(|uri| json!({ "uri": uri }));
    let names = info.dns_sans.iter().map(|name| json!({ "dns": name }));
    let addresses = info.ip_sans.iter().map(|ip| json!({ "ip_address": ip.to_string() }));
    let left = info.not_after.duration_since(SystemTime::now()).unwrap_or_default();
    json!({
        "path": "<inline>",
        "serial_number": info.serial,
        "subject_alt_names": uris.chain(names).chain(addresses).collect::<Vec<_>>(),
        // Envoy writes numbers of 64 bits as text (protobuf JSON).
        "days_until_expiration": (left.as_secs() / 86_400).to_string(),
        "valid_from": second(info.not_before),
        "expiration_time": second(info.not_after),
    })
}

/// Without fractions of a second, as certificates have none.
fn second(time: SystemTime) -> Value {
    let mut text = Vec::new();
    crate::format::write_iso(time, &mut text);
    let text = String::from_utf8_lossy(&text);
    json!(text.split_once('.').map_or_else(|| text.to_string(), |(seconds, _)| format!("{seconds}Z")))
}
