//! Rules of the policies that DestinationRule and Sidecar carry.

use super::common::{duration_at, duration_or_zero, not_negative, percent, port};
use super::host;
use crate::networking::traffic_policy::{
    ClientTlsMode, ClientTlsSettings, ConnectionPoolSettings, ConsistentHashLb, H2UpgradePolicy,
    HashAlgorithm, HashKey, HttpSettings, LbPolicy, LoadBalancerSettings, LocalityLoadBalancerSetting,
    OutlierDetection, PortTrafficPolicy, TcpSettings, TrafficPolicy, TunnelSettings,
};
use crate::wire::report::Report;

/// The Maglev table must be smaller than this prime.
const MAX_MAGLEV: u64 = 5_000_011;

/// Labels that tell the locality, about which `failover` already has its say.
const LOCALITY_LABELS: &[&str] =
    &["topology.kubernetes.io/region", "topology.kubernetes.io/zone", "topology.istio.io/subzone"];

/// Reports every error of a traffic policy.
pub fn validate(policy: &TrafficPolicy, report: &mut Report) {
    if *policy == TrafficPolicy::default() {
        report.error("traffic policy must have at least one field");
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        report.error("tunnel and proxyProtocol must not be set together");
    }
    common(
        report,
        policy.load_balancer.as_ref(),
        policy.connection_pool.as_ref(),
        policy.outlier_detection.as_ref(),
        policy.tls.as_ref(),
    );
    report.each("portLevelSettings", &policy.port_level_settings, port_policy);
    if let Some(tunnel) = &policy.tunnel {
        report.field("tunnel", |r| tunnel_rules(r, tunnel));
    }
    if let Some(budget) = &policy.retry_budget {
        report.field("retryBudget", |r| {
            if budget.percent.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
                r.error_at("percent", "must be in range 0..100");
            }
            if let Some(interval) = budget.budget_interval {
                r.check_at("budgetInterval", duration_or_zero(interval));
            }
        });
    }
}

fn common(
    report: &mut Report,
    lb: Option<&LoadBalancerSettings>,
    pool: Option<&ConnectionPoolSettings>,
    outlier: Option<&OutlierDetection>,
    tls: Option<&ClientTlsSettings>,
) {
    if let Some(lb) = lb {
        report.field("loadBalancer", |r| load_balancer(r, lb, outlier));
    }
    if let Some(pool) = pool {
        report.field("connectionPool", |r| connection_pool(r, pool));
    }
    if let Some(outlier) = outlier {
        report.field("outlierDetection", |r| outlier_detection(r, outlier));
    }
    if let Some(tls) = tls {
        report.field("tls", |r| client_tls(r, tls));
    }
}

fn port_policy(report: &mut Report, policy: &PortTrafficPolicy) {
    match &policy.port {
        Some(selector) => report.field("port", |r| r.check_at("number", port(selector.number))),
        None => report.error_at("port", "portLevelSettings must have a port"),
    }
    if (PortTrafficPolicy { port: policy.port.clone(), ..PortTrafficPolicy::default() }) == *policy {
        report.error("port traffic policy must have at least one field");
    }
    common(
        report,
        policy.load_balancer.as_ref(),
        policy.connection_pool.as_ref(),
        policy.outlier_detection.as_ref(),
        policy.tls.as_ref(),
    );
}

fn tunnel_rules(report: &mut Report, tunnel: &TunnelSettings) {
    if !matches!(tunnel.protocol.as_str(), "" | "CONNECT" | "POST") {
        report.error_at("protocol", format!("must be \"CONNECT\" or \"POST\", not {:?}", tunnel.protocol));
    }
    if !host::is_ip(&tunnel.target_host) && host::fqdn(&tunnel.target_host).is_err() {
        report.error_at(
            "targetHost",
            format!("{:?} is neither a host name nor an address", tunnel.target_host),
        );
    }
    report.check_at("targetPort", port(tunnel.target_port));
}

fn load_balancer(report: &mut Report, lb: &LoadBalancerSettings, outlier: Option<&OutlierDetection>) {
    if let Some(LbPolicy::ConsistentHash(hash)) = &lb.lb_policy {
        report.field("consistentHash", |r| consistent_hash(r, hash));
    }
    if let Some(locality) = &lb.locality_lb_setting {
        report.field("localityLbSetting", |r| locality_lb(r, locality, outlier.is_some()));
    }
    duration_at(report, "warmupDurationSecs", lb.warmup_duration_secs);
    if let Some(warmup) = &lb.warmup {
        report.field("warmup", |r| {
            match warmup.duration {
                Some(_) => duration_at(r, "duration", warmup.duration),
                None => r.error_at("duration", "duration is required for warmup"),
            }
            if warmup.minimum_percent.is_some_and(|p| !(0.0..=100.0).contains(&p)) {
                r.error_at("minimumPercent", "must be in range 0..100");
            }
            if warmup.aggression.is_some_and(|a| a < 1.0) {
                r.error_at("aggression", "must be at least 1.0");
            }
        });
        if lb.warmup_duration_secs.is_some() {
            report.error("only one of warmupDurationSecs and warmup can be set");
        }
    }
}

