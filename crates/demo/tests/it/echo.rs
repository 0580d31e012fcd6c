//! The stand-in on HTTP and on plain TCP.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use lateen_demo::{client, echo};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

async fn stand_in() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(echo::accept(listener, Arc::new(json!({"standIn": true, "image": "acme/shop"}))));
    port
}

#[tokio::test]
async fn http_is_answered_with_the_request() {
    let port = stand_in().await;
    let url = format!("http://127.0.0.1:{port}/a?b=c");
    let json = client::get(&url, HeaderMap::new(), Duration::from_secs(5)).await.unwrap().json.unwrap();
    assert_eq!(
        (&json["standIn"], &json["path"], &json["method"]),
        (&true.into(), &"/a?b=c".into(), &"GET".into())
    );
    assert_eq!(json["port"], port);
}

#[tokio::test]
async fn other_protocols_are_answered_line_by_line() {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", stand_in().await)).await.unwrap());
    for word in ["PING", "GE", "\u{1}"] {
        stream.write_all(format!("{word}\r\n").as_bytes()).await.unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let json: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&json["line"], &json["image"]), (&word.into(), &"acme/shop".into()));
    }
}
