//! Helm's `--set` notation.

use serde_json::{Map, Value};

/// Largest index of a list, as in Helm.
const MAX_INDEX: usize = 65_536;

/// A step of a path.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// Applies `path=value[,path=value...]`; nothing is changed if a part cannot be read.
pub fn apply(target: &mut Value, argument: &str) -> Result<(), String> {
    let mut changed = target.clone();
    for part in split(argument, ',') {
        let pair = split(&part, '=');
        let (Some(path), true) = (pair.first(), pair.len() > 1) else {
            return Err(format!("{part:?} must be NAME=VALUE"));
        };
        let value = part.get(path.len() + 1..).unwrap_or_default();
        let steps = steps(path)?;
        put(&mut changed, &steps, typed(value))?;
    }
    *target = changed;
    Ok(())
}

/// Splits outside of braces and where no backslash stands before; backslashes stay.
fn split(text: &str, at: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut escaped, mut depth) = (false, 0_usize);
    for letter in text.chars() {
        let special = !escaped;
        match letter {
            '{' if special => depth += 1,
            '}' if special => depth = depth.saturating_sub(1),
            _ => {}
        }
        if letter == at && special && depth == 0 {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(letter);
        }
        escaped = letter == '\\' && !escaped;
    }
    parts
}

fn steps(path: &str) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    for name in split(path, '.') {
        let (key, indexes) = name.split_once('[').map_or((name.as_str(), ""), |(key, rest)| (key, rest));
        let key = unescape(key);
        if key.is_empty() {
            return Err(format!("{path:?} has an empty name"));
        }
        steps.push(Step::Key(key));
        for index in indexes.split('[').filter(|index| !index.is_empty()) {
            let number = index.strip_suffix(']').and_then(|index| index.parse().ok());
            match number {
                Some(number) if number <= MAX_INDEX => steps.push(Step::Index(number)),
                _ => return Err(format!("{index:?} is no index of a list (0 to {MAX_INDEX})")),
            }
        }
    }
    Ok(steps)
}

fn put(target: &mut Value, steps: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *target = value;
        return Ok(());
    };
    match step {
        Step::Key(key) => {
            if target.is_null() {
                *target = Value::Object(Map::new());
            }
            let Value::Object(map) = target else { return Err(format!("{key:?} stands in no map")) };
            if rest.is_empty() && value.is_null() {
                map.shift_remove(key);
                return Ok(());
            }
            put(map.entry(key).or_insert(Value::Null), rest, value)
        }
        Step::Index(index) => {
            if target.is_null() {
                *target = Value::Array(Vec::new());
            }
            let Value::Array(items) = target else { return Err(format!("[{index}] stands behind no list")) };
            while items.len() <= *index {
                items.push(Value::Null);
            }
            match items.get_mut(*index) {
                Some(item) => put(item, rest, value),
                None => Err(format!("[{index}] is out of the list")),
            }
        }
    }
}

/// `{a,b}` is a list; whole numbers, booleans and null are what they look like; anything else is a text.
fn typed(text: &str) -> Value {
    if let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return split(inner, ',').iter().filter(|part| !part.is_empty()).map(|part| typed(part)).collect();
    }
    match text {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        // A number that begins with 0 is a text, such as a short commit.
        digits if digits == "0" || !digits.starts_with('0') => match digits.parse::<i64>() {
            Ok(number) => number.into(),
            Err(_) => unescape(text).into(),
        },
        _ => unescape(text).into(),
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        out.extend(if letter == '\\' { letters.next() } else { Some(letter) });
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(argument: &str) -> Result<Value, String> {
        let mut value = json!({"list": [1], "text": "x"});
        apply(&mut value, argument).map(|()| value)
    }

    #[test]
    fn helms_notation_is_understood() {
        let value = set(r"a.b=1,c=x\,y,d={1,z},e\.f=true,list[1].g=007,list[0]=null,text=null,h=").unwrap();
        let expected = json!({
            "list": [null, {"g": "007"}], "a": {"b": 1}, "c": "x,y", "d": [1, "z"], "e.f": true, "h": "",
        });
        assert_eq!(value, expected);
        assert_eq!(
            set("gateways.istio-ingressgateway.type=NodePort").unwrap()["gateways"],
            json!({"istio-ingressgateway": {"type": "NodePort"}})
        );
        assert_eq!(set("u=http://h?a=b").unwrap()["u"], "http://h?a=b");
    }

    #[test]
    fn what_cannot_be_read_is_named_and_changes_nothing() {
        for argument in ["a", "=1", "a..b=1", "list[x]=1", "list[99999999]=1", "text.deep=1", "list.k=1"] {
            assert!(set(argument).is_err(), "{argument}");
        }
        let mut value = json!({"a": 1});
        assert!(apply(&mut value, "a=2,b").is_err());
        assert_eq!(value, json!({"a": 1}));
    }
}
