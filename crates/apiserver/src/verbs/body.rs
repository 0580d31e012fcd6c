//! Bodies of requests.

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::protobuf;
use crate::server::Request;
use crate::status::{ApiError, Result};

/// No request may be larger: Kubernetes' own limit.
pub const MAX_BODY: usize = 3 * 1024 * 1024;

/// Reads the body.
///
/// # Errors
/// 413 when it is too large, 400 when the client breaks off.
pub async fn read_body(request: &mut Request) -> Result<Bytes> {
    let Some(body) = request.body.take() else {
        return Ok(Bytes::new());
    };
    match Limited::new(body, MAX_BODY).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!("Request entity too large: limit is {MAX_BODY}");
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message))
        }
        Err(error) => Err(ApiError::bad_request(format!("cannot read the request's body: {error}"))),
    }
}

/// The media type of the body, without parameters.
pub fn media_type(request: &Request) -> String {
    let header = request.head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    header.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Parses JSON or YAML.
///
/// # Errors
/// 400 with the place.
pub fn parse(bytes: &[u8], yaml: bool) -> Result<Value> {
    let parsed = serde_json::from_slice(bytes);
    match parsed {
        Ok(value) => Ok(value),
        Err(_) if yaml => {
            let text = std::str::from_utf8(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?;
            serde_saphyr::from_str(text)
                .map_err(|e| ApiError::bad_request(format!("error decoding from yaml: {e}")))
        }
        Err(error) => Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type object): couldn't get version/kind; json parse \
             error: {error}"
        ))),
    }
}

/// What stands in the body, in any form that is spoken; null where there is no body.
///
/// # Errors
/// 400 when it cannot be read, 413 when it is too large, 415 for a form that is not spoken.
pub async fn value(request: &mut Request) -> Result<Value> {
    let media = media_type(request);
    let bytes = read_body(request).await?;
    match media.as_str() {
        _ if bytes.is_empty() => Ok(Value::Null),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(&bytes)
            .map_err(|error| ApiError::bad_request(format!("cannot read the body as protobuf: {error}"))),
        "application/cbor" => {
            let message = "the body of the request was in an unknown format - accepted media types include: \
                application/json, application/yaml, application/vnd.kubernetes.protobuf";
            Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", message))
        }
        _ => parse(&bytes, media.ends_with("yaml")),
    }
}

/// The object in the body.
///
/// # Errors
/// As [`value`]; 400 when there is none.
pub async fn object(request: &mut Request) -> Result<Value> {
    let value = value(request).await?;
    if value.is_object() { Ok(value) } else { Err(ApiError::bad_request("the body must be an object")) }
}
