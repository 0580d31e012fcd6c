//! A proxy with one route, for measuring: `forwarder (http1|http2|tcp) LISTEN UPSTREAM [WORKERS]`.

use lateen_proxy::config::*;
use lateen_proxy::worker::Workers;
use std::net::SocketAddr;
use std::sync::Arc;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, kind, listen, upstream, rest @ ..] = &arguments[..] else {
        eprintln!("usage: forwarder (http1|http2|tcp) LISTEN UPSTREAM [WORKERS]");
        std::process::exit(2);
    };
    let parse = |text: &str| text.parse::<SocketAddr>().expect("an address and port");
    let workers = rest.first().map_or(1, |count| count.parse().expect("a number of workers"));
    let store = Store::new(workers);
    let threads = Workers::start(store.clone(), Vec::new()).expect("workers");
    let mut cluster = Cluster::fixed("upstream", [parse(upstream)]);
    if kind == "http2" {
        cluster.protocol = UpstreamProtocol::Http2;
    }
    store.put_clusters([cluster]);
    let slot = store.cluster_slot("upstream");
    let terminal = if kind == "tcp" {
        Terminal::Tcp(Arc::new(TcpProxy::to("tcp", slot, workers)))
    } else {
        let route = Route { action: Action::Forward(Box::new(RouteAction::to(slot))), ..Route::default() };
        let all = VirtualHost {
            name: "all".into(),
            domains: vec!["*".into()],
            routes: vec![Arc::new(route)],
            ..VirtualHost::default()
        };
        let config = Arc::new(RouteConfig { name: "routes".into(), ..RouteConfig::default() });
        store.put_routes(RouteTable::new(config, vec![Arc::new(all)]).expect("routes"));
        let routes = store.route_slot("routes");
        Terminal::Http(Arc::new(HttpConnectionManager::new("http", routes, workers)))
    };
    store.update_listeners(vec![Listener::simple("main", parse(listen), FilterChain::plain(terminal))], &[]);
    if let Some(error) = threads.sync_listeners().first() {
        eprintln!("{error}");
        std::process::exit(1);
    }
    loop {
        std::thread::park();
    }
}
