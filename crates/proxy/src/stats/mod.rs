//! Statistics for administration: Envoy's names and Prometheus' text, read from the path's counters; Istio's metrics.

mod baseline;
mod collect;
pub mod histogram;
pub mod istio;
mod metric;
mod policies;
mod prometheus;
mod server;
#[cfg(test)]
mod tests;

pub use baseline::Baseline;
pub use collect::{collect, collect_logs, collect_traces};
pub use metric::{Kind, Metric};
pub use prometheus::write as write_prometheus;
pub use server::ServerStats;
pub(crate) use server::resident_bytes;
