//! JSON Web Tokens (RFC 7519) and key sets (RFC 7517): reading and checking. Signatures are the library's work.

mod error;
mod keys;
mod token;

pub use error::JwtError;
pub use keys::KeySet;
pub use token::Token;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 for URLs, with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}
