//! TLS transport sockets and secrets.

mod common;
mod secret;
mod validation;

pub use secret::secret;

use std::sync::Arc;
use std::time::Duration;

use lateen_xds::pb::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use prost::Name as _;

use super::cluster::TransportOptions;
use super::pb::{core, tls};
use super::{At, Context, Converted, any, take, values};
use crate::tls::{SecretSlot, ServerOptions, TlsClient, TlsServer, Trust};
use tls::{CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext};

/// Secrets that a resource waits for, and how long (zero: for ever).
pub type WaitsForSecrets = Vec<(Arc<SecretSlot>, Duration)>;

/// The wait for all of them: the longest; zero waits for ever.
pub(crate) fn longest_wait(waits: &[(Arc<SecretSlot>, Duration)]) -> Duration {
    let times = || waits.iter().map(|(_, wait)| *wait);
    if times().any(|wait| wait.is_zero()) { Duration::ZERO } else { times().max().unwrap_or_default() }
}

/// What reading a context needs beside the message.
pub(super) struct Reader<'a> {
    pub(super) context: &'a Context,
    pub(super) waits: &'a mut WaitsForSecrets,
}

/// Reads an upstream transport socket; none for plain text.
pub(super) fn client(
    socket: &core::TransportSocket,
    options: &TransportOptions,
    reader: &mut Reader<'_>,
    at: &At<'_>,
) -> Converted<Option<Arc<TlsClient>>> {
    let Some(config) = typed(socket, at)? else { return Ok(None) };
    let at = at.field("typed_config");
    let context: UpstreamTlsContext = any::expect(config, &at)?;
    take!(&context, at, UpstreamTlsContext {
        common_tls_context, sni, auto_host_sni, auto_sni_san_validation, max_session_keys,
    } ignore { allow_renegotiation, enforce_rsa_key_usage });
    let at = at.field("common_tls_context");
    let default = CommonTlsContext::default();
    let mut common = common::read(common_tls_context.as_ref().unwrap_or(&default), reader, &at)?;
    if let Trust::Fixed(validation) = &common.trust
        && !validation.verifies()
    {
        // As Envoy: a context without authorities verifies nothing, and so it cannot match names either.
        if !validation.sans.is_empty() {
            return Err(at.field("validation_context").field("trusted_ca").missing());
        }
        common.trust = Trust::Anyone;
    }
    if common.identities.fixed.len() + common.identities.secrets.len() > 1 {
        return Err(at.field("tls_certificates").error("a client shows at most one certificate"));
    }
    if common.alpn.is_empty() {
        common.alpn = options.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    }
    let mut client = TlsClient::new(common);
    client.server_name = Some(sni.as_str()).filter(|sni| !sni.is_empty()).map(Into::into);
    client.auto_sni.clone_from(&options.auto_sni);
    client.host_sni = *auto_host_sni;
    client.verify_name = options.auto_san_validation || *auto_sni_san_validation;
    client.resume = values::u32_or(max_session_keys, 1) > 0;
    client.start().map(Some).map_err(|reason| at.error(reason))
}

/// Reads a downstream transport socket; none for plain text.
pub(super) fn server(
    socket: &core::TransportSocket,
    reader: &mut Reader<'_>,
    at: &At<'_>,
) -> Converted<Option<Arc<TlsServer>>> {
    use tls::downstream_tls_context::SessionTicketKeysType;
    let Some(config) = typed(socket, at)? else { return Ok(None) };
    let at = at.field("typed_config");
    let context: DownstreamTlsContext = any::expect(config, &at)?;
    take!(&context, at, DownstreamTlsContext {
        common_tls_context, require_client_certificate, require_sni, disable_stateful_session_resumption,
        prefer_client_ciphers, session_ticket_keys_type, ocsp_staple_policy,
    } ignore { session_timeout, full_scan_certs_on_sni_mismatch });
    let mut options = ServerOptions {
        require_client_certificate: values::bool_or(require_client_certificate, false),
        require_sni: values::bool_or(require_sni, false),
        client_order: *prefer_client_ciphers,
        stored_sessions: !disable_stateful_session_resumption,
        ..ServerOptions::default()
    };
    match session_ticket_keys_type {
        None | Some(SessionTicketKeysType::DisableStatelessSessionResumption(false)) => {}
        Some(SessionTicketKeysType::DisableStatelessSessionResumption(true)) => options.tickets = false,
        Some(_) => {
            return Err(at
                .field("session_ticket_keys")
                .error("is not supported: keys of tickets are made here, and change by themselves"));
        }
    }
    if *ocsp_staple_policy != 0 {
        return Err(at.field("ocsp_staple_policy").unsupported("a policy other than LENIENT_STAPLING"));
    }
    let at = at.field("common_tls_context");
    let common = common::read(common_tls_context.as_ref().ok_or_else(|| at.missing())?, reader, &at)?;
    if common.identities.fixed.is_empty() && common.identities.secrets.is_empty() {
        return Err(at.field("tls_certificates").missing());
    }
    if let Trust::Fixed(validation) = &common.trust
        && !validation.verifies()
        && !validation.accept_untrusted
    {
        return Err(at.field("validation_context").field("trusted_ca").missing());
    }
    TlsServer::new(common, options).map(Some).map_err(|reason| at.error(reason))
}

/// The configuration of a transport socket; none for plain text.
fn typed<'a>(
    socket: &'a core::TransportSocket,
    at: &At<'_>,
) -> Converted<Option<&'a super::pb::protobuf::Any>> {
    match &socket.config_type {
        Some(core::transport_socket::ConfigType::TypedConfig(config)) => {
            Ok((any::name(config) != RawBuffer::full_name()).then_some(config))
        }
        None if socket.name == "envoy.transport_sockets.raw_buffer" => Ok(None),
        None => Err(at.field("typed_config").missing()),
    }
}
