//! Bodies in Kubernetes' protobuf form, which typed Go clients (kubectl's `create` among them) send without asking:
//! they are read into the same JSON as all others. Answers are always JSON, which such clients accept as well.
//!
//! The field numbers stand in `fields/`, one file a package and one line a message: `NumberName:Type`, where a type
//! is `s` text, `b` bytes, `i` whole number, `t` truth value, `d` number, `T` time, `D` duration, `Q` quantity, `I`
//! number or text, `R` raw JSON, `L` a wrapped list of texts, or a message; before it `*` means optional, `+` a list,
//! `%` a map; `^` in place of the name means that JSON has the fields inline.

mod wire;

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::{Map, Value, json};

use wire::{Field, Reader};

/// What such bodies begin with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages may nest this deep.
const DEPTH: usize = 40;

macro_rules! packages {
    ($($name:literal)*) => {
        &[$(($name, include_str!(concat!("fields/", $name, ".fields")))),*]
    };
}

static PACKAGES: &[(&str, &str)] = packages! {
    "admissionregistration" "apps" "authentication" "authorization" "autoscaling" "autoscaling2" "batch"
    "certificates" "coordination" "core" "discovery" "events" "meta" "networking" "node" "policy" "rbac"
    "scheduling" "storage"
};

type Package = HashMap<&'static str, &'static str>;

fn packages() -> &'static HashMap<&'static str, Package> {
    static INDEX: OnceLock<HashMap<&'static str, Package>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let index = |text: &'static str| {
            text.lines().map(|line| line.split_once(' ').unwrap_or((line, ""))).collect()
        };
        PACKAGES.iter().map(|(name, text)| (*name, index(text))).collect()
    })
}

fn package(api_version: &str) -> &str {
    match api_version {
        "v1" => "core",
        "autoscaling/v2" => "autoscaling2",
        other => other.split(['.', '/']).next().unwrap_or_default(),
    }
}

/// Reads an object.
///
/// # Errors
/// What cannot be read.
pub fn decode(bytes: &[u8]) -> Result<Value, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("the body does not begin as Kubernetes' protobuf does")?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Reader::new(rest) {
        match field? {
            (1, Field::Bytes(meta)) => {
                for field in Reader::new(meta) {
                    match field? {
                        (1, Field::Bytes(text)) => version = wire::text(text)?,
                        (2, Field::Bytes(text)) => kind = wire::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(content)) => raw = content,
            _ => {}
        }
    }
    // Options carry the group of what they are about.
    let own = package(&version);
    let known = |package: &str| packages().get(package).is_some_and(|p| p.contains_key(kind.as_str()));
    let package = [own, "meta"].into_iter().find(|p| known(p));
    let package =
        package.ok_or_else(|| format!("{kind} of {version:?} is not read in protobuf: send JSON"))?;
    let mut object = Map::new();
    object.insert("kind".into(), kind.as_str().into());
    object.insert("apiVersion".into(), version.as_str().into());
    message(package, &kind, raw, &mut object, 0)?;
    Ok(Value::Object(object))
}

/// Reads a message's fields into an object.
fn message(
    package: &str,
    name: &str,
    bytes: &[u8],
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > DEPTH {
        return Err("the message nests too deep".into());
    }
    let fields = packages().get(package).and_then(|p| p.get(name)).copied();
    let fields = fields.ok_or_else(|| format!("there is no message {package}.{name}"))?;
    for field in Reader::new(bytes) {
        let (number, value) = field?;
        let Some((name, kind)) = fields.split(' ').find_map(|spec| named(spec, number)) else { continue };
        let Some(name) = name else {
            if let Field::Bytes(inner) = value {
                let (package, kind) = qualified(package, kind);
                message(package, kind, inner, out, depth + 1)?;
            }
            continue;
        };
        self::field(package, name, kind, value, out, depth)?;
    }
    Ok(())
}

/// The name (none for inline fields) and type of the field with a number.
fn named(spec: &'static str, number: u64) -> Option<(Option<&'static str>, &'static str)> {
    let digits = spec.find(|c: char| !c.is_ascii_digit())?;
    if spec[..digits].parse::<u64>().ok()? != number {
        return None;
    }
    match spec[digits..].strip_prefix('^') {
        Some(kind) => Some((None, kind)),
        None => spec[digits..].split_once(':').map(|(name, kind)| (Some(name), kind)),
    }
}

fn qualified<'a>(package: &'a str, kind: &'a str) -> (&'a str, &'a str) {
    kind.split_once('.').unwrap_or((package, kind))
}

