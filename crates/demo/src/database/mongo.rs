//! MongoDB: the first documents of a collection, by one `find` in an OP_MSG (MongoDB: "Wire Protocol"; bsonspec.org).

use anyhow::{Context, bail, ensure};
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Address, in_time};

/// The largest message that is read, in bytes.
const MAX_MESSAGE: usize = 1024 * 1024;
/// How deep documents may lie in documents.
const MAX_DEPTH: usize = 16;
const OP_MSG: u32 = 2013;
const HEADER: usize = 16;

/// A database of a server that lets everybody in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Database {
    /// Where the server is.
    pub address: Address,
    /// The database's name.
    pub name: String,
}

impl Database {
    /// From a URL: `mongodb://HOST:PORT/DATABASE`.
    ///
    /// # Errors
    /// When the URL is another, or names a user: this client does not log in.
    pub fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = url.strip_prefix("mongodb://").context("the URL must be mongodb://HOST:PORT/DATABASE")?;
        ensure!(!rest.contains('@'), "the URL names a user, and this client does not log in");
        let (host, name) = rest.split_once('/').unwrap_or((rest, ""));
        let name = name.split('?').next().filter(|name| !name.is_empty()).unwrap_or("test").to_owned();
        let (host, port) = match host.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().context("the URL's port is none")?),
            None => (host, 27017),
        };
        Ok(Self { address: Address { host: host.to_owned(), port }, name })
    }
}

/// At most `limit` documents of a collection, in the order that the server has them.
///
/// # Errors
/// When the server cannot be reached, does not answer within five seconds, or refuses.
pub async fn find(database: &Database, collection: &str, limit: u16) -> anyhow::Result<Vec<Value>> {
    let Address { host, port } = &database.address;
    in_time(|| format!("MongoDB at {host}:{port}"), async {
        let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&request(database, collection, limit)).await?;
        let mut head = [0; HEADER];
        stream.read_exact(&mut head).await.context("the connection was closed")?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = usize::try_from(word(0))?;
        ensure!(
            word(12) == OP_MSG && (HEADER..=MAX_MESSAGE).contains(&length),
            "that is no answer of MongoDB's"
        );
        let mut body = vec![0; length - HEADER];
        stream.read_exact(&mut body).await.context("the connection was closed")?;
        answer(&body)
    })
    .await
}

fn request(database: &Database, collection: &str, limit: u16) -> Vec<u8> {
    let mut elements = Vec::new();
    let mut element = |kind: u8, name: &str, value: &[u8]| {
        elements.push(kind);
        elements.extend_from_slice(name.as_bytes());
        elements.push(0);
        elements.extend_from_slice(value);
    };
    element(0x02, "find", &string(collection));
    element(0x03, "filter", &document(&[]));
    element(0x10, "limit", &u32::from(limit).to_le_bytes());
    element(0x08, "singleBatch", &[1]);
    element(0x02, "$db", &string(&database.name));
    let body = document(&elements);
    // Flags, and one section of kind 0.
    let message = [[0; 5].as_slice(), &body].concat();
    let mut out = Vec::new();
    for word in [length(HEADER + message.len()), 1, 0, OP_MSG] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&message);
    out
}

/// Lengths of what this client writes: a few names.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn string(text: &str) -> Vec<u8> {
    [&length(text.len() + 1).to_le_bytes(), text.as_bytes(), &[0]].concat()
}

fn document(elements: &[u8]) -> Vec<u8> {
    [&length(elements.len() + 5).to_le_bytes(), elements, &[0]].concat()
}

/// The documents of an answer to `find`.
fn answer(body: &[u8]) -> anyhow::Result<Vec<Value>> {
    let (flags, mut bytes) = body.split_at_checked(5).context("the answer is too short")?;
    ensure!(flags[4] == 0, "the answer begins with a section of kind {}", flags[4]);
    let reply = Value::Object(read_document(&mut bytes, 0)?);
    if reply.get("ok").and_then(Value::as_f64) != Some(1.0) {
        bail!("it refused: {}", reply.get("errmsg").and_then(Value::as_str).unwrap_or("without a reason"));
    }
    let batch = reply.pointer("/cursor/firstBatch").and_then(Value::as_object);
    Ok(batch.context("the answer has no documents")?.values().cloned().collect())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> anyhow::Result<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length).context("a document is cut off")?;
    *bytes = rest;
    Ok(taken)
}

fn number<const N: usize>(bytes: &mut &[u8]) -> anyhow::Result<[u8; N]> {
    Ok(take(bytes, N)?.try_into()?)
}

