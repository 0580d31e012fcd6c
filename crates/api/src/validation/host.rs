//! Rules for host names and addresses.

use std::net::IpAddr;

use super::common::is_dns_label;
use crate::wire::report::Report;

/// Whether `text` is an IPv4 or IPv6 address.
pub fn is_ip(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

/// An IPv4 or IPv6 address.
pub fn ip(text: &str) -> Result<(), String> {
    if is_ip(text) { Ok(()) } else { Err(format!("{text:?} is not a valid IP address")) }
}

/// An address, with or without the length of a prefix.
pub fn subnet(text: &str) -> Result<(), String> {
    let Some((address, length)) = text.split_once('/') else { return ip(text) };
    let invalid = || Err(format!("{text:?} is not a valid CIDR block"));
    let (Ok(address), Ok(length)) = (address.parse::<IpAddr>(), length.parse::<u8>()) else {
        return invalid();
    };
    if length > if address.is_ipv4() { 32 } else { 128 } { invalid() } else { Ok(()) }
}

fn preconditions(name: &str) -> Result<(), String> {
    match name.len() {
        0 => Err("empty domain name not allowed".to_owned()),
        len if len > 255 => Err(format!("domain name {name:?} too long (max 255)")),
        _ => Ok(()),
    }
}

/// The labels of a domain name; a final dot is let pass, an all-numeric top level is not (it would be an address).
fn domain_labels(domain: &str) -> Result<(), String> {
    let trimmed = domain.strip_suffix('.').unwrap_or(domain);
    let last = domain.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!(
            "domain name {domain:?} invalid (top level domain {last:?} cannot be all-numeric)"
        ));
    }
    match trimmed.split('.').find(|label| !is_dns_label(label)) {
        Some(label) => Err(format!("domain name {domain:?} invalid (label {label:?} invalid)")),
        None => Ok(()),
    }
}

/// A fully qualified domain name, or a short one.
pub fn fqdn(name: &str) -> Result<(), String> {
    preconditions(name)?;
    domain_labels(name)
}

/// A domain name whose first label may be `*` or start with it.
pub fn wildcard_domain(name: &str) -> Result<(), String> {
    preconditions(name)?;
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let plain = first.strip_prefix('*').map_or(first, |tail| tail.strip_prefix('-').unwrap_or(tail));
    if first != "*" && !is_dns_label(plain) {
        return Err(format!("domain name {name:?} invalid (label {first:?} invalid)"));
    }
    rest.map_or(Ok(()), domain_labels)
}

/// A host of a virtual service that is bound to a gateway: also the server names that AUTO_PASSTHROUGH gateways see
/// (`outbound_.80_.v1_.reviews.default.svc.cluster.local`).
pub fn gateway_bound_domain(has_sni: bool, name: &str) -> Result<(), String> {
    match name.strip_prefix("outbound_.") {
        Some(rest) if has_sni => wildcard_domain(rest.rsplit("_.").next().unwrap_or_default()),
        _ => wildcard_domain(name),
    }
}

/// `namespace/dnsName`. Gateways may leave the namespace out; sidecars may say `~/*`, meaning nothing.
pub fn namespaced_host(text: &str, gateway: bool) -> Result<(), String> {
    let Some((namespace, name)) = text.split_once('/') else {
        if gateway {
            return wildcard_domain(text);
        }
        return Err(format!("host {text:?} must be of form namespace/dnsName"));
    };
    if namespace.is_empty() || name.is_empty() {
        return Err(format!("namespace and dnsName in host entry cannot be empty: {text:?}"));
    }
    if !gateway && namespace == "~" {
        return if name == "*" {
            Ok(())
        } else {
            Err(format!("{text:?} is invalid: with ~ only ~/* is allowed"))
        };
    }
    if namespace != "*" && namespace != "." && !is_dns_label(namespace) {
        return Err(format!("invalid namespace value {namespace:?} in {text:?}"));
    }
    wildcard_domain(name)
}

/// Names of gateways in field `gateways`: `name`, `namespace/name`, `mesh`, or the older `name.namespace.svc...`.
pub fn gateway_names(report: &mut Report, names: &[String]) {
    report.each("gateways", names, |r, name| {
        let Some((namespace, gateway)) = name.split_once('/') else {
            let mut parts = name.split('.');
            if let (Some(gateway), Some(namespace)) = (parts.next(), parts.next()) {
                r.warn(format!("the form {name:?} of gateway names is old; use \"{namespace}/{gateway}\""));
            }
            return r.check(fqdn(name));
        };
        if !is_dns_label(namespace) {
            r.error(format!("invalid value for namespace: {namespace:?}"));
        }
        if !is_dns_label(gateway) {
            r.error(format!("invalid value for gateway name: {gateway:?}"));
        }
    });
}

/// Whether the host pattern `pattern` covers all that `host` covers (`*.com` covers `*.foo.com` and `a.com`).
pub fn covers(pattern: &str, host: &str) -> bool {
    match (pattern.strip_prefix('*'), host.strip_prefix('*')) {
        (Some(suffix), Some(other)) => other.ends_with(suffix),
        (Some(suffix), None) => host.len() > suffix.len() && host.ends_with(suffix) || suffix.is_empty(),
        (None, _) => pattern == host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_only_at_the_front() {
        for good in ["reviews", "*", "*.foo.com", "*-suffix.com", "a.b.", "*foo.com"] {
            assert_eq!(wildcard_domain(good), Ok(()), "{good}");
        }
        for bad in ["", "a.*.com", "foo_bar.com", "-a.com", "a..b", "10.0.0.1", "a b", "*.", "a*.com"] {
            assert!(wildcard_domain(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subnets_have_a_length_that_fits_their_family() {
        assert!(subnet("10.0.0.0/8").is_ok() && subnet("::1/128").is_ok() && subnet("1.2.3.4").is_ok());
        assert!(subnet("10.0.0.0/33").is_err() && subnet("10.0.0/8").is_err() && subnet("x").is_err());
    }

    #[test]
    fn a_wildcard_covers_its_subdomains_but_not_its_own_domain() {
        assert!(covers("*.foo.com", "a.foo.com") && covers("*", "a") && covers("*.com", "*.foo.com"));
        assert!(!covers("*.foo.com", "foo.com") && !covers("a.foo.com", "*.foo.com"));
    }
}
