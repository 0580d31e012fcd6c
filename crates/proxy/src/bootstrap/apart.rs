//! Reading the bootstrap in a process of its own.
//!
//! The descriptors of Envoy's messages that YAML and JSON need, and the code that walks them, are several times what an
//! idle proxy occupies. A short-lived process reads the text and hands over the encoded message.

use std::io::Write;
use std::process::{Command, Stdio};

use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use prost::Message as _;

use super::{BootstrapError, Options, load};

/// The reading end: loads the bootstrap that the options name and writes it to standard output, encoded.
///
/// # Errors
/// As [`load`], and what standard output refuses.
pub fn write_encoded(options: &Options) -> Result<(), BootstrapError> {
    let encoded = load(options)?.encode_to_vec();
    std::io::stdout().write_all(&encoded)?;
    Ok(())
}

/// Runs `reader`, whose process ends in [`write_encoded`], and takes the bootstrap from it.
///
/// # Errors
/// The process cannot be started, or what it says on standard error when it refuses the bootstrap.
pub fn read_apart(reader: &mut Command) -> Result<Bootstrap, BootstrapError> {
    let output = reader.stdin(Stdio::null()).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.trim().trim_start_matches("Error: ");
        return Err(BootstrapError::Refused(if reason.is_empty() {
            format!("the process that reads the bootstrap ended with {}", output.status)
        } else {
            reason.to_owned()
        }));
    }
    Bootstrap::decode(output.stdout.as_slice())
        .map_err(|error| BootstrapError::Decode { path: "the encoded bootstrap".to_owned(), error })
}
