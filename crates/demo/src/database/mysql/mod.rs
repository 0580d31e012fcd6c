//! MySQL and MariaDB: log in with a password, ask, read rows (MySQL Internals: "Client/Server Protocol", text protocol).
//!
//! Without TLS: between pods, that is the mesh's part.

mod login;
mod packet;

use anyhow::{Context, bail, ensure};
use tokio::net::TcpStream;

use super::{Address, in_time};
use packet::{Fields, Packets};

/// The most rows that an answer may have.
const MAX_ROWS: usize = 10_000;
/// The most columns that an answer may have (MySQL's own limit).
const MAX_COLUMNS: u64 = 4096;
const COM_QUERY: u8 = 3;
const ERR: u8 = 0xff;
const EOF: u8 = 0xfe;

/// A row: its columns as text; `None` for NULL.
pub type Row = Vec<Option<String>>;

/// A database and who asks.
#[derive(Clone)]
pub struct Account {
    /// Where the server is.
    pub address: Address,
    /// The user.
    pub user: String,
    /// The user's password; may be empty.
    pub password: String,
    /// The database.
    pub database: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}:{}/{}", self.user, self.address.host, self.address.port, self.database)
    }
}

/// Logs in, runs one statement, and gives its rows.
///
/// # Errors
/// When the server cannot be reached, does not answer within five seconds, or refuses the login or the statement.
pub async fn query(account: &Account, statement: &str) -> anyhow::Result<Vec<Row>> {
    let what = || format!("MySQL at {}:{}", account.address.host, account.address.port);
    in_time(what, async {
        let stream = TcpStream::connect((account.address.host.as_str(), account.address.port)).await?;
        stream.set_nodelay(true)?;
        let mut packets = Packets::new(stream);
        login::login(&mut packets, account).await.context("log in")?;
        packets.restart();
        packets.write(&[&[COM_QUERY], statement.as_bytes()].concat()).await?;
        rows(&mut packets).await
    })
    .await
}

/// Text as a literal that can hold nothing but text, whatever the server's modes of quoting are.
pub fn literal(text: &str) -> String {
    let digits: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("X'{digits}'")
}

async fn rows(packets: &mut Packets<TcpStream>) -> anyhow::Result<Vec<Row>> {
    let first = packets.read().await?;
    let columns = match first.first() {
        Some(0) => return Ok(Vec::new()),
        Some(&ERR) => return Err(refused(&first)),
        _ => Fields::new(&first).length()?,
    };
    ensure!((1..=MAX_COLUMNS).contains(&columns), "an answer of {columns} columns");
    for _ in 0..columns {
        packets.read().await?;
    }
    ensure!(is_eof(&packets.read().await?), "the columns do not end where they should");
    let mut rows = Vec::new();
    loop {
        let packet = packets.read().await?;
        if packet.first() == Some(&ERR) {
            return Err(refused(&packet));
        }
        if is_eof(&packet) {
            return Ok(rows);
        }
        if rows.len() == MAX_ROWS {
            bail!("the answer has more than {MAX_ROWS} rows");
        }
        let mut fields = Fields::new(&packet);
        rows.push((0..columns).map(|_| fields.text()).collect::<anyhow::Result<Row>>()?);
    }
}

/// An EOF packet is short; a long one that begins so is a row with a very long first column.
fn is_eof(packet: &[u8]) -> bool {
    packet.first() == Some(&EOF) && packet.len() < 9
}

/// What the server says in an error packet: number, SQL state, words.
fn refused(packet: &[u8]) -> anyhow::Error {
    let code = packet.get(1..3).map_or(0, |two| u16::from_le_bytes([two[0], two[1]]));
    let words = packet.get(3..).unwrap_or_default();
    let words = if words.first() == Some(&b'#') { words.get(6..).unwrap_or_default() } else { words };
    anyhow::anyhow!("it refused: {} (error {code})", String::from_utf8_lossy(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_holds_nothing_but_text() {
        assert_eq!(literal("Cats"), "X'43617473'");
        assert_eq!(literal("'; DROP"), "X'273b2044524f50'");
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let packet = b"\xff\x15\x04#28000Access denied for user 'a'";
        assert_eq!(refused(packet).to_string(), "it refused: Access denied for user 'a' (error 1045)");
        assert_eq!(refused(b"\xff").to_string(), "it refused:  (error 0)");
    }

    #[test]
    fn a_password_is_not_shown() {
        let address = Address { host: "db".into(), port: 3306 };
        let account = Account { address, user: "u".into(), password: "secret".into(), database: "d".into() };
        assert_eq!(format!("{account:?}"), "u at db:3306/d");
    }
}
