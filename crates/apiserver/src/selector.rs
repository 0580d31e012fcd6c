//! Label and field selectors.

use crate::kinds::names;
use crate::status::{ApiError, Result};

/// One requirement of a label selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A parsed label selector, for example `app=web,tier in (a,b),!old`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels(Vec<Requirement>);

impl Labels {
    /// Parses a selector as it stands in a query.
    ///
    /// # Errors
    /// 400 with the place that cannot be read.
    pub fn parse(text: &str) -> Result<Self> {
        split_top(text)
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(requirement)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Reads a `LabelSelector` object (`matchLabels`, `matchExpressions`).
    pub fn from_object(selector: &serde_json::Value) -> Self {
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(|m| m.as_object()).into_iter().flatten() {
            requirements
                .push(Requirement::In(key.clone(), vec![value.as_str().unwrap_or_default().to_owned()]));
        }
        for expression in crate::object::list(selector, &["matchExpressions"]) {
            let key = crate::object::text(expression, &["key"]).to_owned();
            let values = || {
                let values = crate::object::list(expression, &["values"]);
                values.iter().filter_map(|v| v.as_str()).map(str::to_owned).collect()
            };
            match crate::object::text(expression, &["operator"]) {
                "In" => requirements.push(Requirement::In(key, values())),
                "NotIn" => requirements.push(Requirement::NotIn(key, values())),
                "Exists" => requirements.push(Requirement::Exists(key)),
                _ => requirements.push(Requirement::Absent(key)),
            }
        }
        Self(requirements)
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether labels meet every requirement.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => get(key).is_some_and(|v| values.iter().any(|w| w == v)),
            Requirement::NotIn(key, values) => get(key).is_none_or(|v| values.iter().all(|w| w != v)),
            Requirement::Exists(key) => get(key).is_some(),
            Requirement::Absent(key) => get(key).is_none(),
        })
    }
}

/// Splits at commas outside parentheses.
fn split_top(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_i32, 0);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..index].trim());
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts
}

fn requirement(part: &str) -> Result<Requirement> {
    let words: Vec<&str> = part.split_whitespace().collect();
    if let [_, "in" | "notin", found, ..] = words[..]
        && !found.starts_with('(')
    {
        let message = format!("unable to parse requirement: found '{found}' expected: '('");
        return Err(ApiError::bad_request(message));
    }
    let bad = || ApiError::bad_request(format!("unable to parse requirement: {part:?}"));
    let key_ok = |key: &str| {
        let ok = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if !key.is_empty() && key.chars().all(ok) { Ok(key.to_owned()) } else { Err(bad()) }
    };
    if let Some(key) = part.strip_prefix('!') {
        return Ok(Requirement::Absent(key_ok(key.trim())?));
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(key_ok(key.trim())?, vec![label_value(key.trim(), value.trim())?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(key_ok(key.trim())?, vec![label_value(key.trim(), value.trim())?]));
    }
    if let Some((head, rest)) = part.split_once('(') {
        let values = rest.strip_suffix(')').ok_or_else(bad)?;
        let values = values.split(',').map(|v| v.trim().to_owned()).collect();
        let mut words = head.split_whitespace();
        let key = key_ok(words.next().ok_or_else(bad)?)?;
        return match words.next() {
            Some("in") => Ok(Requirement::In(key, values)),
            Some("notin") => Ok(Requirement::NotIn(key, values)),
            _ => Err(bad()),
        };
    }
    Ok(Requirement::Exists(key_ok(part)?))
}

fn label_value(key: &str, value: &str) -> Result<String> {
    match names::label_value(value) {
        None => Ok(value.to_owned()),
        Some(error) => {
            let message =
                format!("unable to parse requirement: values[0][{key}]: Invalid value: {value:?}: {error}");
            Err(ApiError::bad_request(message))
        }
    }
}

/// A parsed field selector: conjunction of `path=value` and `path!=value`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields(Vec<(String, String, bool)>);

impl Fields {
    /// Parses a selector as it stands in a query.
    ///
    /// # Errors
    /// 400 when a term has no operator.
    pub fn parse(text: &str) -> Result<Self> {
        let mut terms = Vec::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (key, value, equal) = if let Some((key, value)) = part.split_once("!=") {
                (key, value, false)
            } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (key, value, true)
            } else {
                let message =
                    format!("invalid field selector: invalid selector: {part:?}; can't understand {part:?}");
                return Err(ApiError::bad_request(message));
            };
            terms.push((key.to_owned(), value.to_owned(), equal));
        }
        Ok(Self(terms))
    }

    /// Whether nothing is required.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths that the selector reads.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, ..)| key.as_str())
    }

    /// The value that a path must have.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(key, _, equal)| *equal && key == path).map(|(_, value, _)| value.as_str())
    }

    /// Whether the fields meet every term.
    pub fn matches<'a>(&self, get: impl Fn(&str) -> &'a str) -> bool {
        self.0.iter().all(|(key, value, equal)| (get(key) == value) == *equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(selector: &str, labels: &[(&str, &'static str)]) -> bool {
        let parsed = Labels::parse(selector).expect(selector);
        parsed.matches(|key| labels.iter().find(|(k, _)| *k == key).map(|(_, v)| *v))
    }

    #[test]
    fn label_selectors_follow_equality_and_set_rules() {
        let labels = [("app", "web"), ("tier", "a")];
        for yes in ["app=web", "app==web,tier in (a, b)", "!old", "tier notin (c)", "app", "x!=y", ""] {
            assert!(selects(yes, &labels), "{yes}");
        }
        for no in ["app=x", "tier in (b)", "!app", "app!=web", "old"] {
            assert!(!selects(no, &labels), "{no}");
        }
        assert!(Labels::parse("a b c (").is_err());
    }

    #[test]
    fn field_selectors_compare_text() {
        let fields = Fields::parse("metadata.name=a,status.phase!=Running").unwrap();
        assert!(fields.matches(|key| if key == "metadata.name" { "a" } else { "Pending" }));
        assert!(!fields.matches(|key| if key == "metadata.name" { "a" } else { "Running" }));
        assert!(Fields::parse("nonsense").is_err());
    }
}
