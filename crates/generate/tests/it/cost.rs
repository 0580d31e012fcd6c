//! What a mesh of a thousand services and a hundred proxies costs: the control plane's part of the work that is
//! done here. What must not change is counted; the
//! times are printed, and bounded only so widely that busy machines and unoptimised builds stay within.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use lateen_generate::{Generator, Proxy, ProxyResources};
use lateen_mesh::World;
use lateen_xds::TypeUrl;
use serde_json::json;

use crate::kit::sidecar;

const SERVICES: u32 = 1_000;
const PROXIES: usize = 100;

fn world() -> World {
    let mut world = World::new();
    for n in 0..SERVICES {
        let service = json!({
            "metadata": {"name": format!("s{n}"), "namespace": "default"},
            "spec": {
                "clusterIP": format!("10.96.{}.{}", n / 250, n % 250 + 1), "selector": {"app": format!("s{n}")},
                "ports": [{"name": "http", "port": 80}],
            },
        });
        world.upsert(serde_json::from_value::<Service>(service).expect("valid").into());
        world.upsert(slice(n, 2).into());
        world.upsert(rule(n, 50).into());
        let rule = json!({
            "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
            "metadata": {"name": format!("s{n}"), "namespace": "default"},
            "spec": {"host": format!("s{n}"), "subsets": [
                {"name": "v1", "labels": {"version": "v1"}}, {"name": "v2", "labels": {"version": "v2"}},
            ]},
        });
        world.upsert(serde_json::from_value::<lateen_api::DestinationRule>(rule).expect("valid").into());
    }
    world
}

fn slice(n: u32, endpoints: u32) -> EndpointSlice {
    let all: Vec<_> = (0..endpoints)
        .map(|e| json!({"addresses": [format!("10.244.{}.{}", n % 250, n / 250 * 60 + e)]}))
        .collect();
    let slice = json!({
        "metadata": {
            "name": format!("s{n}"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{n}")},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "port": 80}], "endpoints": all,
    });
    serde_json::from_value(slice).expect("valid")
}

fn rule(n: u32, weight: u32) -> lateen_api::VirtualService {
    let host = format!("s{n}");
    let rule = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": host, "namespace": "default"},
        "spec": {"hosts": [host], "http": [{"route": [
            {"destination": {"host": host, "subset": "v1"}, "weight": weight},
            {"destination": {"host": host, "subset": "v2"}, "weight": 100 - weight},
        ]}]},
    });
    serde_json::from_value(rule).expect("valid")
}

fn step(
    generator: &mut Generator,
    world: &mut World,
    proxies: &[Proxy],
    seen: &mut [ProxyResources],
) -> usize {
    let (mesh, changes) = world.snapshot();
    generator.step(mesh, &changes);
    let mut changed = 0;
    for (proxy, old) in proxies.iter().zip(seen) {
        let new = generator.resources(proxy);
        let delta = new.diff(old);
        changed += TypeUrl::ALL.into_iter().flat_map(|t| delta.of(t)).map(|d| d.changed.len()).sum::<usize>();
        *old = new;
    }
    changed
}

#[test]
fn changes_cost_what_they_touch() {
    let mut world = world();
    let proxy = |n| sidecar(&format!("s{n}-0"), &[("app", &format!("s{n}"))], "lateen");
    let proxies: Vec<Proxy> = (0..PROXIES).map(proxy).collect();
    let start = Instant::now();
    let (mesh, _) = world.snapshot();
    let snapshot = start.elapsed();
    let mut generator = Generator::new(mesh);
    let start = Instant::now();
    let mut seen: Vec<_> = proxies.iter().map(|p| generator.resources(p)).collect();
    let first = start.elapsed();

    world.upsert(rule(7, 60).into());
    let start = Instant::now();
    let changed = step(&mut generator, &mut world, &proxies, &mut seen);
    let one_rule = start.elapsed();
    assert_eq!(changed, PROXIES, "one virtual host at each proxy");

    world.upsert(slice(7, 3).into());
    let start = Instant::now();
    let changed = step(&mut generator, &mut world, &proxies, &mut seen);
    let one_endpoint = start.elapsed();
    // Nobody has told the endpoints' labels, so that the subsets stay empty.
    assert_eq!(changed, PROXIES, "one load assignment at each proxy");

    eprintln!("snapshot {snapshot:?}, first {first:?}, one rule {one_rule:?}, one endpoint {one_endpoint:?}");
    assert!(first < Duration::from_secs(60), "{first:?}");
    assert!(one_rule < Duration::from_secs(5), "{one_rule:?}");
    assert!(one_endpoint < Duration::from_secs(2), "{one_endpoint:?}");
}
