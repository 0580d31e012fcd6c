//! HTTP/1: parsing, bodies, connections. Our own codec over `httparse`, because forwarding HTTP/1.1 to HTTP/1.1 is
//! what a mesh does most: heads are read in place and written once, with no task or channel between the two sides.

mod body;
mod conn;
mod encode;
mod parse;
pub mod server;

pub use body::{BodyKind, Frame};
pub use conn::H1Conn;
pub use encode::ResponseStyle;
pub use parse::{Limits, ParsedRequest, ParsedResponse, is_authority_byte, no_body};

/// What is wrong with a peer's HTTP/1.
#[derive(Debug, thiserror::Error)]
pub enum H1Error {
    /// The message breaks the protocol.
    #[error("{0}")]
    Malformed(&'static str),
    /// The head is too large, or has too many headers.
    #[error("headers too large")]
    TooLarge,
    /// A transfer coding that we do not know.
    #[error("unsupported transfer encoding")]
    UnsupportedCoding,
    /// The head did not come in time.
    #[error("timeout")]
    Timeout,
    /// The peer closed the connection within a message.
    #[error("connection closed within a message")]
    Truncated,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
