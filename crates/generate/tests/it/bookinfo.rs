//! Bookinfo, of 1.0.5 and of today, as productpage's sidecar and the ingress gateway see it.

use lateen_generate::Proxy;
use lateen_xds::TypeUrl;

use crate::kit::{Cluster0, action, addresses, ingress, samples, sidecar, weights};

const RELEASES: [&str; 2] = ["istio-1.0", "istio-1.32-dev"];
const PROGRAMS: [&str; 2] = ["lateen", "envoy"];

/// Bookinfo with its gateway and further files of its `networking` folder.
pub fn bookinfo(release: &str, networking: &[&str]) -> Option<Cluster0> {
    let root = samples(release)?.join("bookinfo");
    let mut cluster = Cluster0::new();
    cluster.apply_file(&root.join("platform/kube/bookinfo.yaml"));
    cluster.apply(INGRESS);
    cluster.apply_file(&root.join("networking/bookinfo-gateway.yaml"));
    for file in networking {
        cluster.apply_file(&root.join("networking").join(file));
    }
    Some(cluster)
}

/// The gateway's Service, whose port 80 leads to 8080 in the pod.
const INGRESS: &str = "
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec:
  selector: {istio: ingressgateway}
  ports: [{name: http2, port: 80, targetPort: 8080}]
";

pub fn productpage(program: &str) -> Proxy {
    sidecar("productpage-v1-0", &[("app", "productpage"), ("version", "v1")], program)
}

fn every(networking: &[&str], check: impl Fn(&str, Cluster0)) {
    for release in RELEASES {
        for program in PROGRAMS {
            if let Some(cluster) = bookinfo(release, networking) {
                check(program, cluster);
            }
        }
    }
}

#[test]
fn sidecars_have_istios_listeners_clusters_and_routes() {
    every(&["destination-rule-all.yaml"], |program, mut cluster| {
        let seen = cluster.resources(&productpage(program));
        let listeners = seen.names(TypeUrl::Listener);
        for name in ["virtualInbound", "virtualOutbound", "0.0.0.0_9080", "0.0.0.0_80"] {
            let expected = name != "0.0.0.0_80" || listeners.contains(&name.to_owned());
            assert!(
                expected && (name == "0.0.0.0_80" || listeners.contains(&name.to_owned())),
                "{listeners:?}"
            );
        }
        let clusters = seen.names(TypeUrl::Cluster);
        for name in [
            "BlackHoleCluster",
            "PassthroughCluster",
            "InboundPassthroughCluster",
            "inbound|9080||",
            "outbound|9080||reviews.default.svc.cluster.local",
            "outbound|9080|v3|reviews.default.svc.cluster.local",
        ] {
            assert!(clusters.contains(&name.to_owned()), "{name} in {clusters:?}");
        }
        assert!(seen.names(TypeUrl::Route).contains(&"9080".to_owned()));
        let all = addresses(&seen.endpoints("outbound|9080||reviews.default.svc.cluster.local"));
        let v2 = addresses(&seen.endpoints("outbound|9080|v2|reviews.default.svc.cluster.local"));
        assert_eq!((all.len(), v2.len()), (3, 1));
        assert!(all.contains(&v2[0]));
    });
}

#[test]
fn services_without_rules_are_called_by_every_name_they_have() {
    every(&[], |program, mut cluster| {
        let seen = cluster.resources(&productpage(program));
        let host = seen.host("9080", "reviews.default.svc.cluster.local:9080");
        let vip = host.domains.iter().find(|d| d.starts_with("10.96.")).expect("the virtual address").clone();
        let expected =
            ["reviews.default.svc.cluster.local", "reviews", "reviews.default.svc", "reviews.default", &vip];
        assert_eq!(host.domains, expected);
        let route = &host.routes[0];
        assert_eq!(route.name, "default");
        let operation = &route.decorator.as_ref().expect("decorated").operation;
        assert_eq!(operation, "reviews.default.svc.cluster.local:9080/*");
        let retries = action(route).retry_policy.as_ref().expect("Istio's default");
        assert_eq!(retries.num_retries.map(|n| n.value), Some(2));
        let unknown = seen.host("9080", "allow_any");
        assert_eq!(weights(action(&unknown.routes[0])), [("PassthroughCluster".to_owned(), 100)].into());
    });
}

