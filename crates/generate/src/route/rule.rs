//! A VirtualService's HTTP rules -> routes.

use lateen_api::networking::virtual_service::Destination;
use lateen_api::networking::virtual_service_http::{HttpMatchRequest, HttpRoute};
use lateen_mesh::{VirtualService, labels};
use lateen_xds::pb::envoy::config::route::v3::route::Action;
use lateen_xds::pb::envoy::config::route::v3::{Decorator, Route};

use super::action::{self, HeaderChanges};
use super::{filters, matching};
use crate::names;
use crate::proto::istio_metadata;
use crate::view::View;

/// Where routes are made for.
pub(crate) struct Target<'a> {
    /// The clients.
    pub view: &'a View<'a>,
    /// The port on which they call.
    pub listen: u16,
    /// The gateways on whose behalf rules are looked at: `mesh`, or those of the gateway's server.
    pub gateways: &'a [&'a str],
}

impl Target<'_> {
    /// The port of a destination: the one it names, else the service's only one, else the one that was called.
    pub fn port(&self, destination: Option<&Destination>) -> u16 {
        let Some(destination) = destination else { return self.listen };
        let named = destination.port.as_ref().and_then(|p| u16::try_from(p.number).ok()).filter(|p| *p > 0);
        let only = || match self.view.scope.service(&destination.host)?.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        };
        named.or_else(only).unwrap_or(self.listen)
    }

    /// The cluster of a destination. It is named even when there is no such service or subset: the proxy then answers
    /// 503, as Istio's do.
    pub fn cluster(&self, destination: Option<&Destination>) -> String {
        match destination {
            Some(d) => names::outbound(self.port(destination), &d.subset, &d.host),
            None => names::BLACK_HOLE.to_owned(),
        }
    }

    /// Whether a match may apply to these clients on this port. Labels, namespaces, gateways and ports are known
    /// here, so that the proxy need not look at them.
    fn applies(&self, wanted: &HttpMatchRequest) -> bool {
        let gateways = wanted.gateways.is_empty()
            || wanted.gateways.iter().any(|gateway| self.gateways.contains(&gateway.as_str()));
        gateways
            && (wanted.port == 0 || wanted.port == u32::from(self.listen))
            && (wanted.source_namespace.is_empty() || wanted.source_namespace == *self.view.key.namespace)
            && labels::selects(&wanted.source_labels, &self.view.key.labels)
    }
}

/// The routes of a VirtualService, in its order; what follows a route that matches everything is left out.
pub(crate) fn routes(service: &VirtualService, target: &Target<'_>) -> Vec<Route> {
    let mut routes = Vec::new();
    'rules: for rule in &service.spec.http {
        if rule.r#match.is_empty() {
            routes.push(route(service, rule, None, target));
            break;
        }
        for wanted in rule.r#match.iter().filter(|m| target.applies(m)) {
            let route = route(service, rule, Some(wanted), target);
            let last = route.r#match.as_ref().is_some_and(matching::is_catch_all);
            routes.push(route);
            if last {
                break 'rules;
            }
        }
    }
    routes
}

fn route(
    service: &VirtualService,
    rule: &HttpRoute,
    wanted: Option<&HttpMatchRequest>,
    target: &Target<'_>,
) -> Route {
    let mut headers = HeaderChanges::of(rule.headers.as_ref());
    if let [only] = rule.route.as_slice() {
        let own = HeaderChanges::of(only.headers.as_ref());
        headers.request_add.extend(own.request_add);
        headers.request_remove.extend(own.request_remove);
        headers.response_add.extend(own.response_add);
        headers.response_remove.extend(own.response_remove);
    }
    let path = format!(
        "/apis/networking.istio.io/v1/namespaces/{}/virtual-service/{}",
        service.meta.namespace, service.meta.name
    );
    let mut route = Route {
        name: name(rule, wanted),
        r#match: Some(matching::route(wanted)),
        metadata: Some(istio_metadata("config", path)),
        request_headers_to_add: headers.request_add,
        request_headers_to_remove: headers.request_remove,
        response_headers_to_add: headers.response_add,
        response_headers_to_remove: headers.response_remove,
        ..Route::default()
    };
    let action = if let Some(redirect) = &rule.redirect {
        Action::Redirect(action::redirect(redirect))
    } else if let Some(answer) = &rule.direct_response {
        Action::DirectResponse(action::direct_response(answer))
    } else {
        route.decorator = Some(decorator(service, rule, wanted, target));
        Action::Route(action::forward(rule, target))
    };
    route.action = Some(action);
    let fault = rule.fault.as_ref().map(|fault| (filters::FAULT, lateen_xds::any(&filters::fault(fault))));
    let cors = rule.cors_policy.as_ref().map(|cors| (filters::CORS, lateen_xds::any(&filters::cors(cors))));
    route.typed_per_filter_config =
        fault.into_iter().chain(cors).map(|(name, any)| (name.to_owned(), any)).collect();
    route
}

fn name(rule: &HttpRoute, wanted: Option<&HttpMatchRequest>) -> String {
    match wanted.map(|m| m.name.as_str()).unwrap_or_default() {
        "" => rule.name.clone(),
        of_match => format!("{}.{of_match}", rule.name),
    }
}

/// What traces call the route: the destination's host and port where there is one, and the path that is matched.
fn decorator(
    service: &VirtualService,
    rule: &HttpRoute,
    wanted: Option<&HttpMatchRequest>,
    target: &Target<'_>,
) -> Decorator {
    use lateen_api::networking::virtual_service::StringMatch;
    let path = match wanted.and_then(|m| m.uri.as_ref()) {
        Some(StringMatch::Exact(path) | StringMatch::Regex(path)) => path.clone(),
        Some(StringMatch::Prefix(prefix)) => format!("{prefix}*"),
        Some(StringMatch::Unset) | None => "/*".to_owned(),
    };
    let host = match rule.route.as_slice() {
        [only] => only.destination.as_ref().map(|d| d.host.clone()),
        _ => None,
    };
    let host = host.unwrap_or_else(|| service.meta.name.to_string());
    Decorator { operation: format!("{host}:{}{path}", target.listen), ..Decorator::default() }
}

/// The route of a service that has no VirtualService.
pub(crate) fn default_route(host: &str, port: u16, cluster: String) -> Route {
    let mut action = action::plain(cluster);
    action.retry_policy = action::retries(None);
    Route {
        name: "default".to_owned(),
        r#match: Some(matching::route(None)),
        decorator: Some(Decorator { operation: format!("{host}:{port}/*"), ..Decorator::default() }),
        action: Some(Action::Route(action)),
        ..Route::default()
    }
}

/// Adds what a service's own DestinationRule wants requests to be hashed by.
pub(crate) fn hash_by(route: &mut Route, host: &str, target: &Target<'_>) {
    let destination = Destination { host: host.to_owned(), ..Destination::default() };
    if let Some(Action::Route(action)) = &mut route.action {
        action.hash_policy = super::hash::policies(std::iter::once(&destination), target);
    }
}
