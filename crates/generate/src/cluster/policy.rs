//! A DestinationRule's traffic policy, applied to a cluster.

use lateen_api::networking::destination_rule::{DestinationRuleSpec, Subset};
use lateen_api::networking::traffic_policy::{
    ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, HashAlgorithm, LbPolicy,
    LoadBalancerSettings, LocalityLoadBalancerSetting, OutlierDetection, SimpleLb, TrafficPolicy,
    WarmupConfiguration,
};
use lateen_xds::pb::envoy::config::cluster::v3 as cluster;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::common_lb_config::LocalityConfigSpecifier;
use lateen_xds::pb::envoy::config::cluster::v3::cluster::{
    LbConfig, LbPolicy as EnvoyLb, LeastRequestLbConfig, MaglevLbConfig, RingHashLbConfig,
    RoundRobinLbConfig, SlowStartConfig,
};
use lateen_xds::pb::envoy::config::core::v3::{HttpProtocolOptions, RuntimeDouble, TcpKeepalive};
use lateen_xds::pb::envoy::r#type::v3::Percent;

use crate::proto::{duration, u32_value, u64_value};

/// The parts of a traffic policy, as they apply to one port of one subset.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Policy<'a> {
    pub load_balancer: Option<&'a LoadBalancerSettings>,
    pub connection_pool: Option<&'a ConnectionPoolSettings>,
    pub outlier_detection: Option<&'a OutlierDetection>,
    pub tls: Option<&'a ClientTlsSettings>,
}

impl<'a> Policy<'a> {
    /// The policy of a rule for a port and, with one, a subset.
    ///
    /// Source: Istio, TrafficPolicy `portLevelSettings`: "destination-level settings will not be inherited when
    /// overridden by port-level settings"; a subset's settings override the rule's part by part.
    pub fn of(rule: Option<&'a DestinationRuleSpec>, subset: Option<&'a Subset>, port: u16) -> Self {
        let mut policy = Policy::default();
        for level in
            [rule.and_then(|r| r.traffic_policy.as_ref()), subset.and_then(|s| s.traffic_policy.as_ref())]
        {
            policy.apply(level, port);
        }
        policy
    }

    fn apply(&mut self, level: Option<&'a TrafficPolicy>, port: u16) {
        let Some(level) = level else { return };
        self.load_balancer = level.load_balancer.as_ref().or(self.load_balancer);
        self.connection_pool = level.connection_pool.as_ref().or(self.connection_pool);
        self.outlier_detection = level.outlier_detection.as_ref().or(self.outlier_detection);
        self.tls = level.tls.as_ref().or(self.tls);
        let of_port = |p: &&lateen_api::networking::traffic_policy::PortTrafficPolicy| {
            p.port.as_ref().is_some_and(|selector| selector.number == u32::from(port))
        };
        if let Some(own) = level.port_level_settings.iter().find(of_port) {
            self.load_balancer = own.load_balancer.as_ref();
            self.connection_pool = own.connection_pool.as_ref();
            self.outlier_detection = own.outlier_detection.as_ref();
            self.tls = own.tls.as_ref();
        }
    }

    /// The consistent hash that routes to this destination have to work out.
    pub fn consistent_hash(&self) -> Option<&'a ConsistentHashLb> {
        match self.load_balancer?.lb_policy.as_ref()? {
            LbPolicy::ConsistentHash(hash) => Some(hash),
            LbPolicy::Simple(_) => None,
        }
    }
}

/// The thresholds of connection pools; what is not limited is not limited, as in Istio (Envoy's own defaults are 1024).
pub(crate) fn circuit_breakers(pool: Option<&ConnectionPoolSettings>) -> cluster::CircuitBreakers {
    let limit = |value: i32| u32_value(u32::try_from(value).ok().filter(|v| *v > 0).unwrap_or(u32::MAX));
    let tcp = pool.and_then(|p| p.tcp.as_ref());
    let http = pool.and_then(|p| p.http.as_ref());
    let thresholds = cluster::circuit_breakers::Thresholds {
        max_connections: limit(tcp.map_or(0, |t| t.max_connections)),
        max_pending_requests: limit(http.map_or(0, |h| h.http1_max_pending_requests)),
        max_requests: limit(http.map_or(0, |h| h.http2_max_requests)),
        max_retries: limit(http.map_or(0, |h| h.max_retries)),
        track_remaining: true,
        ..Default::default()
    };
    cluster::CircuitBreakers { thresholds: vec![thresholds], ..Default::default() }
}

