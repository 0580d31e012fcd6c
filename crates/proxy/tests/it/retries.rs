//! Retries.

use crate::harness::*;
use lateen_proxy::config::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn with_policy(addresses: &[SocketAddr], policy: RetryPolicy) -> (Proxy, SocketAddr) {
    let proxy = Proxy::start();
    let retry = Some(Arc::new(policy));
    let action = RouteAction { retry, ..RouteAction::to(proxy.cluster("up", addresses)) };
    let all = VirtualHost {
        attempt_count_in_request: true,
        attempt_count_in_response: true,
        ..host("all", &["*"], vec![forward(action)])
    };
    proxy.hosts(vec![all]);
    let address = proxy.listen(proxy.manager());
    (proxy, address)
}

fn on(conditions: &str, max_retries: u32) -> RetryPolicy {
    let base_interval = Duration::from_millis(1);
    RetryPolicy { on: RetryOn::parse(conditions).0, max_retries, base_interval, ..RetryPolicy::default() }
}

fn failing_first(failures: usize) -> (SocketAddr, Arc<std::sync::atomic::AtomicUsize>) {
    by_number(move |number| {
        if number < failures {
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno".to_owned()
        } else {
            ok("at last")
        }
    })
}

#[test]
fn a_failed_request_is_tried_again_with_its_body() {
    let (up, count) = failing_first(2);
    let (_proxy, address) = with_policy(&[up], on("5xx", 2));
    let answer = Client::new(address).request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!((answer.status(), &*answer.body), (200, "at last"));
    assert_eq!(answer.header("x-envoy-attempt-count"), Some("3"));
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn the_last_answer_stands_when_tries_are_used_up() {
    let (up, count) = failing_first(9);
    let (proxy, address) = with_policy(&[up], on("gateway-error", 2));
    assert_eq!((get(address, "/").status(), count.load(Ordering::SeqCst)), (503, 3));
    assert!(proxy.log.line(0).starts_with("503 URX "));
}

#[test]
fn what_the_policy_does_not_name_is_not_tried_again() {
    let (up, count) = failing_first(9);
    let (_proxy, address) = with_policy(&[up], on("connect-failure,refused-stream", 2));
    assert_eq!((get(address, "/").status(), count.load(Ordering::SeqCst)), (503, 1));
}

#[test]
fn another_host_is_tried_when_one_cannot_be_connected_to() {
    let policy =
        RetryPolicy { avoid_previous_hosts: true, host_selection_attempts: 5, ..on("connect-failure", 2) };
    let (_proxy, address) = with_policy(&[nobody(), says("alive")], policy);
    for _ in 0..6 {
        assert_eq!(get(address, "/").body, "alive");
    }
}

#[test]
fn a_try_that_takes_too_long_is_given_up_for_another() {
    let (up, _) = by_number(|number| {
        if number == 0 {
            std::thread::sleep(Duration::from_secs(2));
        }
        ok("quick")
    });
    let policy = RetryPolicy { per_try_timeout: Some(Duration::from_millis(100)), ..on("5xx", 1) };
    let (_proxy, address) = with_policy(&[up], policy);
    assert_eq!(get(address, "/").body, "quick");
}

#[test]
fn headers_of_insiders_ask_for_retries() {
    let (up, count) = failing_first(1);
    let proxy = Proxy::start();
    proxy.routes(vec![forward(RouteAction::to(proxy.cluster("up", &[up])))]);
    let address = proxy.listen(HttpConnectionManager { internal_ranges: inside(), ..proxy.manager() });
    let asking = "X-Forwarded-For: 10.0.0.1\r\nx-envoy-retry-on: 5xx\r\n";
    assert_eq!((get_with(address, "/", asking).status(), count.load(Ordering::SeqCst)), (200, 2));
}
