//! Redis: commands and their replies in RESP2 (redis.io: "Redis serialization protocol specification").

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::{Address, in_time};

/// The longest line and the longest value that are read, in bytes.
const MAX: u64 = 64 * 1024;

/// What Redis answers, as far as commands on single values go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A simple string: `OK`.
    Simple(String),
    /// A number.
    Integer(i64),
    /// A value; `None` where there is none.
    Bulk(Option<String>),
}

/// Sends one command over a connection of its own.
///
/// # Errors
/// When Redis cannot be reached, does not answer within five seconds, refuses the command, or answers with anything
/// that is no single value.
pub async fn command(address: &Address, words: &[&str]) -> anyhow::Result<Reply> {
    let what = || format!("Redis at {}:{}", address.host, address.port);
    in_time(what, async {
        let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let mut stream = BufReader::new(stream);
        stream.write_all(&encode(words)).await?;
        read(&mut stream).await
    })
    .await
}

fn encode(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    out
}

async fn read(stream: &mut (impl AsyncBufRead + Unpin)) -> anyhow::Result<Reply> {
    let mut line = String::new();
    (&mut *stream).take(MAX).read_line(&mut line).await?;
    let Some(line) = line.strip_suffix("\r\n") else { bail!("the connection was closed") };
    let kind = line.chars().next().context("an empty reply")?;
    let rest = &line[kind.len_utf8()..];
    let number = || rest.parse::<i64>().with_context(|| format!("the reply {line:?} has no number"));
    Ok(match kind {
        '+' => Reply::Simple(rest.to_owned()),
        '-' => bail!("it refused: {rest}"),
        ':' => Reply::Integer(number()?),
        '$' => match number()? {
            -1 => Reply::Bulk(None),
            length => Reply::Bulk(Some(bulk(stream, length).await?)),
        },
        _ => bail!("the reply {line:?} is not Redis'"),
    })
}

async fn bulk(stream: &mut (impl AsyncBufRead + Unpin), length: i64) -> anyhow::Result<String> {
    let length = u64::try_from(length).ok().filter(|length| *length <= MAX);
    let length = length.context("a value is too long")?;
    let mut value = vec![0; usize::try_from(length)? + 2];
    stream.read_exact(&mut value).await?;
    ensure!(value.ends_with(b"\r\n"), "a value has another length than it says");
    value.truncate(value.len() - 2);
    String::from_utf8(value).context("a value is not text")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reply(bytes: &[u8]) -> anyhow::Result<Reply> {
        read(&mut BufReader::new(bytes)).await
    }

    #[test]
    fn a_command_is_an_array_of_its_words() {
        assert_eq!(encode(&["GET", "Kätzchen"]), "*2\r\n$3\r\nGET\r\n$9\r\nKätzchen\r\n".as_bytes());
    }

    #[tokio::test]
    async fn replies_are_read_by_their_kind() {
        assert_eq!(reply(b"+OK\r\n").await.unwrap(), Reply::Simple("OK".into()));
        assert_eq!(reply(b":7\r\n").await.unwrap(), Reply::Integer(7));
        assert_eq!(reply(b"$2\r\n12\r\n").await.unwrap(), Reply::Bulk(Some("12".into())));
        assert_eq!(reply(b"$-1\r\n").await.unwrap(), Reply::Bulk(None));
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for bytes in [
            "",
            "\r\n",
            "-ERR no\r\n",
            ":x\r\n",
            "$5\r\nab",
            "$99999999\r\n",
            "$-2\r\n",
            "$1\r\nab\r",
            "*0\r\n",
        ] {
            assert!(reply(bytes.as_bytes()).await.is_err(), "{bytes:?}");
        }
        let refused = reply(b"-WRONGTYPE that is a list\r\n").await.unwrap_err().to_string();
        assert!(refused.contains("that is a list"), "{refused}");
    }
}
