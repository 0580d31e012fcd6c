//! `envoy.extensions.transport_sockets.tls.v3.Secret`.

use std::sync::Arc;

use super::super::pb::tls;
use super::super::{At, Converted, take, values};
use super::validation;
use crate::tls::{Certificate, Part, Secret};

/// Converts a secret.
///
/// # Errors
/// The path of the field that cannot be used: text that is not PEM, a key that is not the certificate's, a validation
/// context by which nothing would be verified.
pub fn secret(message: &tls::Secret) -> Converted<Secret> {
    use tls::Secret as Message;
    use tls::secret::Type;
    let at = &At::root("secret");
    let Message { name: _, r#type } = message;
    match r#type.as_ref().ok_or_else(|| at.field("tls_certificate").missing())? {
        Type::TlsCertificate(inner) => {
            Ok(Secret::Certificate(Arc::new(certificate(inner, &at.field("tls_certificate"))?)))
        }
        Type::ValidationContext(inner) => {
            let at = at.field("validation_context");
            let read = validation::read(inner, &at)?;
            if !read.verifies() && !read.accept_untrusted {
                return Err(at.field("trusted_ca").missing());
            }
            Ok(Secret::Validation(Arc::new(read)))
        }
        Type::GenericSecret(inner) => {
            let at = at.field("generic_secret");
            let field = at.field("secret");
            if !inner.secrets.is_empty() {
                return Err(at.field("secrets").error("is not supported"));
            }
            let source = inner.secret.as_ref().ok_or_else(|| field.missing())?;
            Ok(Secret::Generic(values::data_source(source, &field)?.into()))
        }
        Type::SessionTicketKeys(_) => Err(at
            .field("session_ticket_keys")
            .error("is not supported: keys of tickets are made here, and change by themselves")),
    }
}

pub(super) fn certificate(message: &tls::TlsCertificate, at: &At<'_>) -> Converted<Certificate> {
    use tls::TlsCertificate;
    take!(message, at, TlsCertificate { certificate_chain, private_key } ignore {
        watched_directory, ocsp_staple, signed_certificate_timestamp, tls_params,
    } refuse { pkcs12, private_key_provider, password });
    let (chain_at, key_at) = (at.field("certificate_chain"), at.field("private_key"));
    let chain =
        values::data_source(certificate_chain.as_ref().ok_or_else(|| chain_at.missing())?, &chain_at)?;
    let key = values::data_source(private_key.as_ref().ok_or_else(|| key_at.missing())?, &key_at)?;
    Certificate::from_pem(&chain, &key).map_err(|(part, reason)| match part {
        Part::Chain => chain_at.error(reason),
        Part::Key => key_at.error(reason),
    })
}
