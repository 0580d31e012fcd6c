//! From a container's pipes to its log.

use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::broadcast;

use super::write::{LogFile, Stream};

const CHUNK: usize = 16 << 10;

/// Copies a pipe into the log until it closes; attached clients get what comes, too.
pub(crate) async fn pump(
    pipe: PipeReader,
    stream: Stream,
    log: Arc<Mutex<LogFile>>,
    attached: broadcast::Sender<(Stream, bytes::Bytes)>,
) -> io::Result<()> {
    let mut pipe = Receiver::from_owned_fd(OwnedFd::from(pipe))?;
    let mut chunk = vec![0; CHUNK];
    loop {
        let len = pipe.read(&mut chunk).await?;
        if len == 0 {
            return Ok(());
        }
        let text = &chunk[..len];
        if attached.receiver_count() > 0 {
            // No receiver is no loss: they come and go.
            let _ = attached.send((stream, bytes::Bytes::copy_from_slice(text)));
        }
        let partial = !text.ends_with(b"\n");
        let whole = text.strip_suffix(b"\n").unwrap_or(text);
        let lines: Vec<&[u8]> = whole.split(|b| *b == b'\n').collect();
        if let Err(error) = log.lock().unwrap_or_else(PoisonError::into_inner).write(stream, &lines, partial)
        {
            tracing::warn!(%error, "a container's output is lost");
        }
    }
}
