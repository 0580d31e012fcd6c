use std::convert::Infallible;

use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams, LogParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{Scratch, builder, refusal, start_with};

/// A kubelet of sorts: logs tell what was asked for; exec echoes WebSocket frames byte by byte.
async fn kubelet(
    mut request: http::Request<Incoming>,
) -> Result<http::Response<Full<bytes::Bytes>>, Infallible> {
    if request.uri().path().starts_with("/containerLogs/") {
        return Ok(http::Response::new(Full::from(format!("log of {}\n", request.uri()))));
    }
    let key = request.headers()["sec-websocket-key"].clone();
    let asked = request.uri().to_string();
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let text = [&[1][..], asked.as_bytes()].concat();
        let mut frame = vec![0x82, u8::try_from(text.len()).unwrap()];
        frame.extend(text);
        stream.write_all(&frame).await.unwrap();
        // A close frame; the client answers it, and the server hangs up first.
        stream.write_all(&[0x88, 2, 3, 0xe8]).await.unwrap();
        let _ = stream.read(&mut [0; 64]).await;
    });
    use base64::Engine as _;
    let accept = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &accept);
    let accept = base64::engine::general_purpose::STANDARD.encode(digest);
    let response = http::Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", accept)
        .header("sec-websocket-protocol", "v5.channel.k8s.io");
    Ok(response.body(Full::default()).unwrap())
}

#[tokio::test]
async fn logs_and_exec_go_to_the_node() {
    let scratch = Scratch::new();
    let socket = scratch.path().join("kubelet.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = hyper::service::service_fn(kubelet);
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection.with_upgrades());
        }
    });
    let (_server, client) = start_with(builder().node_socket(&socket)).await;
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod = |name: &str, node: Option<&str>| -> Pod {
        let containers = json!([{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]);
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"nodeName": node, "containers": containers}}),
        )
        .unwrap()
    };
    pods.create(&PostParams::default(), &pod("p", Some("n"))).await.unwrap();
    pods.create(&PostParams::default(), &pod("waiting", None)).await.unwrap();
    let params = LogParams { container: Some("b".into()), tail_lines: Some(3), ..LogParams::default() };
    let log = pods.logs("p", &params).await.unwrap();
    assert!(log.starts_with("log of /containerLogs/default/p/b?"), "{log}");
    assert!(log.contains("tailLines=3"), "{log}");
    let which = refusal(pods.logs("p", &LogParams::default()).await);
    assert_eq!(which.2, "a container name must be specified for pod p, choose one of: [a b]");
    let nowhere = LogParams { container: Some("a".into()), ..LogParams::default() };
    assert_eq!(pods.logs("waiting", &nowhere).await.unwrap(), "", "nothing has been said yet");
    let params = AttachParams::default().container("a").stdout(true).stderr(false);
    let mut process = pods.exec("p", ["ls", "-l"], &params).await.unwrap();
    let mut output = String::new();
    let mut stdout = process.stdout().unwrap();
    let reading = stdout.read_to_string(&mut output);
    tokio::time::timeout(std::time::Duration::from_secs(10), reading).await.expect("in time").unwrap();
    assert!(output.starts_with("/exec/default/p/a?"), "{output}");
    assert!(output.contains("command=ls") && output.contains("command=-l"), "{output}");
}