#[test]
fn all_to_v1_and_weights_become_clusters_of_subsets() {
    every(&["destination-rule-all.yaml", "virtual-service-all-v1.yaml"], |program, mut cluster| {
        let seen = cluster.resources(&productpage(program));
        let host = seen.host("9080", "reviews.default.svc.cluster.local:9080");
        let v1 = "outbound|9080|v1|reviews.default.svc.cluster.local".to_owned();
        assert_eq!(weights(action(&host.routes[0])), [(v1.clone(), 100)].into());

        let root = samples("istio-1.0").expect("present");
        cluster.apply_file(&root.join("bookinfo/networking/virtual-service-reviews-80-20.yaml"));
        let seen = cluster.resources(&productpage(program));
        let host = seen.host("9080", "reviews.default.svc.cluster.local:9080");
        let v2 = "outbound|9080|v2|reviews.default.svc.cluster.local".to_owned();
        assert_eq!(weights(action(&host.routes[0])), [(v1, 80), (v2, 20)].into());
    });
}

#[test]
fn jason_goes_to_v2_and_his_calls_to_ratings_are_delayed() {
    use lateen_xds::pb::envoy::extensions::filters::common::fault::v3::fault_delay::FaultDelaySecifier;
    use lateen_xds::pb::envoy::extensions::filters::http::fault::v3::HttpFault;
    use prost::Message;
    let files = [
        "destination-rule-all.yaml",
        "virtual-service-all-v1.yaml",
        "virtual-service-reviews-test-v2.yaml",
        "virtual-service-ratings-test-delay.yaml",
    ];
    every(&files, |program, mut cluster| {
        let seen = cluster.resources(&productpage(program));
        let reviews = seen.host("9080", "reviews.default.svc.cluster.local:9080");
        assert_eq!(reviews.routes.len(), 2);
        let matched = reviews.routes[0].r#match.as_ref().expect("a match");
        assert_eq!(matched.headers[0].name, "end-user");
        assert!(weights(action(&reviews.routes[0])).keys().all(|name| name.contains("|v2|")));
        assert!(weights(action(&reviews.routes[1])).keys().all(|name| name.contains("|v1|")));

        let ratings = seen.host("9080", "ratings.default.svc.cluster.local:9080");
        let fault = &ratings.routes[0].typed_per_filter_config["envoy.filters.http.fault"];
        let delay = HttpFault::decode(fault.value.as_slice()).expect("a fault").delay.expect("a delay");
        assert_eq!(delay.percentage.map(|p| p.numerator), Some(1_000_000));
        let Some(FaultDelaySecifier::FixedDelay(time)) = delay.fault_delay_secifier else {
            panic!("no delay")
        };
        assert_eq!(time.seconds, 7);
        assert!(ratings.routes[1].typed_per_filter_config.is_empty());
    });
}

#[test]
fn the_gateway_listens_where_its_service_leads_and_routes_bookinfos_paths() {
    every(&[], |program, mut cluster| {
        let seen = cluster.resources(&ingress(program));
        let port = seen.names(TypeUrl::Listener);
        assert_eq!(port.len(), 1, "{port:?}");
        assert_eq!(port, ["0.0.0.0_8080"]);
        let name = seen.names(TypeUrl::Route).pop().expect("a route configuration");
        assert!(["http.80", "http.8080"].contains(&name.as_str()), "{name}");
        let number = name.trim_start_matches("http.");
        let host = seen.host(&name, &format!("*:{number}"));
        assert_eq!(host.domains, ["*"]);
        assert!(host.routes.len() >= 4);
        let to = "outbound|9080||productpage.default.svc.cluster.local".to_owned();
        for route in &host.routes {
            assert_eq!(weights(action(route)), [(to.clone(), 100)].into());
        }
        assert!(seen.names(TypeUrl::Endpoints).contains(&to));
    });
}

#[test]
fn a_gateway_without_rules_answers_404() {
    let mut cluster = Cluster0::new();
    cluster.apply(
        "
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: lonely}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]
",
    );
    let seen = cluster.resources(&ingress("envoy"));
    let host = seen.host("http.80", "blackhole:80");
    assert_eq!(host.domains, ["*"]);
    assert!(host.routes.is_empty());
}

#[test]
fn envoys_get_no_filter_that_only_lateen_has() {
    every(&["destination-rule-all.yaml"], |program, mut cluster| {
        let seen = cluster.resources(&productpage(program));
        let bodies = seen.0.iter(TypeUrl::Listener).map(|l| l.body.clone());
        let has = |needle: &[u8], body: &[u8]| body.windows(needle.len()).any(|w| w == needle);
        let stats = bodies.into_iter().any(|body| has(b"stats.PluginConfig", &body));
        assert_eq!(stats, program == "lateen");
        assert_eq!(seen.names(TypeUrl::VirtualHost).is_empty(), program == "envoy");
    });
}