fn consistent_hash(report: &mut Report, hash: &ConsistentHashLb) {
    match &hash.hash_key {
        Some(HashKey::HttpCookie(cookie)) if cookie.name.is_empty() => {
            report.field("httpCookie", |r| r.error_at("name", "name is required for httpCookie"));
        }
        _ => {}
    }
    if hash.minimum_ring_size != 0 {
        report.warn_at("minimumRingSize", "deprecated; use ringHash.minimumRingSize");
        if hash.hash_algorithm.is_some() {
            report.error("only one of minimumRingSize and maglev or ringHash can be specified");
        }
    }
    if let Some(HashAlgorithm::Maglev(maglev)) = &hash.hash_algorithm {
        report.field("maglev", |r| match maglev.table_size {
            0 => r.error_at("tableSize", "tableSize must be set for maglev"),
            size if size >= MAX_MAGLEV => {
                r.error_at("tableSize", "tableSize must be less than 5000011 for maglev")
            }
            size if !is_prime(size) => {
                r.error_at("tableSize", format!("{size} is no prime number, as maglev needs"))
            }
            _ => {}
        });
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d))
}

/// Preference of localities: <https://istio.io/latest/docs/reference/config/networking/destination-rule/#LocalityLoadBalancerSetting>.
pub fn locality_lb(report: &mut Report, setting: &LocalityLoadBalancerSetting, has_outlier: bool) {
    if !setting.distribute.is_empty() && !setting.failover.is_empty() {
        report.error("can not simultaneously specify distribute and failover");
    }
    if !setting.distribute.is_empty() && !setting.failover_priority.is_empty() {
        report.warn_at("failoverPriority", "has no effect beside distribute");
    }
    if !setting.failover.is_empty() {
        report.each("failoverPriority", &setting.failover_priority, |r, label| {
            if LOCALITY_LABELS.contains(&label.split('=').next().unwrap_or_default()) {
                r.error(format!("can not simultaneously specify failover and the locality label {label:?}"));
            }
        });
    }
    if !setting.failover.is_empty() && !has_outlier {
        report.warn_at("failover", "outlierDetection must be set for failover to take effect");
    }
    report.each("distribute", &setting.distribute, |r, distribute| {
        r.check_at("from", locality(&distribute.from));
        r.field("to", |r| {
            for (to, weight) in &distribute.to {
                r.key(to, |r| {
                    r.check(locality(to));
                    if !(1..=100).contains(weight) {
                        r.error(format!("locality weight must be in range [1, 100], not {weight}"));
                    }
                });
            }
            let total: u64 = distribute.to.values().map(|weight| u64::from(*weight)).sum();
            if total != 100 {
                r.error(format!("total locality weight {total} != 100"));
            }
        });
    });
    let mut seen: Vec<&str> = Vec::new();
    for (index, distribute) in setting.distribute.iter().enumerate() {
        if let Some(other) = seen.iter().find(|other| overlap(other, &distribute.from)) {
            let message = format!("locality {:?} overlaps with {other:?}", distribute.from);
            report.field("distribute", |r| r.index(index, |r| r.error_at("from", message)));
        }
        seen.push(&distribute.from);
    }
    report.each("failover", &setting.failover, |r, failover| {
        if failover.from == failover.to {
            r.error(format!("failover must name different regions, not {:?} twice", failover.from));
        }
        for (field, region) in [("from", &failover.from), ("to", &failover.to)] {
            if region.contains('/') {
                r.error_at(field, format!("failover names regions only, not zones: {region:?}"));
            }
            if region.contains('*') {
                r.error_at(field, format!("failover region should not contain '*' wildcard: {region:?}"));
            }
        }
    });
}

/// `region/zone/subzone`; `*` only as the last segment.
fn locality(text: &str) -> Result<(), String> {
    let segments: Vec<&str> = text.split('/').collect();
    let (last, init) = segments.split_last().map_or(("", [].as_slice()), |(last, init)| (*last, init));
    if segments.len() > 3 || segments.iter().any(|segment| segment.is_empty()) {
        return Err(format!("locality {text:?} is not of the form region/zone/subzone"));
    }
    if init.iter().any(|segment| segment.contains('*')) || (last.contains('*') && last != "*") {
        return Err(format!("locality {text:?}: the wildcard '*' may only be the last segment"));
    }
    Ok(())
}

