//! What is special about each built-in kind: defaults, validation, selectable fields and table columns.

pub mod batch;
pub mod config;
pub mod definition;
pub mod event;
pub mod names;
pub mod namespace;
pub mod network;
pub mod node;
pub mod pod;
mod pod_check;
pub mod policy;
pub mod quantity;
pub mod rbac;
pub mod service;
pub mod storage;
pub mod webhook;
pub mod workload;
