//! Subject alternative names that are wanted of a certificate.

use crate::config::StringMatcher;
use crate::tls_info::CertificateInfo;

/// What kind of name a matcher looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// Any (the deprecated `match_subject_alt_names`).
    Any,
    /// URI, such as a SPIFFE identity.
    Uri,
    /// DNS name.
    Dns,
    /// IP address.
    Ip,
}

/// A name that is wanted.
#[derive(Clone, Debug)]
pub struct SanMatcher {
    /// Which names it looks at.
    pub kind: SanKind,
    /// What they must be.
    pub matcher: StringMatcher,
}

impl SanMatcher {
    /// Whether a certificate bears such a name.
    pub fn matches(&self, certificate: &CertificateInfo) -> bool {
        let wants = |kind| self.kind == kind || self.kind == SanKind::Any;
        let text = |name: &String| self.matcher.matches(name.as_bytes());
        (wants(SanKind::Uri) && certificate.uri_sans.iter().any(text))
            || (wants(SanKind::Dns) && certificate.dns_sans.iter().any(|name| self.matches_dns(name)))
            || (wants(SanKind::Ip)
                && certificate.ip_sans.iter().any(|ip| self.matcher.matches(ip.to_string().as_bytes())))
    }

    /// A DNS name may be a wildcard in the certificate, which stands for one label (RFC 6125, 6.4.3).
    fn matches_dns(&self, name: &str) -> bool {
        let StringMatcher::Exact { value, .. } = &self.matcher else {
            return self.matcher.matches(name.as_bytes());
        };
        covers(name, value)
    }
}

/// Whether a certificate's DNS name, which may begin with `*.`, stands for a host name.
pub(super) fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(suffix) => {
            let rest = host.split_once('.').filter(|(label, _)| !label.is_empty());
            rest.is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(suffix))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers("*.example.com", "www.example.com"));
        assert!(covers("WWW.example.com", "www.example.com"));
        for host in ["example.com", "a.b.example.com", ".example.com", "www.example.org"] {
            assert!(!covers("*.example.com", host), "{host}");
        }
    }
}
