//! A chart's values: defaults, what the user lays over them, and whether that is allowed.

mod check;
mod set;

use serde_json::{Map, Value};

/// Values that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ValuesError {
    /// A text that is no YAML, or no map.
    #[error("{what}: {reason}")]
    Malformed {
        /// The file or flag.
        what: String,
        /// Why.
        reason: String,
    },
    /// Values that the chart's schema refuses, one reason a line.
    #[error("values of the chart {chart} cannot be used:\n{}", .reasons.join("\n"))]
    Refused {
        /// The chart.
        chart: &'static str,
        /// Each with the path.
        reasons: Vec<String>,
    },
}

/// Values of a chart.
#[derive(Clone, Debug)]
pub struct Values(Value);

impl Values {
    /// Reads a map of values in YAML.
    ///
    /// # Errors
    /// The text is no YAML map; `what` names it in the message.
    pub fn parse(what: &str, text: &str) -> Result<Values, ValuesError> {
        let malformed = |reason: String| ValuesError::Malformed { what: what.to_owned(), reason };
        match serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))? {
            Value::Null => Ok(Values(Value::Object(Map::new()))),
            map @ Value::Object(_) => Ok(Values(map)),
            _ => Err(malformed("must be a map of values".to_owned())),
        }
    }

    /// Takes a map that is there already.
    pub fn of(map: Map<String, Value>) -> Values {
        Values(Value::Object(map))
    }

    /// Lays other values over these, as Helm does: maps are joined, anything else is replaced, null removes.
    pub fn overlay(&mut self, over: &Values) {
        merge(&mut self.0, &over.0);
    }

    /// Lays `--set` arguments over these (Helm's notation: `a.b=1,c[0]=x`, `\,` for a comma, `{a,b}` for a list).
    ///
    /// # Errors
    /// The argument cannot be read; it is named.
    pub fn set(&mut self, argument: &str) -> Result<(), ValuesError> {
        set::apply(&mut self.0, argument)
            .map_err(|reason| ValuesError::Malformed { what: format!("--set {argument}"), reason })
    }

    /// Holds the values against a chart's `values.schema.json`.
    ///
    /// # Errors
    /// Everything that the schema refuses.
    pub fn check(&self, chart: &'static str, schema: &str) -> Result<(), ValuesError> {
        let reasons = check::check(&self.0, schema);
        if reasons.is_empty() { Ok(()) } else { Err(ValuesError::Refused { chart, reasons }) }
    }

    /// The values.
    pub fn value(&self) -> &Value {
        &self.0
    }
}

fn merge(below: &mut Value, over: &Value) {
    let (Value::Object(below), Value::Object(over)) = (&mut *below, over) else {
        below.clone_from(over);
        return;
    };
    for (key, value) in over {
        match (below.get_mut(key), value) {
            (_, Value::Null) => {
                below.shift_remove(key);
            }
            (Some(existing), value) if existing.is_object() && value.is_object() => merge(existing, value),
            (_, value) => {
                below.insert(key.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_laid_over_as_helm_does() {
        let mut values = Values::parse("f", "a: {b: 1, c: [1, 2]}\nd: x\n").unwrap();
        values.overlay(&Values::parse("f", "a: {b: 2, c: [3]}\nd: null\n").unwrap());
        values.set("a.e=true,f=g").unwrap();
        assert_eq!(values.value(), &json!({"a": {"b": 2, "c": [3], "e": true}, "f": "g"}));
    }

    #[test]
    fn what_is_no_map_is_refused_by_name() {
        assert!(
            Values::parse("my.yaml", "- a").unwrap_err().to_string().starts_with("my.yaml: must be a map")
        );
        assert!(Values::parse("my.yaml", "").is_ok());
    }
}