/// Connection settings that stand on the cluster itself.
pub(crate) fn connections(out: &mut cluster::Cluster, pool: Option<&ConnectionPoolSettings>) {
    let Some(tcp) = pool.and_then(|p| p.tcp.as_ref()) else { return };
    if let Some(timeout) = tcp.connect_timeout {
        out.connect_timeout = Some(duration(timeout));
    }
    if let Some(keepalive) = &tcp.tcp_keepalive {
        let seconds = |d: Option<lateen_api::Duration>| {
            d.and_then(|d| u32_value(u32::try_from(d.nanos() / 1_000_000_000).unwrap_or_default()))
        };
        out.upstream_connection_options = Some(cluster::UpstreamConnectionOptions {
            tcp_keepalive: Some(TcpKeepalive {
                keepalive_probes: u32_value(keepalive.probes).filter(|p| p.value > 0),
                keepalive_time: seconds(keepalive.time),
                keepalive_interval: seconds(keepalive.interval),
            }),
            ..Default::default()
        });
    }
}

/// How an endpoint is chosen: least request, unless the policy says otherwise.
pub(crate) fn load_balancing(out: &mut cluster::Cluster, settings: Option<&LoadBalancerSettings>) {
    let slow_start = settings.and_then(slow_start);
    match settings.and_then(|s| s.lb_policy.as_ref()) {
        Some(LbPolicy::ConsistentHash(hash)) => consistent_hash(out, hash),
        Some(LbPolicy::Simple(SimpleLb::RoundRobin)) => {
            out.lb_policy = EnvoyLb::RoundRobin as i32;
            out.lb_config = slow_start
                .map(|s| LbConfig::RoundRobinLbConfig(RoundRobinLbConfig { slow_start_config: Some(s) }));
        }
        Some(LbPolicy::Simple(SimpleLb::Random)) => out.lb_policy = EnvoyLb::Random as i32,
        Some(LbPolicy::Simple(SimpleLb::Passthrough)) => {
            out.lb_policy = EnvoyLb::ClusterProvided as i32;
            let original = cluster::cluster::DiscoveryType::OriginalDst as i32;
            out.cluster_discovery_type = Some(cluster::cluster::ClusterDiscoveryType::Type(original));
            out.eds_cluster_config = None;
            out.load_assignment = None;
        }
        Some(LbPolicy::Simple(SimpleLb::Unspecified | SimpleLb::LeastConn | SimpleLb::LeastRequest))
        | None => {
            out.lb_policy = EnvoyLb::LeastRequest as i32;
            let config = |s| LeastRequestLbConfig { slow_start_config: Some(s), ..Default::default() };
            out.lb_config = slow_start.map(|s| LbConfig::LeastRequestLbConfig(config(s)));
        }
    }
}

/// Lets the weights of localities count, where shares are given to them.
pub(crate) fn locality_shares(
    out: &mut cluster::Cluster,
    settings: Option<&LoadBalancerSettings>,
    of_mesh: &LocalityLoadBalancerSetting,
) {
    let setting = settings.and_then(|s| s.locality_lb_setting.as_ref()).unwrap_or(of_mesh);
    if setting.enabled.unwrap_or(true) && !setting.distribute.is_empty() {
        let common = out.common_lb_config.get_or_insert_with(Default::default);
        common.locality_config_specifier =
            Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(Default::default()));
    }
}

fn slow_start(settings: &LoadBalancerSettings) -> Option<SlowStartConfig> {
    let old = settings
        .warmup_duration_secs
        .map(|d| WarmupConfiguration { duration: Some(d), ..WarmupConfiguration::default() });
    let warmup = settings.warmup.clone().or(old)?;
    Some(SlowStartConfig {
        slow_start_window: Some(duration(warmup.duration?)),
        aggression: warmup
            .aggression
            .map(|value| RuntimeDouble { default_value: value, runtime_key: String::new() }),
        min_weight_percent: warmup.minimum_percent.map(|value| Percent { value }),
    })
}

