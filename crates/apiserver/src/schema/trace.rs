//! Schemas of built-in types, read off their `Deserialize` implementations: a deserializer that offers every field
//! of every struct once and notes what type the field asks for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, Expected, MapAccess, SeqAccess, Visitor,
};

use super::{Node, Type, lists};

/// Structs may nest this deep before the rest counts as anything (JSONSchemaProps nests in itself).
const DEPTH: usize = 24;

/// Schemas of the structs that were met so far: a struct that two types use is held once.
#[derive(Default)]
pub struct Tracer {
    structs: HashMap<(&'static str, usize), Arc<Node>>,
    open: Vec<(&'static str, usize)>,
}

impl Tracer {
    /// The schema of a built-in type.
    pub fn trace<T: k8s_openapi::Resource + for<'de> Deserialize<'de>>(&mut self) -> Arc<Node> {
        let mut node = Node::of(Type::Any);
        let root = Some((T::API_VERSION, T::KIND));
        let probe = Probe { tracer: self, node: &mut node, root };
        // Types whose parts cannot be probed stay `Any` there; nothing else can fail.
        let _ = T::deserialize(probe);
        Arc::new(node)
    }
}

/// Notes into `node` what a value is asked to be.
struct Probe<'a> {
    tracer: &'a mut Tracer,
    node: &'a mut Node,
    /// API version and kind, which the outermost struct insists on.
    root: Option<(&'static str, &'static str)>,
}

/// Why probing stopped; it never reaches users.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be probed")
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! scalar {
    ($($method:ident => $visit:ident($($value:expr)?), $kind:expr;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            self.node.kind = $kind;
            visitor.$visit($($value)?)
        })*
    };
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    scalar! {
        deserialize_bool => visit_bool(true), Type::Bool;
        deserialize_i8 => visit_i8(1), Type::Int32;
        deserialize_i16 => visit_i16(1), Type::Int32;
        deserialize_i32 => visit_i32(1), Type::Int32;
        deserialize_i64 => visit_i64(1), Type::Int64;
        deserialize_u8 => visit_u8(1), Type::Int32;
        deserialize_u16 => visit_u16(1), Type::Int32;
        deserialize_u32 => visit_u32(1), Type::Int64;
        deserialize_u64 => visit_u64(1), Type::Int64;
        deserialize_f32 => visit_f32(1.0), Type::Number;
        deserialize_f64 => visit_f64(1.0), Type::Number;
        deserialize_char => visit_char('a'), Type::String;
        deserialize_bytes => visit_bytes(b""), Type::Bytes;
        deserialize_byte_buf => visit_bytes(b""), Type::Bytes;
        deserialize_unit => visit_unit(), Type::Any;
        deserialize_ignored_any => visit_unit(), Type::Any;
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let expected = (&visitor as &dyn Expected).to_string();
        match expected.as_str() {
            "IntOrString" => {
                self.node.kind = Type::IntOrString;
                visitor.visit_i64(1)
            }
            "Quantity" => {
                self.node.kind = Type::Quantity;
                visitor.visit_i64(1)
            }
            _ => {
                self.node.kind = Type::Any;
                visitor.visit_map(Empty)
            }
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let expected = (&visitor as &dyn Expected).to_string();
        self.node.kind = Type::String;
        if expected.contains("base64") {
            self.node.kind = Type::Bytes;
            return visitor.visit_str("");
        }
        if expected.contains("timestamp") || expected.contains("RFC 3339") {
            self.node.kind = Type::Time;
            return visitor.visit_str("2020-01-01T00:00:00Z");
        }
        visitor.visit_str("")
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.node.name = name;
        if matches!(name, "Time" | "MicroTime") {
            self.node.kind = Type::Time;
            return visitor.visit_newtype_struct(Instant);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let mut item = Node::of(Type::Any);
        let seq = One { tracer: self.tracer, node: &mut item, left: true };
        let result = visitor.visit_seq(seq);
        self.node.kind = Type::List;
        self.node.items = Some(Arc::new(item));
        result
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let mut item = Node::of(Type::Any);
        let map = One { tracer: self.tracer, node: &mut item, left: true };
        let result = visitor.visit_map(map);
        self.node.kind = Type::Map;
        self.node.items = Some(Arc::new(item));
        result
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        // The list of fields tells types of the same name in two groups apart.
        let id = (name, fields.as_ptr().addr());
        if let Some(known) = self.tracer.structs.get(&id) {
            *self.node = (**known).clone();
            return visitor.visit_map(Empty);
        }
        if self.tracer.open.contains(&id) || self.tracer.open.len() > DEPTH {
            return visitor.visit_map(Empty);
        }
        self.tracer.open.push(id);
        let mut found = BTreeMap::new();
        let walk =
            Fields { tracer: self.tracer, owner: name, fields, next: 0, found: &mut found, root: self.root };
        let result = visitor.visit_map(walk);
        self.tracer.open.pop();
        for field in fields {
            found.entry((*field).into()).or_insert_with(|| Arc::new(Node::of(Type::Any)));
        }
        let mut node = Node::of(Type::Object);
        node.name = name;
        node.fields = found;
        if self.root.is_none() {
            self.tracer.structs.insert(id, Arc::new(node.clone()));
        }
        *self.node = node;
        result
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Stop> {
        Err(Stop)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str("")
    }
}

/// Offers every field of a struct in turn.
struct Fields<'a> {
    tracer: &'a mut Tracer,
    owner: &'static str,
    fields: &'static [&'static str],
    next: usize,
    found: &'a mut BTreeMap<Box<str>, Arc<Node>>,
    root: Option<(&'static str, &'static str)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some(field) = self.fields.get(self.next) else {
            return Ok(None);
        };
        self.next += 1;
        seed.deserialize(StrDeserializer::new(field)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        let field = self.fields[self.next - 1];
        let mut node = Node::of(Type::Any);
        let fixed = match (field, self.root) {
            ("apiVersion", Some((version, _))) => Some(version),
            ("kind", Some((_, kind))) => Some(kind),
            _ => None,
        };
        if let Some(text) = fixed {
            node.kind = Type::String;
            self.found.insert(field.into(), Arc::new(node));
            return seed.deserialize(StrDeserializer::new(text));
        }
        let result = seed.deserialize(Probe { tracer: self.tracer, node: &mut node, root: None });
        if node.kind == Type::List {
            (node.patch, node.list) = lists::rules(self.owner, field);
        }
        node.atomic = lists::atomic(self.owner, field, node.name);
        self.found.insert(field.into(), Arc::new(node));
        result
    }
}

/// One element of a list, or one entry of a map.
struct One<'a> {
    tracer: &'a mut Tracer,
    node: &'a mut Node,
    left: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if !std::mem::take(&mut self.left) {
            return Ok(None);
        }
        seed.deserialize(Probe { tracer: self.tracer, node: self.node, root: None }).map(Some)
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        if !std::mem::take(&mut self.left) {
            return Ok(None);
        }
        seed.deserialize(StrDeserializer::new("key")).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(Probe { tracer: self.tracer, node: self.node, root: None })
    }
}

