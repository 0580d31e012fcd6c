//! Kubernetes' rules for names, labels and annotations.

use serde_json::Value;

use crate::object;
use crate::status::FieldError;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must \
     start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const LABEL_1035: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
     alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
     validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or \
     '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
     '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
     and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
     for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end \
     with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

fn ends(text: &str) -> bool {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    edge(text.chars().next()) && edge(text.chars().next_back())
}

fn lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'
}

/// What is wrong with a DNS-1123 label.
pub fn label(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    (!ends(text) || !text.chars().all(lower)).then(|| LABEL.into())
}

/// What is wrong with a DNS-1035 label.
pub fn label_1035(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    let letter = text.starts_with(|c: char| c.is_ascii_lowercase());
    (!letter || !ends(text) || !text.chars().all(lower)).then(|| LABEL_1035.into())
}

/// What is wrong with a DNS-1123 subdomain.
pub fn subdomain(text: &str) -> Option<String> {
    if text.len() > 253 {
        return Some("must be no more than 253 bytes".into());
    }
    let part = |part: &str| ends(part) && part.chars().all(lower);
    (!text.split('.').all(part)).then(|| SUBDOMAIN.into())
}

fn path_segment(text: &str) -> Option<String> {
    match text {
        "." => Some("may not be '.'".into()),
        ".." => Some("may not be '..'".into()),
        _ if text.contains('/') => Some("may not contain '/'".into()),
        _ if text.contains('%') => Some("may not contain '%'".into()),
        _ => None,
    }
}

fn word(text: &str) -> bool {
    ends(text) && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

fn qualified(text: &str) -> Option<String> {
    let (prefix, name) = text.split_once('/').map_or((None, text), |(p, n)| (Some(p), n));
    if let Some(error) = prefix.and_then(subdomain) {
        return Some(format!("prefix part {error}"));
    }
    if name.len() > 63 {
        return Some("name part must be no more than 63 bytes".into());
    }
    (!word(name)).then(|| QUALIFIED.into())
}

/// What is wrong with a host name that begins with a wildcard.
pub fn wildcard(text: &str) -> Option<String> {
    let good = text.strip_prefix("*.").is_some_and(|rest| subdomain(rest).is_none());
    (!good).then(|| {
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of \
         lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', \
         regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
            .to_owned()
    })
}

/// What is wrong with a label's value.
pub fn label_value(text: &str) -> Option<String> {
    if text.len() > 63 {
        return Some("must be no more than 63 bytes".into());
    }
    (!text.is_empty() && !word(text)).then(|| VALUE.into())
}

/// Which rule an object's name follows.
fn name_rule(group: &str, plural: &str, path_names: bool) -> fn(&str) -> Option<String> {
    match (group, plural) {
        _ if path_names => path_segment,
        ("", "services") => label_1035,
        ("", "namespaces") => label,
        _ => subdomain,
    }
}

/// Checks the `metadata` that all objects share.
pub fn metadata(group: &str, plural: &str, path_names: bool, object: &Value, errors: &mut Vec<FieldError>) {
    let name = object::name(object);
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else if let Some(error) = name_rule(group, plural, path_names)(name) {
        errors.push(FieldError::invalid("metadata.name", name, error));
    }
    labels(object, &["metadata", "labels"], "metadata.labels", errors);
    let annotations = object::at(object, &["metadata", "annotations"]).and_then(Value::as_object);
    let mut size = 0;
    for (key, value) in annotations.into_iter().flatten() {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Some(error) = qualified(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", key.as_str(), error));
        }
    }
    if size > 256 * 1024 {
        let detail = "may not be more than 262144 bytes";
        errors.push(FieldError::new("metadata.annotations", crate::status::Reason::TooLong, detail));
    }
    for (index, finalizer) in object::list(object, &["metadata", "finalizers"]).iter().enumerate() {
        if let Some(error) = qualified(finalizer.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                finalizer.clone(),
                error,
            ));
        }
    }
    for (index, owner) in object::list(object, &["metadata", "ownerReferences"]).iter().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if object::text(owner, &[field]).is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                errors.push(FieldError::invalid(path, "", format!("{field} must not be empty")));
            }
        }
    }
}

/// Checks a map of labels.
pub fn labels(object: &Value, path: &[&str], shown: &str, errors: &mut Vec<FieldError>) {
    for (key, value) in object::at(object, path).and_then(Value::as_object).into_iter().flatten() {
        if let Some(error) = qualified(key) {
            errors.push(FieldError::invalid(shown, key.as_str(), error));
        }
        if let Some(error) = label_value(value.as_str().unwrap_or_default()) {
            errors.push(FieldError::invalid(shown, value.clone(), error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_their_rules() {
        assert!(
            label("a-1").is_none() && label("-a").is_some() && label("A").is_some() && label("").is_some()
        );
        assert!(label_1035("a1").is_none() && label_1035("1a").is_some());
        assert!(subdomain("a.b-c").is_none() && subdomain("a..b").is_some() && subdomain("a_b").is_some());
        assert!(qualified("example.com/A_b").is_none() && qualified("a/b/c").is_some());
        assert!(label_value("").is_none() && label_value("v1.2").is_none() && label_value("a b").is_some());
        assert!(path_segment("system:x").is_none() && path_segment("a/b").is_some());
    }
}
