use std::fmt;
use std::net::SocketAddr;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use lateen_identity::SpiffeId;

/// A token that is longer is not looked at.
const MAX_TOKEN: usize = 16 << 10;

/// What a caller shows of itself.
#[derive(Clone)]
pub struct Evidence {
    /// Where it calls from, for the log.
    pub peer: SocketAddr,
    /// The identities of the client certificate that TLS verified.
    pub certificate: Vec<SpiffeId>,
    /// Its bearer token.
    pub token: Option<String>,
}

impl Evidence {
    /// Reads a request's headers, over a connection from `peer` whose client certificate holds `certificate`.
    pub fn new(peer: SocketAddr, certificate: &[SpiffeId], headers: &HeaderMap) -> Evidence {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            let token = token.trim();
            let usable =
                scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= MAX_TOKEN;
            usable.then(|| token.to_owned())
        });
        Evidence { peer, certificate: certificate.to_vec(), token: bearer }
    }
}

impl fmt::Debug for Evidence {
    /// Leaves the token out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evidence")
            .field("peer", &self.peer)
            .field("certificate", &self.certificate)
            .field("token", &self.token.is_some())
            .finish()
    }
}
