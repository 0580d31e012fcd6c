//! What may stand between `{{` and `}}`: a path, a look-up by key, and what to say where there is nothing.

use serde_json::Value;

/// What is understood, for errors.
const KNOWN: &str = "only a path such as .ObjectMeta.Name, `index .ObjectMeta.Labels \"app\"`, `annotation .ObjectMeta \
                     \"name\" \"default\"`, `valueOrDefault .Path \"default\"`, and `| default \"text\"` and `| quote` \
                     behind them are understood";

/// An expression that has one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Expression {
    path: Vec<String>,
    default: Option<Value>,
    quote: bool,
}

#[derive(Clone, Debug, PartialEq)]
enum Word {
    Path(Vec<String>),
    Name(String),
    Literal(Value),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// In words: it is none, or one that is not understood.
    pub(super) fn parse(text: &str) -> Result<Expression, String> {
        let stages = stages(text)?;
        let mut stages = stages.iter().map(Vec::as_slice);
        let mut expression = match stages.next().unwrap_or_default() {
            [Word::Path(path)] => Expression { path: path.clone(), default: None, quote: false },
            [Word::Name(name), Word::Path(path), keys @ ..] if name == "index" && !keys.is_empty() => {
                let mut path = path.clone();
                for key in keys {
                    let Word::Literal(key) = key else { return Err(KNOWN.to_owned()) };
                    path.push(plain(key));
                }
                Expression { path, default: None, quote: false }
            }
            [Word::Name(name), Word::Path(path), Word::Literal(key), default] if name == "annotation" => {
                let path = path.iter().cloned().chain(["Annotations".to_owned(), plain(key)]).collect();
                with_default(path, default)?
            }
            [Word::Name(name), Word::Path(path), default] if name == "valueOrDefault" => {
                with_default(path.clone(), default)?
            }
            _ => return Err(KNOWN.to_owned()),
        };
        for stage in stages {
            match stage {
                [Word::Name(name), Word::Literal(default)] if name == "default" => {
                    expression.default = Some(default.clone());
                }
                [Word::Name(name)] if name == "quote" => expression.quote = true,
                _ => return Err(KNOWN.to_owned()),
            }
        }
        Ok(expression)
    }

    /// The value in a context.
    ///
    /// # Errors
    /// There is none, and no default either.
    pub(super) fn evaluate(&self, context: &Value) -> Result<Value, String> {
        let found = self.path.iter().try_fold(context, |value, name| value.get(name));
        let found = found.filter(|value| !value.is_null() && value.as_str() != Some(""));
        let value = match (found, &self.default) {
            (Some(value), _) | (None, Some(value)) => value.clone(),
            (None, None) => {
                return Err(format!(".{} has no value; `| default \"\"` gives it one", self.path.join(".")));
            }
        };
        Ok(if self.quote { Value::String(plain(&value)) } else { value })
    }
}

fn with_default(path: Vec<String>, default: &Word) -> Result<Expression, String> {
    match default {
        Word::Literal(default) => Ok(Expression { path, default: Some(default.clone()), quote: false }),
        _ => Err(KNOWN.to_owned()),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The words, cut at `|`.
fn stages(text: &str) -> Result<Vec<Vec<Word>>, String> {
    let mut stages = vec![Vec::new()];
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '|' => {
                stages.push(Vec::new());
                1
            }
            '"' | '`' => {
                let end = rest[1..].find(first).ok_or_else(|| format!("{first} without its end"))?;
                let literal = Word::Literal(rest[1..=end].into());
                stages.last_mut().into_iter().for_each(|stage| stage.push(literal.clone()));
                end + 2
            }
            _ => {
                let end = rest.find([' ', '\t', '|', '"', '`']).unwrap_or(rest.len());
                let word = word(&rest[..end])?;
                stages.last_mut().into_iter().for_each(|stage| stage.push(word.clone()));
                end
            }
        };
        rest = rest[length..].trim_start();
    }
    Ok(stages)
}

fn word(text: &str) -> Result<Word, String> {
    if let Some(path) = text.strip_prefix("$.").or_else(|| text.strip_prefix('.')) {
        let names: Vec<String> = path.split('.').map(str::to_owned).collect();
        let name =
            |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        return if names.iter().all(name) { Ok(Word::Path(names)) } else { Err(KNOWN.to_owned()) };
    }
    match serde_json::from_str(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Word::Literal(value)),
        _ => Ok(Word::Name(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn expressions_have_one_value() {
        let context = json!({
            "ObjectMeta": { "Name": "web", "Labels": { "app.kubernetes.io/name": "shop" }, "Annotations": { "a/b": "7" } },
            "Values": { "global": { "proxy": { "statusPort": 15020 } } },
        });
        for (text, expected) in [
            (".ObjectMeta.Name", json!("web")),
            ("$.Values.global.proxy.statusPort", json!(15020)),
            (".Values.global.proxy.statusPort | quote", json!("15020")),
            ("index .ObjectMeta.Labels `app.kubernetes.io/name`", json!("shop")),
            ("annotation .ObjectMeta \"a/b\" \"8\"", json!("7")),
            ("annotation .ObjectMeta `a/c` 8", json!(8)),
            ("valueOrDefault .Values.none true", json!(true)),
            (".ObjectMeta.Missing | default \"none\" | quote", json!("none")),
        ] {
            assert_eq!(Expression::parse(text).unwrap().evaluate(&context), Ok(expected), "{text}");
        }
        let error = Expression::parse(".Values.none").unwrap().evaluate(&context).unwrap_err();
        assert!(error.contains(".Values.none has no value"), "{error}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "if .Values.x",
            "end",
            "range .Spec.Containers",
            "toYaml .Values",
            ".",
            "index .A",
            "\"a",
            ".A-b",
            "",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
