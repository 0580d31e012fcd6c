//! Protobuf's JSON mapping for Envoy's messages, with YAML as a second notation of the same.
//!
//! The mapping is the canonical one (protobuf.dev, "ProtoJSON format"): `Any` with `@type`, durations as `1.5s`,
//! wrappers as bare values, enums by name. Fields are accepted in snake_case and in lowerCamelCase and written in
//! snake_case, as Envoy's admin endpoint writes them.
//!
//! A [`Pool`] costs some MiB while it lives. Load one where JSON is wanted and drop it afterwards: a proxy that gets
//! its configuration in binary form never needs one.

mod document;
mod field;
mod merge;
mod read;
mod scalar;
#[cfg(test)]
mod tests;
mod well_known;
mod write;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use thiserror::Error;

use crate::pb::google::protobuf::Any;

/// The descriptors of every message that Lateen reads or writes as JSON.
const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// A document that is not the message it should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum JsonError {
    /// Not well-formed YAML or JSON.
    #[error("line {line}, column {column}: {reason}")]
    Syntax {
        /// Line in the document, from 1; 0 when unknown.
        line: u64,
        /// Column in the line, from 1; 0 when unknown.
        column: u64,
        /// What is wrong.
        reason: String,
    },
    /// Well-formed, but a field does not fit.
    #[error("line {line}: {path}: {reason}")]
    Field {
        /// Line in the document, from 1.
        line: u64,
        /// The field's path from the document's root, such as `static_resources.clusters[0].name`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The message's type is not among the descriptors.
    #[error("the message type {0} is not known")]
    UnknownType(String),
}

/// Message descriptors, loaded.
pub struct Pool(DescriptorPool);

impl Pool {
    /// Loads the embedded descriptors (some milliseconds).
    ///
    /// # Errors
    /// Only when the build embedded something else than a descriptor set.
    pub fn load() -> Result<Pool, JsonError> {
        DescriptorPool::decode(DESCRIPTORS)
            .map(Pool)
            .map_err(|error| JsonError::UnknownType(error.to_string()))
    }

    fn descriptor(&self, name: &str) -> Result<MessageDescriptor, JsonError> {
        self.0.get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))
    }

    /// Reads a message from YAML, or from JSON, which is YAML.
    ///
    /// # Errors
    /// Names the line and the field that is unknown, of the wrong type or out of range.
    pub fn read<M: Message + Name + Default>(&self, text: &str) -> Result<M, JsonError> {
        let node = document::parse(text)?;
        let message = read::message(&self.descriptor(&M::full_name())?, &node)?;
        message.transcode_to().map_err(|error| JsonError::UnknownType(error.to_string()))
    }

    /// Reads a message of which only the full name is known, such as `envoy.config.cluster.v3.Cluster`, into its
    /// binary form.
    ///
    /// # Errors
    /// As [`Pool::read`], and when the type is not among the descriptors.
    pub fn read_encoded(&self, name: &str, text: &str) -> Result<Vec<u8>, JsonError> {
        let node = document::parse(text)?;
        Ok(read::message(&self.descriptor(name)?, &node)?.encode_to_vec())
    }

    /// Lays one encoded message over another of the same type: messages are merged field by field, lists appended,
    /// maps merged by key, scalars, durations and wrappers replaced, and an `Any` of the same type is merged inside.
    ///
    /// # Errors
    /// The type is not among the descriptors, or the bytes are not such a message.
    pub fn merge(&self, name: &str, base: &[u8], over: &[u8]) -> Result<Vec<u8>, JsonError> {
        let decode = |body: &[u8]| {
            DynamicMessage::decode(self.descriptor(name)?, body)
                .map_err(|error| JsonError::UnknownType(format!("{name}: {error}")))
        };
        let mut message = decode(base)?;
        merge::merge(&mut message, &decode(over)?);
        Ok(message.encode_to_vec())
    }

    /// Writes a message as JSON, with fields in snake_case and in the order of their declaration.
    ///
    /// An `Any` of a type that is not among the descriptors is written with its type and base64 `value`.
    ///
    /// # Errors
    /// The message's type is not among the descriptors.
    pub fn write<M: Message + Name>(&self, message: &M) -> Result<serde_json::Value, JsonError> {
        self.write_encoded(&M::full_name(), &message.encode_to_vec())
    }

    /// Writes an encoded message as JSON; `name` is its full name, such as `envoy.config.cluster.v3.Cluster`.
    ///
    /// # Errors
    /// The type is not among the descriptors, or the bytes are not such a message.
    pub fn write_encoded(&self, name: &str, body: &[u8]) -> Result<serde_json::Value, JsonError> {
        let message = DynamicMessage::decode(self.descriptor(name)?, body)
            .map_err(|error| JsonError::UnknownType(format!("{name}: {error}")))?;
        Ok(write::message(&message))
    }

    /// Writes an `Any` as JSON: the message's own fields beside `@type`.
    pub fn write_any(&self, any: &Any) -> serde_json::Value {
        write::any(&self.0, &any.type_url, &any.value)
    }
}
