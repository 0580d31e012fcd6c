//! Secrets in `/config_dump`, private keys left out, in the shape of Envoy's `SecretsConfigDump`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lateen_xds::TypeUrl;
use serde_json::{Value, json};

use super::config_dump::{Section, Wanted, time};
use crate::run::Server;
use crate::tls::{Secret, SecretSlot, Source};
use crate::tls_info::CertificateInfo;

/// The section of secrets: of the bootstrap, in force, and waited for.
pub(super) fn section(server: &Server, wanted: &Wanted<'_>) -> Section {
    let (mut fixed, mut active, mut warming) = (Vec::new(), Vec::new(), Vec::new());
    for slot in server.context.secrets.all() {
        if !wanted.matches(&slot.name) {
            continue;
        }
        let list = match (&slot.source, slot.load()) {
            (Source::Static, _) => &mut fixed,
            (_, Some(_)) => &mut active,
            (_, None) => &mut warming,
        };
        list.push(entry(&slot));
    }
    if fixed.is_empty() && active.is_empty() && warming.is_empty() {
        return None;
    }
    Some((
        "SecretsConfigDump",
        vec![
            ("static_secrets", fixed),
            ("dynamic_active_secrets", active),
            ("dynamic_warming_secrets", warming),
        ],
    ))
}

fn entry(slot: &SecretSlot) -> Value {
    let history = slot.history();
    let mut entry = json!({ "name": &*slot.name });
    if let Some(updated) = history.updated {
        entry["version_info"] = json!(history.version);
        entry["last_updated"] = time(updated);
    }
    let mut secret = json!({ "@type": TypeUrl::Secret.as_str(), "name": &*slot.name });
    match slot.load().as_deref() {
        Some(Secret::Certificate(certificate)) => {
            secret["tls_certificate"] = json!({
                "certificate_chain": { "inline_bytes": STANDARD.encode(pem(&certificate.info)) },
                "private_key": redacted(),
            });
        }
        Some(Secret::Validation(validation)) => {
            let authorities: String = validation.authorities.iter().map(|authority| pem(authority)).collect();
            secret["validation_context"] =
                json!({ "trusted_ca": { "inline_bytes": STANDARD.encode(authorities) } });
        }
        Some(Secret::Generic(_)) => secret["generic_secret"] = json!({ "secret": redacted() }),
        None => {}
    }
    entry["secret"] = secret;
    if let Some((reason, version, when)) = history.error {
        entry["error_state"] =
            json!({ "last_update_attempt": time(when), "details": reason, "version_info": version });
    }
    entry
}

fn redacted() -> Value {
    json!({ "inline_bytes": STANDARD.encode("[redacted]") })
}

fn pem(info: &CertificateInfo) -> String {
    let mut text = String::new();
    for certificate in &info.chain {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in STANDARD.encode(certificate).as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}
