//! Virtual hosts, matches, weights, rewrites, redirects, header edits, mirrors.

use crate::harness::*;
use lateen_proxy::config::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn header(name: &str, matcher: StringMatcher) -> HeaderMatcher {
    HeaderMatcher {
        name: name.into(),
        value: HeaderValueMatch::String(matcher),
        invert: false,
        treat_missing_as_empty: false,
    }
}

fn when(mut route: Route, matches: RouteMatch) -> Route {
    route.matches = matches;
    route
}

#[test]
fn hosts_and_headers_choose_the_cluster() {
    let proxy = Proxy::start();
    let to = |name: &'static str| forward(RouteAction::to(proxy.cluster(name, &[says(name)])));
    let jason = RouteMatch {
        headers: vec![header("end-user", StringMatcher::exact("jason"))],
        ..RouteMatch::default()
    };
    proxy.hosts(vec![
        host("reviews", &["reviews", "reviews.default"], vec![when(to("v2"), jason), to("v1")]),
        host("wild", &["*.example.com"], vec![to("wild")]),
        host("rest", &["*"], vec![to("rest")]),
    ]);
    let address = proxy.listen(proxy.manager());
    let ask = |headers: &str| get_with(address, "/", headers).body;
    assert_eq!(ask("Host: reviews\r\nend-user: jason\r\n"), "v2");
    assert_eq!(ask("Host: REVIEWS.default\r\nend-user: other\r\n"), "v1");
    assert_eq!(ask("Host: a.example.com\r\n"), "wild");
    assert_eq!(ask("Host: else\r\n"), "rest");
}

#[test]
fn without_a_route_there_is_an_empty_404() {
    let proxy = Proxy::start();
    proxy.hosts(vec![host("a", &["a"], Vec::new())]);
    let answer = get(proxy.listen(proxy.manager()), "/");
    assert_eq!((answer.status(), answer.header("content-length")), (404, Some("0")));
    assert_eq!(proxy.log.line(0), "404 NR route_not_found");
}

#[test]
fn missing_clusters_and_endpoints_answer_503() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.store.cluster_slot("none")))]);
    let address = proxy.listen(proxy.manager());
    assert_eq!(get(address, "/").status(), 503);
    assert_eq!(proxy.log.line(0), "503 NC cluster_not_found");
    proxy.cluster("none", &[]);
    let answer = get(address, "/");
    assert_eq!((answer.status(), &*answer.body), (503, "no healthy upstream"));
    assert_eq!(proxy.log.line(1), "503 UH no_healthy_upstream");
}

#[test]
fn weights_divide_requests() {
    let proxy = Proxy::start();
    let entry = |name: &'static str, weight| WeightedCluster {
        cluster: proxy.cluster(name, &[says(name)]),
        weight,
        edits: LevelEdits::default(),
        filters: FilterOverrides::default(),
        host_rewrite: None,
        subset: None,
    };
    let clusters = WeightedClusters::new(vec![entry("v1", 80), entry("v2", 20), entry("v3", 0)]).unwrap();
    let target = Target::Weighted(clusters);
    proxy.routes(vec![forward(RouteAction { target, ..RouteAction::to(proxy.store.cluster_slot("v1")) })]);
    let mut client = Client::new(proxy.listen(proxy.manager()));
    let mut counts: HashMap<String, u32> = HashMap::new();
    for _ in 0..1000 {
        *counts.entry(client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n").body).or_default() += 1;
    }
    assert!((750..850).contains(&counts["v1"]), "{counts:?}");
    assert!(!counts.contains_key("v3"));
}

#[test]
fn paths_and_hosts_are_rewritten() {
    let proxy = Proxy::start();
    let action = RouteAction {
        path_rewrite: Some(PathRewrite::Prefix("/new/".into())),
        host_rewrite: Some(HostRewrite::Literal("other.host".into())),
        append_forwarded_host: true,
        ..RouteAction::to(proxy.cluster("up", &[echo()]))
    };
    let matches = RouteMatch { path: PathMatch::Prefix("/old/".into()), ..RouteMatch::default() };
    proxy.routes(vec![when(forward(action), matches)]);
    let body = get(proxy.listen(proxy.manager()), "/old/x?y").body;
    assert!(body.starts_with("GET /new/x?y HTTP/1.1\r\nhost: other.host\r\n"), "{body}");
    assert!(body.contains("x-envoy-original-path: /old/x?y"));
    assert!(body.contains("x-forwarded-host: test"));
}

#[test]
fn redirects_and_direct_responses_are_answered_here() {
    let proxy = Proxy::start();
    let redirect = Redirect { status: 301, host: Some("there".into()), ..Redirect::default() };
    let away = Route { action: Action::Redirect(Box::new(redirect)), ..Route::default() };
    let matches = RouteMatch { path: PathMatch::Exact("/go".into()), ..RouteMatch::default() };
    let direct = DirectResponse { status: 418, body: "short and stout".into() };
    proxy.routes(vec![when(away, matches), Route { action: Action::Direct(direct), ..Route::default() }]);
    let address = proxy.listen(proxy.manager());
    let answer = get(address, "/go?x");
    assert_eq!((answer.status(), answer.header("location")), (301, Some("http://there/go?x")));
    let answer = get(address, "/");
    assert_eq!((answer.status(), &*answer.body), (418, "short and stout"));
}

