//! The TCP proxy's settings.

use super::cluster::ClusterSlot;
use super::subset::SubsetMatch;
use crate::request_info::AccessLog;
use crate::upstream::stats::TcpStats;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Settings of plain TCP on a filter chain.
#[derive(Debug)]
pub struct TcpProxy {
    /// Prefix of statistics.
    pub stat_prefix: Arc<str>,
    /// Clusters with their weights; one alone has any weight.
    pub clusters: Vec<TcpTarget>,
    /// A connection without traffic is closed after this; 1 h by default, `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Life of a connection.
    pub max_connection_duration: Option<Duration>,
    /// Attempts to connect; 1 by default.
    pub max_connect_attempts: u32,
    /// Hash the source address (ring hash, maglev).
    pub hash_source_ip: bool,
    /// Tell the client who we are, and learn who it is, where ALPN agreed on that (`istio-peer-exchange`).
    pub exchange: bool,
    /// What peers are told.
    pub announcement: Bytes,
    /// Access logs and metrics.
    pub access_logs: Vec<Arc<dyn AccessLog>>,
    /// Statistics.
    pub stats: Arc<TcpStats>,
}

/// One of the clusters of TCP.
#[derive(Debug)]
pub struct TcpTarget {
    /// The cluster.
    pub cluster: Arc<ClusterSlot>,
    /// Its weight.
    pub weight: u32,
    /// Labels of endpoints (`metadata_match`).
    pub subset: Option<SubsetMatch>,
}

impl TcpProxy {
    /// Envoy's defaults to one cluster.
    pub fn to(stat_prefix: &str, cluster: Arc<ClusterSlot>, workers: usize) -> Self {
        TcpProxy {
            stat_prefix: stat_prefix.into(),
            clusters: vec![TcpTarget { cluster, weight: 1, subset: None }],
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            max_connect_attempts: 1,
            hash_source_ip: false,
            exchange: false,
            announcement: Bytes::new(),
            access_logs: Vec::new(),
            stats: Arc::new(TcpStats::new(workers)),
        }
    }

    /// The cluster that a random number chooses.
    pub fn choose(&self, random: u64) -> Option<&TcpTarget> {
        if let [only] = &self.clusters[..] {
            return Some(only);
        }
        let total: u64 = self.clusters.iter().map(|target| u64::from(target.weight)).sum();
        let mut rest = random.checked_rem(total)?;
        self.clusters.iter().find(|target| match rest.checked_sub(u64::from(target.weight)) {
            Some(left) => {
                rest = left;
                false
            }
            None => true,
        })
    }
}