fn consistent_hash(out: &mut cluster::Cluster, hash: &ConsistentHashLb) {
    match &hash.hash_algorithm {
        Some(HashAlgorithm::Maglev(maglev)) => {
            out.lb_policy = EnvoyLb::Maglev as i32;
            let table_size = u64_value(maglev.table_size).filter(|size| size.value > 0);
            out.lb_config = table_size
                .map(|table_size| LbConfig::MaglevLbConfig(MaglevLbConfig { table_size: Some(table_size) }));
        }
        algorithm => {
            let size = match algorithm {
                Some(HashAlgorithm::RingHash(ring)) => ring.minimum_ring_size,
                _ => hash.minimum_ring_size,
            };
            // Istio's documented default, the same as Envoy's.
            let size = if size == 0 { 1024 } else { size };
            out.lb_policy = EnvoyLb::RingHash as i32;
            out.lb_config = Some(LbConfig::RingHashLbConfig(RingHashLbConfig {
                minimum_ring_size: u64_value(size),
                ..Default::default()
            }));
        }
    }
}

/// When an endpoint is taken out for a while.
///
/// Source: Istio, OutlierDetection; success-rate ejection is off unless configured, and panic mode is off unless
/// `minHealthPercent` asks for it.
pub(crate) fn outliers(out: &mut cluster::Cluster, settings: Option<&OutlierDetection>) {
    let Some(settings) = settings else { return };
    let positive = |value: i32| u32::try_from(value).ok().filter(|v| *v > 0);
    let mut detection = cluster::OutlierDetection {
        enforcing_success_rate: u32_value(0),
        split_external_local_origin_errors: settings.split_external_local_origin_errors,
        interval: settings.interval.map(duration),
        base_ejection_time: settings.base_ejection_time.map(duration),
        max_ejection_percent: positive(settings.max_ejection_percent).and_then(u32_value),
        ..Default::default()
    };
    if let Some(errors) = settings.consecutive_5xx_errors.or(positive(settings.consecutive_errors)) {
        detection.consecutive_5xx = u32_value(errors);
        detection.enforcing_consecutive_5xx = u32_value(if errors > 0 { 100 } else { 0 });
    }
    if let Some(errors) = settings.consecutive_gateway_errors {
        detection.consecutive_gateway_failure = u32_value(errors);
        detection.enforcing_consecutive_gateway_failure = u32_value(if errors > 0 { 100 } else { 0 });
    }
    if let Some(failures) = settings.consecutive_local_origin_failures {
        detection.consecutive_local_origin_failure = u32_value(failures);
        detection.enforcing_consecutive_local_origin_failure = u32_value(if failures > 0 { 100 } else { 0 });
        detection.enforcing_local_origin_success_rate = u32_value(0);
    }
    out.outlier_detection = Some(detection);
    if let Some(percent) = positive(settings.min_health_percent) {
        let common = out.common_lb_config.get_or_insert_with(Default::default);
        common.healthy_panic_threshold = Some(Percent { value: f64::from(percent.min(100)) });
    }
}

/// How long and for how many requests connections to endpoints are kept; `None` where nothing is set.
pub(crate) fn http_options(pool: Option<&ConnectionPoolSettings>) -> Option<HttpProtocolOptions> {
    let pool = pool?;
    let http = pool.http.as_ref();
    let lasting = pool.tcp.as_ref().and_then(|t| t.max_connection_duration);
    let idle = http.and_then(|h| h.idle_timeout);
    let requests = http.and_then(|h| u32::try_from(h.max_requests_per_connection).ok()).filter(|n| *n > 0);
    if lasting.is_none() && idle.is_none() && requests.is_none() {
        return None;
    }
    Some(HttpProtocolOptions {
        idle_timeout: idle.map(duration),
        max_connection_duration: lasting.map(duration),
        max_requests_per_connection: requests.and_then(u32_value),
        ..Default::default()
    })
}

/// No panic mode: where few endpoints are healthy, still only those are used, as in Istio.
pub(crate) fn no_panic() -> cluster::cluster::CommonLbConfig {
    cluster::cluster::CommonLbConfig {
        healthy_panic_threshold: Some(Percent { value: 0.0 }),
        ..Default::default()
    }
}
