//! The wire form of resources: protobuf's JSON mapping, findings with paths, and schemas, from one declaration.

pub mod duration;
pub mod field;
pub mod message;
pub mod names;
pub mod report;
pub mod schema;
