//! A client's first message, which decides how the handshake goes on.

use std::io;

use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http::io::Prefixed;

/// Bytes that one read takes: most messages fit.
const READ: usize = 2 << 10;

/// Reads a ClientHello; gives it, and all bytes that were read.
///
/// # Errors
/// It is none, which the client is told, or the connection ends before it is complete.
pub(super) async fn read(io: &mut Prefixed) -> io::Result<(Accepted, Vec<u8>)> {
    let (mut acceptor, mut bytes) = (Acceptor::default(), Vec::new());
    loop {
        let seen = bytes.len();
        bytes.reserve(READ);
        if io.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "tls handshake eof"));
        }
        let mut more = &bytes[seen..];
        while !more.is_empty() {
            acceptor.read_tls(&mut more)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok((accepted, bytes)),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut answer = Vec::new();
                    alert.write_all(&mut answer)?;
                    // Why it is refused matters more than whether the client hears of it.
                    let _ = io.write_all(&answer).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}
