//! What a span is called: the two proxies of a call tell each other, by a header of the request and of the response.
//!
//! Source: Envoy, "x-envoy-decorator-operation" and `Route.decorator`: the client's proxy names the operation in the request,
//! the server's takes that name, or tells its own in the response; neither lets the header through to its application.

use bytes::Bytes;

use crate::config::Decorator;
use crate::http::Headers;

const HEADER: &str = "x-envoy-decorator-operation";

/// What was told of a request's operation, and what is yet to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoration {
    /// The other side's name for it, which goes before the route's own.
    pub told: Option<Bytes>,
    /// What the response tells the client's proxy.
    tell: Option<Bytes>,
}

impl Decoration {
    /// Takes the name out of a request that comes in, or puts it into one that goes out.
    pub fn of_request(inbound: bool, route: Option<&Decorator>, headers: &mut Headers) -> Decoration {
        let own = route.filter(|decorator| decorator.propagate).map(|decorator| &decorator.operation);
        if !inbound {
            if let Some(own) = own {
                headers.set(HEADER, own.clone());
            }
            return Decoration::default();
        }
        let told = take(headers);
        let tell = own.filter(|_| told.is_none()).cloned();
        Decoration { told, tell }
    }

    /// The same of the response.
    pub fn of_response(&mut self, inbound: bool, headers: &mut Headers) {
        if !inbound {
            self.told = take(headers);
        } else if let Some(own) = self.tell.take() {
            headers.set(HEADER, own);
        }
    }
}

/// Removes the header; an empty one says nothing.
fn take(headers: &mut Headers) -> Option<Bytes> {
    let told = headers.get(HEADER).map(Bytes::copy_from_slice)?;
    headers.remove(HEADER);
    Some(told).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(propagate: bool) -> Decorator {
        Decorator { operation: Bytes::from_static(b"own"), propagate }
    }

    fn headers(value: Option<&'static str>) -> Headers {
        let mut headers = Headers::new();
        if let Some(value) = value {
            headers.set_static(HEADER, value);
        }
        headers
    }

    /// What a request or response says before and after, by a proxy with that route.
    fn inbound(
        route: Option<&Decorator>,
        request: Option<&'static str>,
    ) -> (Option<Bytes>, Headers, Headers) {
        let (mut request, mut response) = (headers(request), headers(None));
        let mut decoration = Decoration::of_request(true, route, &mut request);
        decoration.of_response(true, &mut response);
        (decoration.told, request, response)
    }

    #[test]
    fn a_server_takes_the_clients_name_or_tells_its_own() {
        let (told, request, response) = inbound(Some(&route(true)), Some("clients"));
        assert_eq!(told.as_deref(), Some(&b"clients"[..]));
        assert!(request.get(HEADER).is_none() && response.get(HEADER).is_none());
        for nothing in [None, Some("")] {
            let (told, request, response) = inbound(Some(&route(true)), nothing);
            assert!(told.is_none() && request.get(HEADER).is_none());
            assert_eq!(response.get(HEADER), Some(&b"own"[..]));
        }
        for keeps in [None, Some(&route(false))] {
            assert!(inbound(keeps, None).2.get(HEADER).is_none());
        }
    }

    #[test]
    fn a_client_tells_its_name_and_takes_the_servers() {
        let mut request = headers(Some("forged by the application"));
        let mut decoration = Decoration::of_request(false, Some(&route(true)), &mut request);
        assert_eq!(request.get(HEADER), Some(&b"own"[..]));
        let mut response = headers(Some("servers"));
        decoration.of_response(false, &mut response);
        assert_eq!(decoration.told.as_deref(), Some(&b"servers"[..]));
        assert!(response.get(HEADER).is_none());
        let mut request = headers(None);
        Decoration::of_request(false, Some(&route(false)), &mut request);
        assert!(request.get(HEADER).is_none());
    }
}
