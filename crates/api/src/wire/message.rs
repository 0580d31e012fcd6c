//! The macros that declare messages, enums and oneofs: one declaration gives the Rust type, its JSON form (protobuf's
//! mapping), the finding of unknown fields and type errors, and the structural schema for the CRD.

/// Declares a message: a struct of fields that all may be absent, and of oneofs (each `Option<its enum>`).
macro_rules! message {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident {
            $( $(#[doc = $field_doc:literal])* $field:ident: $type:ty, )*
        }
        $( oneof { $( $(#[doc = $oneof_doc:literal])* $oneof:ident: $oneof_type:ty, )* } )?
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            $( $(#[doc = $field_doc])* pub $field: $type, )*
            $( $( $(#[doc = $oneof_doc])* pub $oneof: Option<$oneof_type>, )* )?
        }

        impl $crate::wire::field::Field for $name {
            fn decode(value: ::serde_json::Value, report: &mut $crate::wire::report::Report) -> Option<Self> {
                #[allow(unused_imports)]
                use $crate::wire::field::{Field, OneOf};
                const KNOWN: &[&[&str]] = &[
                    &[$(stringify!($field)),*], $( $( <$oneof_type as OneOf>::MEMBERS, )* )?
                ];
                let map = $crate::wire::field::object(value, report)?;
                #[allow(unused_mut)]
                let mut out = Self::default();
                for (key, value) in map {
                    $(
                        if $crate::wire::names::names(stringify!($field), &key) {
                            if value.is_null() {
                                continue;
                            }
                            if let Some(value) = report.field(&key, |r| <$type as Field>::decode(value, r)) {
                                out.$field = value;
                            }
                            continue;
                        }
                    )*
                    $( $(
                        let members = <$oneof_type as OneOf>::MEMBERS;
                        if let Some(member) = members.iter().find(|m| $crate::wire::names::names(m, &key)) {
                            if value.is_null() {
                                continue;
                            }
                            $crate::wire::message::take_member(&mut out.$oneof, member, &key, value, report);
                            continue;
                        }
                    )* )?
                    report.unknown_field(&key, &KNOWN.concat());
                }
                Some(out)
            }

            fn encode(&self) -> ::serde_json::Value {
                #[allow(unused_imports)]
                use $crate::wire::field::{Field, OneOf};
                #[allow(unused_mut)]
                let mut out = ::serde_json::Map::new();
                $(
                    if !self.$field.is_default() {
                        out.insert($crate::wire::names::json_name(stringify!($field)), self.$field.encode());
                    }
                )*
                $( $(
                    if let Some(member) = &self.$oneof {
                        member.encode_into(&mut out);
                    }
                )* )?
                ::serde_json::Value::Object(out)
            }

            fn is_default(&self) -> bool {
                *self == Self::default()
            }

            fn schema() -> $crate::wire::schema::JSONSchemaProps {
                #[allow(unused_imports)]
                use $crate::wire::{field::{Field, OneOf}, names::json_name, schema};
                #[allow(unused_mut)]
                let mut properties = ::std::collections::BTreeMap::new();
                $(
                    let described = schema::describe(<$type as Field>::schema(), &[$($field_doc),*]);
                    properties.insert(json_name(stringify!($field)), described);
                )*
                #[allow(unused_mut)]
                let mut groups: Vec<&'static [&'static str]> = Vec::new();
                $( $(
                    <$oneof_type as OneOf>::schema_into(&mut properties);
                    groups.push(<$oneof_type as OneOf>::MEMBERS);
                )* )?
                schema::message(properties, &groups, &[$($doc),*])
            }
        }
    };
}

/// Declares a protobuf enum. The first value is the default; each has its number and its name on the wire.
macro_rules! enumeration {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $value_doc:literal])* $value:ident = $number:literal $wire:literal, )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $( $(#[doc = $value_doc])* $value, )* }

        impl $name {
            const VALUES: &'static [(Self, i64, &'static str)] = &[$( (Self::$value, $number, $wire), )*];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$value => $wire, )* }
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::VALUES[0].0
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl $crate::wire::field::Field for $name {
            fn decode(value: ::serde_json::Value, report: &mut $crate::wire::report::Report) -> Option<Self> {
                $crate::wire::message::take_enum(Self::VALUES, &value, report)
            }
            fn encode(&self) -> ::serde_json::Value {
                ::serde_json::Value::String(self.as_str().to_owned())
            }
            fn is_default(&self) -> bool {
                *self == Self::default()
            }
            fn schema() -> $crate::wire::schema::JSONSchemaProps {
                $crate::wire::schema::enumeration(&[$($wire),*])
            }
        }
    };
}

/// Declares a oneof as an enum. With `pub message enum`, the message has nothing but the oneof: the enum is then the
/// message itself, with an `Unset` value for the empty one.
macro_rules! oneof {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident { $( $(#[doc = $value_doc:literal])* $member:ident: $value:ident($type:ty), )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $name { $( $(#[doc = $value_doc])* $value($type), )* }

        oneof! { @impl $name { $( $(#[doc = $value_doc])* $member: $value($type), )* } {} }
    };
    (
        $(#[doc = $doc:literal])*
        pub message enum $name:ident { $( $(#[doc = $value_doc:literal])* $member:ident: $value:ident($type:ty), )* }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub enum $name {
            /// None of the alternatives is set.
            #[default]
            Unset,
            $( $(#[doc = $value_doc])* $value($type), )*
        }

        oneof! { @impl $name { $( $(#[doc = $value_doc])* $member: $value($type), )* } { Self::Unset => (), } }

        impl $crate::wire::field::Field for $name {
            fn decode(value: ::serde_json::Value, report: &mut $crate::wire::report::Report) -> Option<Self> {
                $crate::wire::message::take_only_member(value, report)
            }
            fn encode(&self) -> ::serde_json::Value {
                let mut out = ::serde_json::Map::new();
                $crate::wire::field::OneOf::encode_into(self, &mut out);
                ::serde_json::Value::Object(out)
            }
            fn is_default(&self) -> bool {
                *self == Self::Unset
            }
            fn schema() -> $crate::wire::schema::JSONSchemaProps {
                use $crate::wire::{field::OneOf, schema};
                let mut properties = ::std::collections::BTreeMap::new();
                Self::schema_into(&mut properties);
                schema::message(properties, &[<Self as OneOf>::MEMBERS], &[$($doc),*])
            }
        }
    };
    (@impl $name:ident { $( $(#[doc = $value_doc:literal])* $member:ident: $value:ident($type:ty), )* } { $($rest:tt)* }) => {
        impl $crate::wire::field::OneOf for $name {
            const MEMBERS: &'static [&'static str] = &[$( stringify!($member) ),*];

            fn decode_member(
                key: &str, value: ::serde_json::Value, report: &mut $crate::wire::report::Report,
            ) -> Option<Self> {
                use $crate::wire::field::Field;
                $(
                    if key == stringify!($member) {
                        return <$type as Field>::decode(value, report).map(Self::$value);
                    }
                )*
                None
            }

            fn encode_into(&self, out: &mut ::serde_json::Map<String, ::serde_json::Value>) {
                use $crate::wire::{field::Field, names::json_name};
                match self {
                    $( Self::$value(value) => { out.insert(json_name(stringify!($member)), value.encode()); } )*
                    $($rest)*
                }
            }

            fn schema_into(
                properties: &mut ::std::collections::BTreeMap<String, $crate::wire::schema::JSONSchemaProps>,
            ) {
                use $crate::wire::{field::Field, names::json_name, schema};
                $(
                    let described = schema::describe(<$type as Field>::schema(), &[$($value_doc),*]);
                    properties.insert(json_name(stringify!($member)), described);
                )*
            }
        }
    };
}

pub(crate) use {enumeration, message, oneof};

use serde_json::Value;

use super::field::{OneOf, describe, object};
use super::names::{json_name, names};
use super::report::Report;

/// Reads member `member` of a oneof into `slot`; a second member is an error.
pub fn take_member<O: OneOf>(
    slot: &mut Option<O>,
    member: &str,
    key: &str,
    value: Value,
    report: &mut Report,
) {
    if slot.is_some() {
        let all: Vec<String> = O::MEMBERS.iter().map(|m| json_name(m)).collect();
        report.field(key, |r| r.error(format!("only one of {} may be set", all.join(", "))));
        return;
    }
    *slot = report.field(key, |r| O::decode_member(member, value, r));
}

/// Reads a message that has nothing but a oneof.
pub fn take_only_member<O: OneOf + Default>(value: Value, report: &mut Report) -> Option<O> {
    let mut slot = None;
    for (key, value) in object(value, report)? {
        match O::MEMBERS.iter().find(|m| names(m, &key)) {
            Some(_) if value.is_null() => {}
            Some(member) => take_member(&mut slot, member, &key, value, report),
            None => report.unknown_field(&key, O::MEMBERS),
        }
    }
    Some(slot.unwrap_or_default())
}

/// Reads an enum's value: its name, or its number.
pub fn take_enum<E: Copy>(values: &[(E, i64, &str)], value: &Value, report: &mut Report) -> Option<E> {
    let found = match value {
        Value::String(name) => values.iter().find(|(_, _, wire)| wire == name),
        Value::Number(n) => values.iter().find(|(_, number, _)| Some(*number) == n.as_i64()),
        _ => None,
    };
    if found.is_none() {
        let all: Vec<&str> = values.iter().map(|(_, _, wire)| *wire).collect();
        report.error(format!("must be one of {}, not {}", all.join(", "), describe(value)));
    }
    found.map(|(value, ..)| *value)
}
