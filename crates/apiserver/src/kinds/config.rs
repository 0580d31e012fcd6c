//! ConfigMaps, Secrets and ServiceAccounts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::object;
use crate::registry::Behaviour;
use crate::status::{FieldError, Reason};
use crate::table::{AGE, Column, col, num};

/// ConfigMaps.
pub static CONFIG_MAP: Behaviour = Behaviour {
    validate: check_size,
    validate_update: immutable,
    columns: &[num("Data"), AGE],
    row: |object| vec![(entries(object, "data") + entries(object, "binaryData")).into()],
    ..Behaviour::PLAIN
};

/// Secrets.
pub static SECRET: Behaviour = Behaviour {
    default: default_secret,
    validate: check_secret,
    validate_update: immutable_secret,
    fields: |object| vec![("type", object::text(object, &["type"]).to_owned())],
    columns: SECRET_COLUMNS,
    row: |object| vec![object::text(object, &["type"]).into(), entries(object, "data").into()],
    ..Behaviour::PLAIN
};

const SECRET_COLUMNS: &[Column] = &[col("Type"), num("Data"), AGE];

/// ServiceAccounts.
pub static SERVICE_ACCOUNT: Behaviour = Behaviour {
    columns: &[num("Secrets"), AGE],
    row: |object| vec![object::list(object, &["secrets"]).len().into()],
    ..Behaviour::PLAIN
};

/// The most that the values of a ConfigMap or Secret may hold.
const MOST: usize = 1024 * 1024;

fn entries(object: &Value, field: &str) -> usize {
    object.get(field).and_then(Value::as_object).map_or(0, |map| map.len())
}

fn default_secret(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    object::default(map, "type", "Opaque");
    // stringData is written only: it ends up in data.
    if let Some(Value::Object(plain)) = map.shift_remove("stringData") {
        let data = object::map_mut(object, &["data"]);
        for (key, value) in plain {
            data.insert(key, STANDARD.encode(value.as_str().unwrap_or_default()).into());
        }
    }
}

fn check_size(object: &Value, errors: &mut Vec<FieldError>) {
    let mut size = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
            size += value.as_str().map_or(0, str::len);
            let ok = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if key.is_empty() || key.len() > 253 || !key.chars().all(ok) || key == "." || key == ".." {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                    'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                errors.push(FieldError::invalid(format!("{field}[{key}]"), key.as_str(), detail));
            }
        }
    }
    if size > MOST {
        errors.push(FieldError::new("", Reason::TooLong, format!("may not be more than {MOST} bytes")));
    }
}

fn check_secret(object: &Value, errors: &mut Vec<FieldError>) {
    check_size(object, errors);
    let needed: &[&str] = match object::text(object, &["type"]) {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed {
        if object.get("data").and_then(|data| data.get(key)).is_none() {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
}

fn immutable(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    if old.get("immutable").and_then(Value::as_bool) != Some(true) {
        return;
    }
    let mut refuse =
        |field: &str, detail: &str| errors.push(FieldError::new(field, Reason::Forbidden, detail));
    if new.get("immutable").and_then(Value::as_bool) != Some(true) {
        refuse("immutable", "field is immutable when `immutable` is set");
    }
    for field in ["data", "binaryData"] {
        if old.get(field) != new.get(field) {
            refuse(field, "field is immutable when `immutable` is set");
        }
    }
}

fn immutable_secret(old: &Value, new: &Value, errors: &mut Vec<FieldError>) {
    immutable(old, new, errors);
    if old.get("type") != new.get("type") {
        errors.push(FieldError::invalid("type", new["type"].clone(), "field is immutable"));
    }
}
