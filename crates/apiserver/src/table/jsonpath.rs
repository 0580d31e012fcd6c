//! The part of kubectl's JSONPath that CRDs use for printer columns and scale paths.

use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
enum Step {
    Field(String),
    Index(i64),
    All,
    /// `[?(@.a.b=="c")]`
    Filter(Vec<String>, Value),
}

/// A parsed path such as `.spec.hosts`, `.status.conditions[?(@.type=="Ready")].status` or `.a['b/c'][0]`.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath(Vec<Step>);

impl JsonPath {
    /// Parses a path; None when it is none that is understood.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().trim_start_matches('{').trim_end_matches('}');
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(inner) = rest.strip_prefix('[') {
                let end = closing(inner)?;
                steps.push(bracket(&inner[..end])?);
                rest = &inner[end + 1..];
            } else {
                let inner = rest.strip_prefix('.').unwrap_or(rest);
                let end = field_end(inner);
                let name = inner[..end].replace("\\.", ".");
                match name.as_str() {
                    "" => {}
                    "*" => steps.push(Step::All),
                    _ => steps.push(Step::Field(name)),
                }
                rest = &inner[end..];
            }
        }
        Some(Self(steps))
    }

    /// The fields, where the path has nothing else.
    pub fn fields(&self) -> Option<Vec<String>> {
        let field = |step: &Step| match step {
            Step::Field(name) => Some(name.clone()),
            _ => None,
        };
        self.0.iter().map(field).collect()
    }

    /// The first value that the path finds.
    pub fn first<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        find(&self.0, value)
    }
}

fn find<'a>(steps: &[Step], value: &'a Value) -> Option<&'a Value> {
    let Some((step, rest)) = steps.split_first() else {
        return Some(value).filter(|v| !v.is_null());
    };
    match step {
        Step::Field(name) => find(rest, value.get(name)?),
        Step::Index(index) => {
            let list = value.as_array()?;
            let index = if *index < 0 {
                list.len().checked_add_signed(isize::try_from(*index).ok()?)?
            } else {
                usize::try_from(*index).ok()?
            };
            find(rest, list.get(index)?)
        }
        Step::All => match value {
            Value::Array(list) => list.iter().find_map(|v| find(rest, v)),
            Value::Object(map) => map.values().find_map(|v| find(rest, v)),
            _ => None,
        },
        Step::Filter(path, wanted) => {
            let holds = |v: &&Value| path.iter().try_fold(*v, |v, key| v.get(key)) == Some(wanted);
            value.as_array()?.iter().filter(holds).find_map(|v| find(rest, v))
        }
    }
}

/// Where the bracket closes, quotes left alone.
fn closing(text: &str) -> Option<usize> {
    let mut quote = None;
    for (index, c) in text.char_indices() {
        match (quote, c) {
            (None, ']') => return Some(index),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    None
}

fn field_end(text: &str) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '.' | '[' if !escaped => return index,
            _ => escaped = false,
        }
    }
    text.len()
}

fn unquote(text: &str) -> Option<&str> {
    let text = text.trim();
    ['"', '\''].iter().find_map(|q| text.strip_prefix(*q)?.strip_suffix(*q))
}

fn bracket(inner: &str) -> Option<Step> {
    if inner.trim() == "*" {
        return Some(Step::All);
    }
    if let Some(name) = unquote(inner) {
        return Some(Step::Field(name.to_owned()));
    }
    if let Some(filter) = inner.trim().strip_prefix("?(").and_then(|f| f.strip_suffix(')')) {
        let (path, value) = filter.split_once("==")?;
        let path = path.trim().strip_prefix("@.")?.split('.').map(str::to_owned).collect();
        let value = match unquote(value) {
            Some(text) => Value::from(text),
            None => serde_json::from_str(value.trim()).ok()?,
        };
        return Some(Step::Filter(path, value));
    }
    inner.trim().parse().ok().map(Step::Index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_of_printer_columns_find_their_values() {
        let object = json!({"spec": {"hosts": ["a", "b"], "x.y": 1},
            "status": {"conditions": [{"type": "A", "status": "no"}, {"type": "Ready", "status": "yes"}]}});
        let first = |path: &str| JsonPath::parse(path).expect(path).first(&object).cloned();
        assert_eq!(first(".spec.hosts"), Some(json!(["a", "b"])));
        assert_eq!(first(".spec.hosts[-1]"), Some(json!("b")));
        assert_eq!(first(".spec.x\\.y"), Some(json!(1)));
        assert_eq!(first(".spec['x.y']"), Some(json!(1)));
        assert_eq!(first(r#".status.conditions[?(@.type=="Ready")].status"#), Some(json!("yes")));
        assert_eq!(first(".spec.none"), None);
    }
}
