use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use x509_parser::pem::Pem;

use super::super::dump::text;
use super::Shown;

const HEAD: [&str; 7] =
    ["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"];

/// The secrets of a dump. Only their certificates are looked at.
pub(super) fn shown(dump: &Value) -> Shown {
    let sections = dump.get("configs").and_then(Value::as_array).into_iter().flatten();
    let secrets = sections.filter(|s| text(s, "@type").ends_with("SecretsConfigDump"));
    let mut rows = Vec::new();
    for (kind, entries) in secrets.filter_map(Value::as_object).flatten() {
        let status = if kind.contains("warming") { "WARMING" } else { "ACTIVE" };
        for entry in entries.as_array().into_iter().flatten() {
            rows.push(row(entry, status));
        }
    }
    (&HEAD, rows)
}

fn row(entry: &Value, status: &str) -> Vec<String> {
    let name = text(entry, "name").to_owned();
    let chain = entry.pointer("/secret/tls_certificate/certificate_chain");
    let roots = entry.pointer("/secret/validation_context/trusted_ca");
    let kind = if roots.is_some() { "CA" } else { "Cert Chain" };
    let mut row = vec![name, kind.to_owned(), status.to_owned()];
    match chain.or(roots).and_then(pem).as_deref().and_then(facts) {
        Some(facts) => row.extend(facts),
        None => row.extend(["false", "-", "-", "-"].map(str::to_owned)),
    }
    row
}

/// The PEM text of a data source.
fn pem(source: &Value) -> Option<Vec<u8>> {
    match source.get("inline_bytes").and_then(Value::as_str) {
        Some(encoded) => STANDARD.decode(encoded).ok(),
        None => source.get("inline_string").and_then(Value::as_str).map(|text| text.as_bytes().to_vec()),
    }
}

/// Whether the first certificate is valid now, its serial number, and until and from when it is.
fn facts(pem: &[u8]) -> Option<[String; 4]> {
    let first = Pem::iter_from_buffer(pem).next()?.ok()?;
    let certificate = first.parse_x509().ok()?;
    let validity = certificate.validity();
    let time = |time: x509_parser::time::ASN1Time| {
        time.to_rfc2822().unwrap_or_else(|_| time.timestamp().to_string())
    };
    Some([
        validity.is_valid().to_string(),
        certificate.serial.to_str_radix(16),
        time(validity.not_after),
        time(validity.not_before),
    ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_certificate_is_shown_as_not_valid() {
        let dump = json!({"configs": [{"@type": "x.SecretsConfigDump", "dynamic_warming_secrets": [
            {"name": "default", "secret": {"tls_certificate": {"certificate_chain": {"inline_bytes": "AAAA"}}}}]}]});
        assert_eq!(shown(&dump).1, [["default", "Cert Chain", "WARMING", "false", "-", "-", "-"]]);
    }
}
