//! Logging in: the server's greeting, our answer, and the password as `mysql_native_password` has it.

use anyhow::{bail, ensure};
use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use tokio::io::{AsyncRead, AsyncWrite};

use super::packet::{Fields, Packets};
use super::{Account, EOF, ERR, refused};

const NATIVE: &[u8] = b"mysql_native_password";
/// How many bytes the server's challenge has.
const CHALLENGE: usize = 20;
const UTF8MB4: u8 = 45;

const LONG_PASSWORD: u32 = 1;
const CONNECT_WITH_DB: u32 = 1 << 3;
const PROTOCOL_41: u32 = 1 << 9;
const SECURE_CONNECTION: u32 = 1 << 15;
const PLUGIN_AUTH: u32 = 1 << 19;
const CAPABILITIES: u32 = LONG_PASSWORD | CONNECT_WITH_DB | PROTOCOL_41 | SECURE_CONNECTION | PLUGIN_AUTH;

pub(super) async fn login<S>(packets: &mut Packets<S>, account: &Account) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let challenge = greeting(&packets.read().await?)?;
    packets.write(&response(account, &challenge)).await?;
    let mut answer = packets.read().await?;
    if answer.first() == Some(&EOF) {
        // The server wants another way than the one that it greeted with.
        let mut fields = Fields::new(&answer[1..]);
        let plugin = fields.until_nul();
        ensure!(
            plugin == NATIVE,
            "the server wants the authentication plugin {:?}; create the user with mysql_native_password",
            String::from_utf8_lossy(plugin)
        );
        let challenge = fields.rest();
        packets.write(&scramble(&account.password, challenge.get(..CHALLENGE).unwrap_or(challenge))).await?;
        answer = packets.read().await?;
    }
    match answer.first() {
        Some(0) => Ok(()),
        Some(&ERR) => Err(refused(&answer)),
        _ => bail!("the server goes on with an authentication that this client does not know"),
    }
}

/// The challenge of the server's greeting (`HandshakeV10`).
fn greeting(packet: &[u8]) -> anyhow::Result<Vec<u8>> {
    if packet.first() == Some(&ERR) {
        return Err(refused(packet));
    }
    let mut fields = Fields::new(packet);
    let version = fields.byte()?;
    ensure!(version == 10, "it speaks version {version} of MySQL's protocol, or another protocol");
    fields.until_nul();
    fields.take(4)?;
    let mut challenge = fields.take(8)?.to_vec();
    // Filler, capabilities, character set, status, capabilities, length of the challenge, reserved.
    fields.take(1 + 2 + 1 + 2 + 2 + 1 + 10)?;
    challenge.extend_from_slice(fields.take(CHALLENGE - 8)?);
    Ok(challenge)
}

/// `HandshakeResponse41`.
fn response(account: &Account, challenge: &[u8]) -> Vec<u8> {
    let mut out = CAPABILITIES.to_le_bytes().to_vec();
    out.extend_from_slice(&0x00ff_ffff_u32.to_le_bytes());
    out.push(UTF8MB4);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(account.user.as_bytes());
    out.push(0);
    let proof = scramble(&account.password, challenge);
    // A SHA-1, or nothing: one byte of length is enough.
    out.push(if proof.is_empty() { 0 } else { 20 });
    out.extend_from_slice(&proof);
    out.extend_from_slice(account.database.as_bytes());
    out.push(0);
    out.extend_from_slice(NATIVE);
    out.push(0);
    out
}

/// SHA1(password) XOR SHA1(challenge + SHA1(SHA1(password))); nothing for an empty password.
fn scramble(password: &str, challenge: &[u8]) -> Vec<u8> {
    if password.is_empty() {
        return Vec::new();
    }
    let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
    let once = sha1(password.as_bytes());
    let twice = sha1(once.as_ref());
    let mask = sha1(&[challenge, twice.as_ref()].concat());
    once.as_ref().iter().zip(mask.as_ref()).map(|(a, b)| a ^ b).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(password: &str) -> Account {
        let address = super::super::Address { host: "db".into(), port: 3306 };
        Account { address, user: "u".into(), password: password.into(), database: "d".into() }
    }

    fn greet() -> Vec<u8> {
        [b"\x0a10.11.6\0\x01\0\0\0abcdefgh".as_slice(), &[0; 19], b"ijklmnopqrst\0", NATIVE, b"\0"].concat()
    }

    #[test]
    fn the_challenge_is_in_two_parts_of_the_greeting() {
        assert_eq!(greeting(&greet()).unwrap(), b"abcdefghijklmnopqrst");
        let error = greeting(b"HTTP/1.1 400").unwrap_err().to_string();
        assert!(error.contains("another protocol"), "{error}");
        for end in 0..40 {
            assert!(greeting(&greet()[..end]).is_err());
        }
    }

    #[test]
    fn a_server_can_check_the_proof_with_what_it_keeps() {
        let challenge = b"abcdefghijklmnopqrst";
        let proof = scramble("secret", challenge);
        // The server keeps SHA1(SHA1(password)): it takes the mask away, hashes, and compares.
        let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec();
        let kept = sha1(&sha1(b"secret"));
        let mask = sha1(&[challenge.as_slice(), &kept].concat());
        let once: Vec<u8> = proof.iter().zip(mask).map(|(a, b)| a ^ b).collect();
        assert_eq!(sha1(&once), kept);
        assert!(scramble("", challenge).is_empty());
    }

    #[tokio::test]
    async fn an_unknown_way_to_log_in_is_named() {
        let (ours, theirs) = tokio::io::duplex(1024);
        tokio::spawn(async move {
            let mut server = Packets::new(theirs);
            server.write(&greet()).await?;
            server.read().await?;
            server.write(b"\xfecaching_sha2_password\0abcdefghijklmnopqrst\0").await
        });
        let error = login(&mut Packets::new(ours), &account("p")).await.unwrap_err().to_string();
        assert!(error.contains("caching_sha2_password"), "{error}");
    }
}
