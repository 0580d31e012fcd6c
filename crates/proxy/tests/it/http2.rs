//! HTTP/2 on either side.

use crate::harness::*;
use bytes::Bytes;
use lateen_proxy::config::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// A client that speaks HTTP/2 by prior knowledge.
async fn connect(address: SocketAddr) -> h2::client::SendRequest<Bytes> {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (send, connection) = h2::client::handshake(tcp).await.unwrap();
    tokio::spawn(connection);
    send
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Vec<u8>,
    trailers: Option<http::HeaderMap>,
}

async fn ask(
    send: &mut h2::client::SendRequest<Bytes>,
    headers: &[(&'static str, &'static str)],
    body: Option<&'static str>,
) -> Result<Answer, h2::Error> {
    let mut request = http::Request::builder().method("POST").uri("http://test/x");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    *send = send.clone().ready().await?;
    let (response, mut stream) = send.send_request(request.body(()).unwrap(), body.is_none())?;
    if let Some(body) = body {
        stream.send_data(Bytes::from_static(body.as_bytes()), false)?;
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-down", "1".parse().unwrap());
        stream.send_trailers(trailers)?;
    }
    let response = response.await?;
    let (parts, mut recv) = response.into_parts();
    let mut body = Vec::new();
    while let Some(data) = recv.data().await {
        let data = data?;
        recv.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = recv.trailers().await?;
    Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(WAIT, work).await.expect("in time") })
}

type Asked = http::Request<h2::RecvStream>;
type Answering = h2::server::SendResponse<Bytes>;

/// An HTTP/2 server that treats each stream by a function.
fn serve_h2<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(Asked, Answering) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((tcp, _)) = listener.accept().await {
                let serve = serve.clone();
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(tcp).await.unwrap();
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        tokio::spawn(serve(request, respond));
                    }
                });
            }
        });
    });
    address
}

/// An HTTP/2 server that echoes bodies and trailers.
fn echo_h2() -> SocketAddr {
    serve_h2(echo_stream)
}

async fn echo_stream(request: http::Request<h2::RecvStream>, mut respond: h2::server::SendResponse<Bytes>) {
    let (parts, mut recv) = request.into_parts();
    let response = http::Response::builder()
        .header("x-path", parts.uri.path())
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut send = respond.send_response(response, false).unwrap();
    while let Some(Ok(data)) = recv.data().await {
        recv.flow_control().release_capacity(data.len()).unwrap();
        send.reserve_capacity(data.len());
        send.send_data(data, false).unwrap();
    }
    let mut trailers = recv.trailers().await.unwrap().unwrap_or_default();
    trailers.insert("grpc-status", "0".parse().unwrap());
    send.send_trailers(trailers).unwrap();
}

fn http2_cluster(address: SocketAddr) -> Cluster {
    Cluster { protocol: UpstreamProtocol::Http2, ..Cluster::fixed("up", [address]) }
}

#[test]
fn http2_goes_to_http1_and_back() {
    let (_proxy, address) = Proxy::to(echo());
    run(async {
        let mut send = connect(address).await;
        let answer = ask(&mut send, &[("x-a", "b")], Some("hello")).await.unwrap();
        let body = String::from_utf8(answer.body).unwrap();
        assert_eq!(answer.status, 200);
        assert!(body.starts_with("POST /x HTTP/1.1\r\nhost: test\r\n"), "{body}");
        assert!(
            body.contains("x-a: b") && body.contains("transfer-encoding: chunked") && body.ends_with("hello")
        );
        assert_eq!(answer.headers["server"], "envoy");
    });
}

