use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use lateen_identity::{AnyServer, Authority, LeafRequest};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::TlsStream;
use crate::http::io::Prefixed;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];

/// Both ends of a connection.
async fn pair(version: &'static SupportedProtocolVersion) -> (TlsStream, TlsStream) {
    pair_over(version, TcpListener::bind("127.0.0.1:0").await.unwrap(), None).await
}

/// The same; the client connects to another address, from which somebody relays.
async fn pair_over(
    version: &'static SupportedProtocolVersion,
    listener: TcpListener,
    relay: Option<SocketAddr>,
) -> (TlsStream, TlsStream) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let authority = Authority::create("test", Duration::from_secs(3600)).unwrap();
    let leaf = authority.issue(&LeafRequest::server(["localhost"], Duration::from_secs(3600))).unwrap();
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(leaf.chain_pem().as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key_pem().as_bytes()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyServer::new(provider)))
        .with_no_client_auth();
    let address = relay.unwrap_or(listener.local_addr().unwrap());
    let plain = |tcp| Prefixed { prefix: BytesMut::new(), tcp };
    let serve = async {
        let (tcp, _) = listener.accept().await.unwrap();
        let mut io = plain(tcp);
        let (_, bytes) = super::super::hello::read(&mut io).await.unwrap();
        TlsStream::accept(Arc::new(server), io, bytes).await.unwrap()
    };
    let speak = async {
        let tcp = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        TlsStream::connect(Arc::new(client), name, None, plain(tcp)).await.unwrap()
    };
    tokio::join!(speak, serve)
}

fn noise(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

/// What a connection holds beside its session.
fn held(stream: &TlsStream) -> usize {
    stream.incoming.capacity() + stream.outgoing.capacity() + stream.plain.capacity()
}

#[tokio::test]
async fn what_is_written_is_read_whatever_the_pieces() {
    for version in VERSIONS {
        for (write, read) in [(1, 64 << 10), (100, 7), (16 << 10, 1000), (200_000, 65_536), (17_000, 16_384)]
        {
            let (mut client, mut server) = pair(version).await;
            let data = noise(if write < 1000 { 20_000 } else { 1 << 20 });
            let send = async {
                for piece in data.chunks(write) {
                    client.write_all(piece).await.unwrap();
                }
                client.flush().await.unwrap();
                client.shutdown().await.unwrap();
            };
            let receive = async {
                let (mut all, mut buffer) = (Vec::new(), vec![0; read]);
                loop {
                    match server.read(&mut buffer).await.unwrap() {
                        0 => break all,
                        n => all.extend_from_slice(&buffer[..n]),
                    }
                }
            };
            let ((), all) = tokio::join!(send, receive);
            assert!(all == data, "{write} {read}: {} of {} bytes", all.len(), data.len());
            // Our side is still open.
            server.write_all(b"thanks").await.unwrap();
            server.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"thanks");
        }
    }
}

/// Passes single bytes on.
async fn drip(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    while let Ok(byte) = from.read_u8().await {
        to.write_u8(byte).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_handshake_may_come_in_single_bytes() {
    for version in VERSIONS {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (relay, behind) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), server.local_addr().unwrap());
        let address = relay.local_addr().unwrap();
        let relaying = tokio::spawn(async move {
            let (client, _) = relay.accept().await.unwrap();
            let server = TcpStream::connect(behind).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let ((client_out, client_in), (server_out, server_in)) =
                (client.into_split(), server.into_split());
            tokio::join!(drip(client_out, server_in), drip(server_out, client_in));
        });
        let (mut client, mut server) = pair_over(version, server, Some(address)).await;
        let (data, mut buffer) = (noise(5000), vec![0; 5000]);
        let (sent, received) = tokio::join!(client.write_all(&data), server.read_exact(&mut buffer));
        assert!(sent.is_ok() && received.is_ok() && buffer == data);
        let (sent, received) = tokio::join!(server.write_all(&data), client.read_exact(&mut buffer));
        assert!(sent.is_ok() && received.is_ok() && buffer == data);
        relaying.abort();
    }
}

#[tokio::test]
async fn a_connection_that_waits_holds_no_buffers() {
    for version in VERSIONS {
        let (mut client, mut server) = pair(version).await;
        let (data, mut buffer) = (noise(100_000), vec![0; 100_000]);
        for _ in 0..3 {
            let (sent, received) = tokio::join!(client.write_all(&data), server.read_exact(&mut buffer));
            assert!(sent.is_ok() && received.is_ok());
            let (sent, received) = tokio::join!(server.write_all(b"x"), client.read_u8());
            assert!(sent.is_ok() && received.is_ok());
        }
        assert_eq!((held(&client), held(&server)), (0, 0));
    }
}

#[tokio::test]
async fn pieces_that_are_written_together_are_one_record() {
    let (mut client, mut server) = pair(VERSIONS[0]).await;
    let pieces = [IoSlice::new(b"head "), IoSlice::new(b""), IoSlice::new(b"body")];
    let n = std::future::poll_fn(|cx| Pin::new(&mut client).poll_write_vectored(cx, &pieces)).await.unwrap();
    assert_eq!(n, 9);
    let mut buffer = [0; 64];
    assert_eq!(server.read(&mut buffer).await.unwrap(), 9);
    assert_eq!(&buffer[..9], b"head body");
}

#[tokio::test]
async fn an_end_that_was_not_announced_is_an_error() {
    let (mut client, mut server) = pair(VERSIONS[0]).await;
    client.io.tcp.shutdown().await.unwrap();
    let error = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn bytes_that_nobody_sealed_are_an_error_and_the_peer_hears_of_it() {
    let (mut client, mut server) = pair(VERSIONS[0]).await;
    let forged = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    client.io.tcp.write_all(&forged).await.unwrap();
    let error = server.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_the_writer_up() {
    let (mut client, mut server) = pair(VERSIONS[0]).await;
    let data = noise(32 << 20);
    let mut written = 0;
    while let Ok(result) =
        tokio::time::timeout(Duration::from_millis(200), client.write(&data[written..])).await
    {
        written += result.unwrap();
        assert!(written < data.len(), "nobody reads, and everything is taken");
    }
    assert!(client.outgoing.capacity() < 256 << 10, "{}", client.outgoing.capacity());
    let mut all = vec![0; written];
    let (flushed, read) = tokio::join!(client.flush(), server.read_exact(&mut all));
    assert!(flushed.is_ok() && read.is_ok());
    assert!(all == data[..written]);
}