#[test]
fn every_level_edits_headers_the_most_specific_first() {
    let proxy = Proxy::start();
    let add = |value: &'static str| LevelEdits {
        request: HeaderEdits {
            remove: vec!["x-gone".into()],
            add: vec![HeaderMutation {
                name: "x-level".into(),
                value: HeaderValue::Literal(value.into()),
                action: AppendAction::AppendIfExistsOrAdd,
                keep_empty: false,
            }],
        },
        response: HeaderEdits {
            remove: Vec::new(),
            add: vec![HeaderMutation {
                name: "x-answer".into(),
                value: HeaderValue::Literal(value.into()),
                action: AppendAction::OverwriteIfExistsOrAdd,
                keep_empty: false,
            }],
        },
    };
    let mut route = forward(RouteAction::to(proxy.cluster("up", &[echo()])));
    route.edits = add("route");
    let all = VirtualHost { edits: add("host"), ..host("all", &["*"], vec![route]) };
    let config =
        Arc::new(RouteConfig { name: "routes".into(), edits: add("config"), ..RouteConfig::default() });
    proxy.store.put_routes(RouteTable::new(config, vec![Arc::new(all)]).unwrap());
    let answer = get_with(proxy.listen(proxy.manager()), "/", "x-gone: 1\r\n");
    let levels: Vec<_> = answer.body.lines().filter_map(|line| line.strip_prefix("x-level: ")).collect();
    assert_eq!(levels, ["route", "host", "config"]);
    assert!(!answer.body.contains("x-gone"));
    assert_eq!(answer.header("x-answer"), Some("config"), "less specific levels come later");
}

#[test]
fn a_mirror_gets_a_copy_with_its_body_and_a_shadow_host() {
    let (sender, copies) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let shadow = upstream(move |request| {
        sender
            .lock()
            .unwrap()
            .send((request.header("host").map(str::to_owned), request.body.clone()))
            .unwrap();
        ok("nobody hears this")
    });
    let proxy = Proxy::start();
    let mirror = MirrorPolicy {
        cluster: proxy.cluster("shadow", &[shadow]),
        fraction: Fraction::ALL,
        keep_host: false,
    };
    let action =
        RouteAction { mirrors: vec![mirror], ..RouteAction::to(proxy.cluster("up", &[says("main")])) };
    proxy.routes(vec![forward(action)]);
    let mut client = Client::new(proxy.listen(proxy.manager()));
    let answer = client.request("POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(answer.body, "main");
    let copy = copies.recv_timeout(WAIT).unwrap();
    assert_eq!(copy, (Some("a-shadow:80".to_owned()), "body".to_owned()));
}

#[test]
fn cors_preflights_are_answered_and_answers_marked() {
    let proxy = Proxy::start();
    let (up, count) = by_number(|_| ok("data"));
    let mut route = forward(RouteAction::to(proxy.cluster("up", &[up])));
    route.filters.cors = Some(Arc::new(CorsPolicy {
        allow_origins: vec![StringMatcher::exact("http://good")],
        allow_methods: Some("GET,POST".into()),
        ..CorsPolicy::default()
    }));
    proxy.routes(vec![route]);
    let mut manager = proxy.manager();
    manager.filters.push(HttpFilter::Cors(Arc::default()));
    let address = proxy.listen(manager);
    let answer = Client::new(address).request(
        "OPTIONS / HTTP/1.1\r\nHost: a\r\nOrigin: http://good\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    );
    assert_eq!(answer.header("access-control-allow-methods"), Some("GET,POST"));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    let origin = |origin: &str| {
        let answer = get_with(address, "/", &format!("Origin: {origin}\r\n"));
        answer.header("access-control-allow-origin").map(str::to_owned)
    };
    assert_eq!(origin("http://good").as_deref(), Some("http://good"));
    assert_eq!(origin("http://bad"), None);
}

#[test]
fn a_mirror_is_sent_while_the_main_request_still_waits_for_its_answer() {
    let (sender, copies) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (sender, released) = (std::sync::Mutex::new(sender), std::sync::Mutex::new(released));
    let shadow = upstream(move |request| {
        sender.lock().unwrap().send(request.body.clone()).unwrap();
        ok("")
    });
    let main = upstream(move |_| {
        released.lock().unwrap().recv_timeout(WAIT).unwrap();
        ok("main")
    });
    let proxy = Proxy::start();
    let mirror = MirrorPolicy {
        cluster: proxy.cluster("shadow", &[shadow]),
        fraction: Fraction::ALL,
        keep_host: true,
    };
    let action = RouteAction { mirrors: vec![mirror], ..RouteAction::to(proxy.cluster("up", &[main])) };
    proxy.routes(vec![forward(action)]);
    let mut client = Client::new(proxy.listen(proxy.manager()));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n");
    assert_eq!(copies.recv_timeout(WAIT).unwrap(), "body");
    release.send(()).unwrap();
    assert_eq!(client.read().unwrap().body, "main");
}