#[test]
fn http2_goes_to_http2_with_trailers_both_ways() {
    let proxy = Proxy::start();
    let slot = proxy.put(http2_cluster(echo_h2()));
    proxy.routes(vec![forward(RouteAction::to(slot.clone()))]);
    let address = proxy.listen(proxy.manager());
    run(async {
        let mut send = connect(address).await;
        for _ in 0..3 {
            let answer = ask(&mut send, &[("content-type", "application/grpc")], Some("ping")).await.unwrap();
            assert_eq!((&answer.body[..], &answer.headers["x-path"]), (&b"ping"[..], &"/x".parse().unwrap()));
            let trailers = answer.trailers.unwrap();
            assert_eq!(
                (&trailers["x-down"], &trailers["grpc-status"]),
                (&"1".parse().unwrap(), &"0".parse().unwrap())
            );
        }
    });
    assert_eq!(slot.stats.sum(|shard| &shard.upstream_cx_http2_total), 1);
}

#[test]
fn http1_goes_to_http2() {
    let proxy = Proxy::start();
    let slot = proxy.put(http2_cluster(echo_h2()));
    proxy.routes(vec![forward(RouteAction::to(slot))]);
    let address = proxy.listen(proxy.manager());
    let answer = Client::new(address).request("POST /y HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!((&*answer.body, answer.header("x-path")), ("hi", Some("/y")));
    assert_eq!(answer.trailers.trim(), "grpc-status: 0");
}

#[test]
fn a_local_reply_to_grpc_is_trailers_alone() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[])))]);
    let address = proxy.listen(proxy.manager());
    run(async {
        let mut send = connect(address).await;
        let answer = ask(&mut send, &[("content-type", "application/grpc")], None).await.unwrap();
        assert_eq!((answer.status, &answer.headers["grpc-status"]), (200, &"14".parse().unwrap()));
        assert_eq!(answer.headers["grpc-message"], "no healthy upstream");
    });
}

#[test]
fn many_streams_share_a_connection_at_the_same_time() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.put(http2_cluster(echo_h2()))))]);
    let address = proxy.listen(proxy.manager());
    run(async {
        let send = connect(address).await;
        let all = (0..100).map(|_| {
            let mut send = send.clone();
            async move { ask(&mut send, &[], Some("x")).await.unwrap().status }
        });
        assert!(futures::future::join_all(all).await.into_iter().all(|status| status == 200));
    });
}

#[test]
fn large_bodies_pass_within_flow_control() {
    let proxy = Proxy::start();
    let up = Cluster {
        http2: Http2Options { stream_window: 65_535, connection_window: 65_535, ..Http2Options::default() },
        ..http2_cluster(echo_h2())
    };
    proxy.routes(vec![forward(RouteAction::to(proxy.put(up)))]);
    let address = proxy.listen(proxy.manager());
    let body: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    run(async {
        let mut send = connect(address).await;
        assert_eq!(ask(&mut send, &[], Some(body)).await.unwrap().body.len(), body.len());
    });
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_not_the_worker() {
    let never = server(|stream| {
        std::thread::sleep(WAIT);
        drop(stream);
    });
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[never])))]);
    let address = proxy.listen(HttpConnectionManager { internal_ranges: inside(), ..proxy.manager() });
    run(async {
        let mut send = connect(address).await;
        let mut failed = false;
        for _ in 0..5000 {
            match send.clone().ready().await {
                Ok(ready) => send = ready,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
            let request = http::Request::builder().uri("http://test/").body(()).unwrap();
            let Ok((response, mut stream)) = send.send_request(request, true) else {
                failed = true;
                break;
            };
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            tokio::task::yield_now().await;
        }
        let _ = failed;
    });
    assert_eq!(get_missing(address), 504);
}

/// A request with a short timeout still gets its answer.
fn get_missing(address: SocketAddr) -> u16 {
    let inside = "X-Forwarded-For: 10.0.0.1\r\nx-envoy-upstream-rq-timeout-ms: 50\r\n";
    get_with(address, "/", inside).status()
}

