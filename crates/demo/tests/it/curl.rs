//! The small curl, by its command line.

use clap::Parser;
use lateen_demo::httpbin::{Style, router};
use lateen_demo::{App, Demo, run};

use crate::start;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    demo: Demo,
}

/// Runs a command line; says whether it succeeded.
async fn curl(arguments: &[&str]) -> bool {
    let line = Line::parse_from(["lateen", "curl"].iter().chain(arguments));
    format!("{:?}", run(line.demo).await.unwrap()) == format!("{:?}", std::process::ExitCode::SUCCESS)
}

#[tokio::test]
async fn what_is_sent_and_received_is_what_the_options_say() {
    let port = start(router(Style::Classic)).await;
    let file = std::env::temp_dir().join(format!("lateen-curl-{port}"));
    let out = file.to_str().unwrap();
    let url = format!("127.0.0.1:{port}/anything/x?y=1");
    assert!(curl(&["-sS", "-H", "end-user: jason", "-d", "a=1", "-d", "b=2", "-o", out, &url]).await);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&json["method"], &json["form"]["b"]), (&"POST".into(), &"2".into()));
    assert_eq!((&json["headers"]["End-User"], &json["args"]["y"]), (&"jason".into(), &"1".into()));
    let redirect = format!("http://127.0.0.1:{port}/redirect/2");
    assert!(curl(&["-s", "-L", "-o", out, "-w", "%{http_code}", &redirect]).await);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(json["url"].as_str().unwrap().ends_with("/get"));
    std::fs::remove_file(file).unwrap();
}

#[tokio::test]
async fn failures_end_with_an_error() {
    let port = start(router(Style::Classic)).await;
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    assert!(!curl(&["-s", "-f", &at("/status/503")]).await);
    assert!(!curl(&["-s", "-m", "0.2", &at("/delay/5")]).await);
    assert!(!curl(&["-s", "ftp://127.0.0.1/"]).await);
    assert!(
        !curl(&["-s", "-k", &format!("https://127.0.0.1:{port}/get")]).await,
        "this port speaks plain HTTP"
    );
    assert!(curl(&["-s", "-I", &at("/get")]).await);
}

#[test]
fn the_options_of_tutorials_are_known() {
    for line in
        ["-s -o /dev/null -w x http://a", "-v -k -I http://a", "-X PUT -i http://a", "-sSL -m 5 http://a"]
    {
        let parsed = Line::try_parse_from(["lateen", "curl"].into_iter().chain(line.split(' '))).unwrap();
        assert!(matches!(parsed.demo.app, App::Curl(_)), "{line}");
    }
}

/// Serves one HTTPS connection with a certificate that nobody signed; says its port and the certificate in PEM.
async fn https() -> (u16, String) {
    use tokio_rustls::rustls::ServerConfig;
    use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let key = own.signing_key.serialize_der().try_into().unwrap();
    let config = ServerConfig::builder_with_provider(std::sync::Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(std::sync::Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = hyper_util::service::TowerToHyperService::new(router(Style::Classic));
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    (port, own.cert.pem())
}

#[tokio::test]
async fn certificates_are_verified_unless_told_otherwise() {
    let (port, pem) = https().await;
    let url = format!("https://localhost:{port}/get");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let ca = std::env::temp_dir().join(format!("lateen-curl-ca-{port}.pem"));
    std::fs::write(&ca, pem).unwrap();
    let ca_file = ca.to_str().unwrap();
    assert!(!curl(&["-s", "-o", "/dev/null", "--resolve", &resolve, &url]).await);
    assert!(curl(&["-s", "-k", "-o", "/dev/null", "--resolve", &resolve, &url]).await);
    assert!(curl(&["-sf", "--cacert", ca_file, "-o", "/dev/null", "--resolve", &resolve, &url]).await);
    std::fs::remove_file(ca).unwrap();
}