fn field(
    package: &str,
    name: &str,
    kind: &str,
    value: Field<'_>,
    out: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if let Some(kind) = kind.strip_prefix('+') {
        let item = single(package, kind, value, depth)?;
        if let Some(list) = out.entry(name).or_insert_with(|| json!([])).as_array_mut() {
            list.push(item);
        }
    } else if let Some(kind) = kind.strip_prefix('%') {
        let Field::Bytes(entry) = value else { return Err(format!("{name} is no map")) };
        let (mut key, mut item) = (String::new(), single(package, kind, Field::Bytes(&[]), depth)?);
        for part in Reader::new(entry) {
            match part? {
                (1, Field::Bytes(text)) => key = wire::text(text)?,
                (2, value) => item = single(package, kind, value, depth)?,
                _ => {}
            }
        }
        if let Some(map) = out.entry(name).or_insert_with(|| json!({})).as_object_mut() {
            map.insert(key, item);
        }
    } else {
        let optional = kind.starts_with('*');
        let value = single(package, kind.trim_start_matches('*'), value, depth)?;
        // Go writes fields that are not optional even when they are empty.
        let empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::Bool(flag) => !flag,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
        };
        if !empty || optional && !value.is_null() {
            out.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

fn single(package: &str, kind: &str, value: Field<'_>, depth: usize) -> Result<Value, String> {
    use base64::Engine as _;
    Ok(match (kind, value) {
        ("i", Field::Varint(n)) => json!(n.cast_signed()),
        ("t", Field::Varint(n)) => json!(n != 0),
        ("d", Field::Fixed64(n)) => json!(f64::from_bits(n)),
        ("s", Field::Bytes(bytes)) => wire::text(bytes)?.into(),
        ("b", Field::Bytes(bytes)) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
        ("T", Field::Bytes(bytes)) => time(bytes)?,
        ("Q", Field::Bytes(bytes)) => wire::first_text(bytes, 1)?.into(),
        ("R", Field::Bytes(bytes)) => {
            let raw = wire::first_bytes(bytes, 1)?;
            if raw.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(raw).map_err(|e| e.to_string())?
            }
        }
        ("L", Field::Bytes(bytes)) => {
            let texts = Reader::new(bytes).map(|field| match field? {
                (1, Field::Bytes(text)) => wire::text(text),
                _ => Ok(String::new()),
            });
            json!(texts.collect::<Result<Vec<_>, String>>()?)
        }
        ("D", Field::Bytes(bytes)) => {
            let nanos = wire::first_number(bytes, 1)?.cast_signed();
            format!("{}ms", nanos / 1_000_000).into()
        }
        ("I", Field::Bytes(bytes)) => match wire::first_number(bytes, 1)? {
            0 => json!(wire::first_number(bytes, 2)?.cast_signed()),
            _ => wire::first_text(bytes, 3)?.into(),
        },
        (kind, Field::Bytes(bytes)) if kind.len() > 1 => {
            let (package, kind) = qualified(package, kind);
            let mut map = Map::new();
            message(package, kind, bytes, &mut map, depth + 1)?;
            Value::Object(map)
        }
        // The value of a map's entry that was left out.
        ("i", Field::Bytes([])) => json!(0),
        ("t", Field::Bytes([])) => json!(false),
        (kind, _) => return Err(format!("a field of type {kind} has another wire type")),
    })
}

fn time(bytes: &[u8]) -> Result<Value, String> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let seconds = wire::first_number(bytes, 1)?.cast_signed();
    let time = jiff::Timestamp::from_second(seconds).map_err(|e| e.to_string())?;
    Ok(crate::object::timestamp(time).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn body(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [bytes(1, version.as_bytes()), bytes(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), bytes(1, &meta), bytes(2, raw)].concat()
    }

    #[test]
    fn a_config_map_is_read() {
        let meta = [bytes(1, b"a"), bytes(2, b""), bytes(8, b"")].concat();
        let entry = [bytes(1, b"key"), bytes(2, b"value")].concat();
        let raw = [bytes(1, &meta), bytes(2, &entry)].concat();
        let want = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"key": "value"}});
        assert_eq!(decode(&body("v1", "ConfigMap", &raw)).unwrap(), want);
    }

    #[test]
    fn inline_fields_and_options_are_read() {
        // Service.spec.ports[0]: port 80, targetPort "http"; spec.type.
        let target = [&[1 << 3, 1][..], &bytes(3, b"http")].concat();
        let port = [&[3 << 3, 80][..], &bytes(4, &target)].concat();
        let spec = [bytes(1, &port), bytes(4, b"NodePort")].concat();
        let service = decode(&body("v1", "Service", &bytes(2, &spec))).unwrap();
        assert_eq!(
            service["spec"],
            json!({"ports": [{"port": 80, "targetPort": "http"}], "type": "NodePort"})
        );
        let volume = [bytes(1, b"v"), bytes(2, &bytes(2, b""))].concat();
        let pod = decode(&body("v1", "Pod", &bytes(2, &bytes(1, &volume)))).unwrap();
        assert_eq!(pod["spec"]["volumes"][0], json!({"name": "v", "emptyDir": {}}));
        let options = decode(&body("apps/v1", "DeleteOptions", &[1 << 3, 0])).unwrap();
        assert_eq!(options["gracePeriodSeconds"], 0);
    }

    #[test]
    fn broken_bodies_are_refused() {
        assert!(decode(b"{}").is_err());
        assert!(decode(&body("v1", "Unknown", b"")).is_err());
        assert!(decode(&body("v1", "Pod", &[0x12, 0xff])).is_err());
        assert!(decode(&body("v1", "Pod", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])).is_err());
    }

    #[test]
    fn every_message_that_a_field_names_is_known() {
        for (package, messages) in packages() {
            for spec in messages.values().flat_map(|line| line.split(' ')).filter(|s| !s.is_empty()) {
                let kind = spec.rsplit([':', '^']).next().unwrap().trim_start_matches(['*', '+', '%']);
                let (package, kind) = qualified(package, kind);
                assert!(kind.len() == 1 || packages()[package].contains_key(kind), "{package}.{kind}");
            }
        }
    }
}