/// Whether two localities have something in common.
fn overlap(a: &str, b: &str) -> bool {
    let mut pairs = a.split('/').zip(b.split('/'));
    pairs.all(|(x, y)| x == y || x == "*" || y == "*")
}

/// Limits on connections and requests.
pub fn connection_pool(report: &mut Report, pool: &ConnectionPoolSettings) {
    if pool.http.is_none() && pool.tcp.is_none() {
        report.error("connection pool must have at least one field");
    }
    if let Some(http) = &pool.http {
        report.field("http", |r| http_settings(r, http));
    }
    if let Some(tcp) = &pool.tcp {
        report.field("tcp", |r| tcp_settings(r, tcp));
    }
}

fn http_settings(report: &mut Report, http: &HttpSettings) {
    not_negative(report, "http1MaxPendingRequests", http.http1_max_pending_requests);
    not_negative(report, "http2MaxRequests", http.http2_max_requests);
    not_negative(report, "maxRequestsPerConnection", http.max_requests_per_connection);
    not_negative(report, "maxRetries", http.max_retries);
    not_negative(report, "maxConcurrentStreams", http.max_concurrent_streams);
    if let Some(time) = http.idle_timeout {
        report.check_at("idleTimeout", duration_or_zero(time));
    }
    if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
        report.error_at("useClientProtocol", "must not be true when h2UpgradePolicy is UPGRADE");
    }
}

fn tcp_settings(report: &mut Report, tcp: &TcpSettings) {
    not_negative(report, "maxConnections", tcp.max_connections);
    duration_at(report, "connectTimeout", tcp.connect_timeout);
    duration_at(report, "maxConnectionDuration", tcp.max_connection_duration);
    if let Some(time) = tcp.idle_timeout {
        report.check_at("idleTimeout", duration_or_zero(time));
    }
    if let Some(keepalive) = &tcp.tcp_keepalive {
        report.field("tcpKeepalive", |r| {
            duration_at(r, "time", keepalive.time);
            duration_at(r, "interval", keepalive.interval);
        });
    }
}

fn outlier_detection(report: &mut Report, outlier: &OutlierDetection) {
    duration_at(report, "baseEjectionTime", outlier.base_ejection_time);
    duration_at(report, "interval", outlier.interval);
    if outlier.consecutive_errors != 0 {
        report
            .warn_at("consecutiveErrors", "deprecated; use consecutiveGatewayErrors or consecutive5xxErrors");
    }
    if !outlier.split_external_local_origin_errors
        && outlier.consecutive_local_origin_failures.unwrap_or(0) > 0
    {
        report.error_at(
            "consecutiveLocalOriginFailures",
            "has no effect unless splitExternalLocalOriginErrors is true",
        );
    }
    report.check_at("maxEjectionPercent", percent(outlier.max_ejection_percent));
    report.check_at("minHealthPercent", percent(outlier.min_health_percent));
}

/// What stands before the namespaces and names of ConfigMaps with authorities.
const CONFIG_MAP: &str = "configmap://";

/// A ConfigMap is named with its namespace.
///
/// Source: Istio, `credentials.ParseResourceName`.
pub(super) fn config_map(report: &mut Report, field: &str, name: &str) {
    let Some(map) = name.strip_prefix(CONFIG_MAP) else { return };
    let complete = map
        .split_once('/')
        .is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'));
    if !complete {
        report.error_at(field, format!("{name:?} must be of form configmap://NAMESPACE/NAME"));
    }
}

/// TLS towards a destination: what each mode needs and forbids.
pub fn client_tls(report: &mut Report, tls: &ClientTlsSettings) {
    let files = [
        ("clientCertificate", &tls.client_certificate),
        ("privateKey", &tls.private_key),
        ("caCertificates", &tls.ca_certificates),
    ];
    if !tls.credential_name.is_empty() {
        for (field, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
            report.error_at(field, "certificates cannot be given by file when credentialName is set");
        }
        config_map(report, "credentialName", &tls.credential_name);
        if tls.credential_name.starts_with(CONFIG_MAP) && tls.mode == Some(ClientTlsMode::Mutual) {
            report.error_at("credentialName", "a ConfigMap has no key for MUTUAL TLS; name a Secret");
        }
        return;
    }
    match tls.mode.unwrap_or_default() {
        ClientTlsMode::Mutual => {
            for (field, _) in files.iter().take(2).filter(|(_, file)| file.is_empty()) {
                report.error_at(field, format!("{field} is required for mutual TLS"));
            }
        }
        ClientTlsMode::IstioMutual => {
            for (field, _) in files.iter().filter(|(_, file)| !file.is_empty()) {
                report.warn_at(
                    field,
                    "has no effect in mode ISTIO_MUTUAL, which uses the mesh's own certificates",
                );
            }
        }
        ClientTlsMode::Disable | ClientTlsMode::Simple => {}
    }
}
