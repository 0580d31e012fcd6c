use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::resources::Session;

/// A larger answer is refused: a proxy of a large mesh has some tens of MiB.
const MAX_ANSWER: u64 = 512 << 20;

/// Asks a port of a pod for a page, through the API server.
pub(super) async fn get(
    session: &Session,
    namespace: &str,
    pod: &str,
    port: u16,
    path: &str,
) -> Result<Vec<u8>> {
    let pods = Api::<Pod>::namespaced(session.client.clone(), namespace);
    let reach = || format!("cannot reach port {port} of pod {pod}.{namespace}");
    let mut forwarder = pods.portforward(pod, &[port]).await.with_context(reach)?;
    let mut stream = forwarder.take_stream(port).with_context(reach)?;
    // The older protocol ends its answer with the connection, and needs no chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.with_context(reach)?;
    stream.flush().await.with_context(reach)?;
    let mut answer = Vec::new();
    (&mut stream).take(MAX_ANSWER).read_to_end(&mut answer).await.with_context(reach)?;
    drop(stream);
    forwarder.abort();
    let (status, body) = parts(&answer).with_context(reach)?;
    if status != 200 {
        bail!(
            "pod {pod}.{namespace} answered {path} with {status}: {}",
            String::from_utf8_lossy(body).trim()
        );
    }
    Ok(body.to_vec())
}

/// Status and body of an answer; chunks, which a server may send all the same, are not understood and refused.
fn parts(answer: &[u8]) -> Result<(u16, &[u8])> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the answer has no head")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer's head is no text")?;
    let status =
        head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("the answer has no status")?;
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        bail!("the answer came in chunks, which HTTP/1.0 does not have");
    }
    Ok((status, &answer[end + 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let (status, body) = parts(b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}").unwrap();
        assert_eq!((status, body), (200, &b"{}"[..]));
        assert!(parts(b"nonsense").is_err());
    }
}