/// A struct of which nothing more is to be learned.
struct Empty;

impl<'de> MapAccess<'de> for Empty {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, _: K) -> Result<Option<K::Value>, Stop> {
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, _: V) -> Result<V::Value, Stop> {
        Err(Stop::custom("no value"))
    }
}

/// A time inside its newtype.
struct Instant;

impl<'de> Deserializer<'de> for Instant {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str("2020-01-01T00:00:00Z")
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ListType, PatchStrategy};

    #[test]
    fn a_deployment_is_traced_down_to_its_containers() {
        let mut tracer = Tracer::default();
        let deployment = tracer.trace::<k8s_openapi::api::apps::v1::Deployment>();
        let pod = deployment.at(&["spec", "template", "spec"]).expect("pod spec");
        let containers = pod.field("containers").expect("containers");
        assert_eq!(containers.patch, PatchStrategy::MergeKey("name"));
        let container = containers.items.as_ref().expect("container");
        assert_eq!(container.name, "Container");
        assert_eq!(container.field("image").unwrap().kind, Type::String);
        let ports = container.field("ports").unwrap();
        assert_eq!(ports.list, ListType::Map(vec!["containerPort".into(), "protocol".into()]));
        let limits = container.at(&["resources", "limits"]).unwrap();
        assert_eq!(limits.items.as_ref().unwrap().kind, Type::Quantity);
        let probe = container.at(&["livenessProbe", "httpGet", "port"]).unwrap();
        assert_eq!(probe.kind, Type::IntOrString);
        assert_eq!(deployment.at(&["metadata", "creationTimestamp"]).unwrap().kind, Type::Time);
        assert_eq!(deployment.at(&["spec", "replicas"]).unwrap().kind, Type::Int32);
        assert_eq!(deployment.at(&["kind"]).unwrap().kind, Type::String);
    }

    #[test]
    fn types_that_nest_in_themselves_end() {
        let mut tracer = Tracer::default();
        let crd = tracer.trace::<k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition>();
        let versions = crd.at(&["spec", "versions"]).unwrap();
        assert!(versions.items.as_ref().unwrap().at(&["schema", "openAPIV3Schema"]).is_some());
        let secret = tracer.trace::<k8s_openapi::api::core::v1::Secret>();
        assert_eq!(secret.at(&["data"]).unwrap().items.as_ref().unwrap().kind, Type::Bytes);
    }
}
