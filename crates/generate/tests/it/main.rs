//! Snapshots of real manifests -> resources, read back and judged by what Istio generates.

mod bookinfo;
mod config_maps;
mod cost;
mod envoy;
mod families;
mod features;
mod incremental;
mod ingress;
mod kit;
mod localities;
mod names;
mod patches;
mod security;
mod targets;
mod telemetry;
mod tracing;
mod transport;
mod unchecked;
mod versions;