#[test]
fn a_drained_listener_says_goaway() {
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[says("x")])))]);
    let mut manager = proxy.manager();
    manager.drain_timeout = Duration::from_millis(10);
    let chain = FilterChain::plain(Terminal::Http(Arc::new(manager)));
    let address = proxy.listen_on("drain", chain);
    run(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let (mut send, connection) = h2::client::handshake(tcp).await.unwrap();
        let ended = tokio::spawn(connection);
        assert_eq!(ask(&mut send, &[], None).await.unwrap().status, 200);
        proxy.store.drain_listeners(DrainScope::All);
        proxy.workers.sync_listeners();
        drop(send);
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn informational_responses_reach_a_client_over_http2() {
    let hints = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n";
    let (_proxy, address) = Proxy::to(upstream(move |_| format!("{hints}{}", ok("late"))));
    run(async {
        let mut send = connect(address).await.ready().await.unwrap();
        let request = http::Request::get("http://test/x").header("expect", "100-continue").body(()).unwrap();
        let (mut response, _) = send.send_request(request, true).unwrap();
        let mut informational = Vec::new();
        while let Some(head) = std::future::poll_fn(|cx| response.poll_informational(cx)).await {
            let head = head.unwrap();
            informational.push((head.status().as_u16(), head.headers().get("link").cloned()));
        }
        assert_eq!(informational, [(100, None), (103, Some("</a.css>".parse().unwrap()))]);
        assert_eq!(response.await.unwrap().status(), 200);
    });
}

#[test]
fn informational_responses_of_an_http2_upstream_are_passed_on_within_bounds() {
    let up = serve_h2(|_, mut respond| async move {
        let hint = || http::Response::builder().status(103).header("x-hint", "1").body(()).unwrap();
        let _ = respond.send_informational(hint());
        let _ = respond.send_response(http::Response::new(()), true);
    });
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.put(http2_cluster(up))))]);
    let mut client = Client::new(proxy.listen(proxy.manager()));
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let hint = client.read().unwrap();
    assert_eq!((hint.status(), hint.header("x-hint")), (103, Some("1")));
    assert_eq!(client.read().unwrap().status(), 200);
}

#[test]
fn an_upstream_that_only_informs_is_given_up() {
    let (proxy, address) = Proxy::to(upstream(|_| "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100)));
    let mut client = Client::new(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let last = loop {
        let answer = client.read().unwrap();
        if answer.status() != 103 {
            break answer;
        }
    };
    assert_eq!(last.status(), 503);
    assert!(proxy.log.line(0).starts_with("503 UPE"));
}

#[test]
fn a_grpc_check_asks_the_service_for_its_health() {
    let up = serve_h2(|request, mut respond| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let mut recv = request.into_body();
        let mut asked = Vec::new();
        while let Some(Ok(data)) = recv.data().await {
            asked.extend_from_slice(&data);
        }
        let serving = asked.ends_with(b"shop");
        let mut send = respond.send_response(http::Response::new(()), false).unwrap();
        let body: &[u8] = if serving { &[0, 0, 0, 0, 2, 8, 1] } else { &[0, 0, 0, 0, 2, 8, 2] };
        send.send_data(Bytes::copy_from_slice(body), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        send.send_trailers(trailers).unwrap();
    });
    let proxy = Proxy::start();
    let put = |name: &str, service: &str| {
        let (authority, metadata) = (None, Vec::new());
        let probe = Probe::Grpc { service: service.to_owned(), authority, metadata };
        let cluster = Cluster { name: name.into(), ..http2_cluster(up) };
        proxy.put(Cluster { health_check: crate::health::check(probe), ..cluster })
    };
    let (shop, other) = (put("shop", "shop"), put("other", "other"));
    crate::health::wait_for("shop serves", || crate::health::usable(&shop) == [true]);
    let failures =
        || other.health.get().map_or(0, |stats| stats.failure.load(std::sync::atomic::Ordering::Relaxed));
    crate::health::wait_for("other does not", || failures() > 0);
    assert_eq!(crate::health::usable(&other), [false]);
}
