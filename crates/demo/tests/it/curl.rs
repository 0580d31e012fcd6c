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
    assert!(!curl(&["-s", "https://127.0.0.1/"]).await);
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