/// A document; arrays are documents whose names are numbers.
fn read_document(bytes: &mut &[u8], depth: usize) -> anyhow::Result<Map<String, Value>> {
    ensure!(depth < MAX_DEPTH, "documents lie too deep in documents");
    let length = usize::try_from(u32::from_le_bytes(number(bytes)?))?;
    let mut inside = take(bytes, length.checked_sub(4).context("a document is cut off")?)?;
    let mut fields = Map::new();
    loop {
        let kind = take(&mut inside, 1)?[0];
        if kind == 0 {
            return Ok(fields);
        }
        let end = inside.iter().position(|byte| *byte == 0).context("a name has no end")?;
        let name = String::from_utf8_lossy(take(&mut inside, end)?).into_owned();
        take(&mut inside, 1)?;
        fields.insert(name, value(kind, &mut inside, depth)?);
    }
}

fn value(kind: u8, bytes: &mut &[u8], depth: usize) -> anyhow::Result<Value> {
    Ok(match kind {
        0x01 => f64::from_le_bytes(number(bytes)?).into(),
        0x02 => {
            let length = usize::try_from(u32::from_le_bytes(number(bytes)?))?;
            let text = take(bytes, length)?;
            String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text)).into()
        }
        0x03 | 0x04 => read_document(bytes, depth + 1)?.into(),
        // An object's id: nothing here needs it.
        0x07 => take(bytes, 12).map(|_| Value::Null)?,
        0x08 => (take(bytes, 1)?[0] != 0).into(),
        0x0a => Value::Null,
        0x10 => i32::from_le_bytes(number(bytes)?).into(),
        0x09 | 0x11 | 0x12 => i64::from_le_bytes(number(bytes)?).into(),
        other => bail!("a field is of BSON's type {other:#04x}, which this client does not know"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: u8, name: &str, value: &[u8]) -> Vec<u8> {
        [&[kind], name.as_bytes(), &[0], value].concat()
    }

    fn message(reply: &[u8]) -> Vec<u8> {
        [[0; 5].as_slice(), &document(reply)].concat()
    }

    fn two_ratings() -> Vec<u8> {
        let rating = |stars: i32| {
            document(&[field(0x07, "_id", &[7; 12]), field(0x10, "rating", &stars.to_le_bytes())].concat())
        };
        let batch = document(&[field(3, "0", &rating(5)), field(3, "1", &rating(4))].concat());
        let cursor = document(&[field(4, "firstBatch", &batch), field(0x12, "id", &[0; 8])].concat());
        [field(3, "cursor", &cursor), field(1, "ok", &1.0_f64.to_le_bytes())].concat()
    }

    #[test]
    fn urls_name_host_port_and_database() {
        let parsed = Database::parse("mongodb://mongodb:27018/books?w=1").unwrap();
        assert_eq!(
            parsed,
            Database { address: Address { host: "mongodb".into(), port: 27018 }, name: "books".into() }
        );
        assert_eq!(Database::parse("mongodb://m").unwrap().name, "test");
        for bad in ["http://m", "mongodb://u:p@m/test", "mongodb://m:x/test"] {
            assert!(Database::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn documents_come_in_the_servers_order() {
        let found = answer(&message(&two_ratings())).unwrap();
        let ratings: Vec<_> = found.iter().map(|d| d["rating"].as_i64().unwrap()).collect();
        assert_eq!(ratings, [5, 4]);
    }

    #[test]
    fn a_request_is_one_find() {
        let database = Database::parse("mongodb://m/test").unwrap();
        let bytes = request(&database, "ratings", 2);
        assert_eq!(u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len());
        let sent = read_document(&mut &bytes[HEADER + 5..], 0).unwrap();
        let expected = serde_json::json!({"find": "ratings", "filter": {}, "limit": 2, "singleBatch": true, "$db": "test"});
        assert_eq!(Value::Object(sent), expected);
    }

    #[test]
    fn refusals_and_nonsense_are_errors() {
        let refusal = [field(1, "ok", &[0; 8]), field(2, "errmsg", &string("not allowed"))].concat();
        let error = answer(&message(&refusal)).unwrap_err().to_string();
        assert!(error.contains("not allowed"), "{error}");
        let whole = message(&two_ratings());
        for end in 0..whole.len() {
            assert!(answer(&whole[..end]).is_err(), "cut at {end}");
        }
        let deep = (0..20).fold(field(0x0a, "x", &[]), |inner, _| field(3, "x", &document(&inner)));
        assert!(answer(&message(&deep)).unwrap_err().to_string().contains("too deep"));
    }
}
