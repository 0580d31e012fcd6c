//! The one table of fields that are known to change nothing here, with the reason.

/// (message, fields, why they change nothing).
const IGNORED: &[(&str, &[&str], &str)] = &[
    ("Bootstrap", &["node_context_params", "flags_path", "perf_tracing_file_path"], "read by nothing here"),
    ("Bootstrap", &["stats_sinks", "deferred_stat_options", "stats_config", "stats_flush_interval"], STATS),
    ("Bootstrap", &["stats_server_version_override", "enable_dispatcher_stats"], STATS),
    ("Bootstrap", &["stats_flush", "stats_eviction"], STATS),
    ("Bootstrap", &["watchdog", "watchdogs", "fatal_actions"], "no watchdog"),
    ("Bootstrap", &["layered_runtime"], "flags of Envoy's own code"),
    ("Bootstrap", &["overload_manager"], "no overload manager"),
    (
        "Bootstrap",
        &["use_tcp_for_dns_lookups", "dns_resolution_config", "typed_dns_resolver_config"],
        RESOLVER,
    ),
    (
        "Bootstrap",
        &["bootstrap_extensions", "listener_manager", "default_socket_interface"],
        "choice of Envoy's parts",
    ),
    (
        "Bootstrap",
        &["default_regex_engine", "inline_headers", "certificate_provider_instances"],
        "choice of Envoy's parts",
    ),
    (
        "Bootstrap",
        &["default_config_source", "xds_config_tracker_extension"],
        "used by nothing that is supported",
    ),
    (
        "Bootstrap",
        &["application_log_config", "grpc_async_client_manager_config"],
        "details of Envoy's own process",
    ),
    (
        "Bootstrap",
        &["memory_allocator_manager", "enable_worker_cpu_affinity"],
        "details of Envoy's own process",
    ),
    (
        "ClusterManager",
        &["local_cluster_name", "outlier_detection", "load_stats_config"],
        "zones and load reports",
    ),
    ("ClusterManager", &["enable_deferred_cluster_creation"], "clusters cost little until they are used"),
    ("Admin", &["access_log", "access_log_path", "profile_path"], "administration is not logged"),
    ("Admin", &["socket_options", "ignore_global_conn_limit"], SOCKETS),
    (
        "Cluster",
        &["per_connection_buffer_limit_bytes", "per_connection_buffer_high_watermark_timeout"],
        BUFFERS,
    ),
    ("Cluster", &["stats_matcher", "track_timeout_budgets", "track_cluster_stats"], STATS),
    (
        "Cluster",
        &["lrs_server", "lrs_report_endpoint_metrics"],
        "load reports tell the server, traffic is the same",
    ),
    (
        "Cluster",
        &["dns_jitter", "dns_failure_refresh_rate", "respect_dns_ttl", "typed_dns_resolver_config"],
        RESOLVER,
    ),
    (
        "Cluster",
        &["wait_for_warm_on_init", "cleanup_interval", "preconnect_policy"],
        "timing of work, not its result",
    ),
    ("Cluster", &["close_connections_on_host_health_failure", "ignore_health_on_host_removal"], HEALTH),
    ("Cluster", &["http_protocol_options"], "case of header names and parser details of HTTP/1"),
    ("CommonLbConfig", &["update_merge_window", "close_connections_on_host_set_change"], "timing of updates"),
    ("CommonLbConfig", &["ignore_new_hosts_until_first_hc"], HEALTH),
    (
        "ZoneAwareLbConfig",
        &["routing_enabled", "min_cluster_size", "force_locality_direct_routing", "force_local_zone"],
        "zones are told apart by the control plane, by priorities and weights",
    ),
    ("ZoneAwareLbConfig", &["locality_basis"], "zones are told apart by the control plane"),
    ("Thresholds", &["track_remaining"], STATS),
    ("Thresholds", &["max_connection_pools"], "pools are per worker and bounded by the number of endpoints"),
    ("RetryBudget", &["budget_interval"], "the budget counts what is under way"),
    (
        "OutlierDetection",
        &[
            "enforcing_success_rate",
            "success_rate_minimum_hosts",
            "success_rate_request_volume",
            "success_rate_stdev_factor",
            "enforcing_local_origin_success_rate",
            "failure_percentage_minimum_hosts",
            "failure_percentage_request_volume",
            "failure_percentage_threshold",
        ],
        "settings of ejection by success rate, which needs more endpoints and requests than meshes give it",
    ),
    ("OutlierDetection", &["successful_active_health_check_uneject_host"], HEALTH),
    ("OutlierDetection", &["max_ejection_time_jitter", "always_eject_one_host"], "details of ejection times"),
    ("ConfigSource", &["authorities", "resource_api_version"], "there is one control plane, and v3 alone"),
    (
        "PathConfigSource",
        &["watched_directory", "poll_interval"],
        "files are looked at often, however they change",
    ),
    ("HealthCheck", &["reuse_connection"], "every check has a connection of its own"),
    ("HealthCheck", &["event_log_path", "event_logger", "event_service"], CHECK_LOGS),
    ("HealthCheck", &["always_log_health_check_failures", "always_log_health_check_success"], CHECK_LOGS),
    ("HttpHealthCheck", &["response_buffer_size"], "the body is not read"),
    ("UpstreamConnectionOptions", &["set_local_interface_name_on_upstream_connections"], STATS),
    ("UpstreamConnectionOptions", &["happy_eyeballs_config"], "endpoints have one address each"),
    ("BindConfig", &["freebind", "validate_network_namespaces"], "the source address is one of the host"),
    (
        "HttpProtocolOptions",
        &["max_connection_duration_jitter", "max_response_headers_kb"],
        "limits of details",
    ),
    ("HttpProtocolOptions", &["headers_with_underscores_action"], "underscores are legal and forwarded"),
    ("HttpProtocolOptions", &["header_validation_config"], "heads are always validated"),
    (
        "Http2ProtocolOptions",
        &[
            "hpack_table_size",
            "allow_connect",
            "max_outbound_frames",
            "max_outbound_control_frames",
            "max_consecutive_inbound_frames_with_empty_payload",
            "max_inbound_priority_frames_per_stream",
            "max_inbound_window_update_frames_per_data_frame_sent",
            "stream_error_on_invalid_http_messaging",
            "override_stream_error_on_invalid_http_message",
            "use_oghttp2_codec",
            "max_metadata_size",
            "enable_huffman_encoding",
            "max_header_field_size_kb",
            "disallow_obs_text",
            "connection_keepalive",
            "stream_reset_burst",
            "stream_reset_rate",
        ],
        "limits and details of the HTTP/2 codec, which has its own",
    ),
    (
        "LeastRequest",
        &["slow_start_config", "selection_method", "enable_full_scan"],
        "refinements of the balance",
    ),
    ("LeastRequestLbConfig", &["slow_start_config"], "refinements of the balance"),
    ("RoundRobin", &["slow_start_config"], "refinements of the balance"),
    ("RingHashLbConfig", &["hash_function"], "which hash it is does not matter to consistency"),
    ("DnsCluster", &["dns_failure_refresh_rate", "respect_dns_ttl", "dns_jitter"], RESOLVER),
    ("DnsCluster", &["typed_dns_resolver_config", "dns_min_refresh_rate"], RESOLVER),
    ("ClusterLoadAssignment", &["named_endpoints"], "the endpoints refer to them by name, which is refused"),
    ("Policy", &["endpoint_stale_after"], "the control plane takes endpoints away itself"),
    ("LocalityLbEndpoints", &["metadata", "proximity"], "read by nothing that is supported"),
    ("Endpoint", &["observability_name"], STATS),
    ("Listener", &["stat_prefix", "stats_matcher"], STATS),
    ("Listener", &["per_connection_buffer_high_watermark_timeout"], BUFFERS),
    ("Listener", &["metadata"], "read by nothing that is supported"),
    ("Listener", &["connection_balance_config", "max_connections_to_accept_per_socket_event"], SOCKETS),
    ("Listener", &["reuse_port", "enable_reuse_port", "tcp_fast_open_queue_length", "enable_mptcp"], SOCKETS),
    ("Listener", &["freebind", "socket_options"], SOCKETS),
    ("Listener", &["ignore_global_conn_limit", "bypass_overload_manager"], "there is no overload manager"),
    ("AdditionalAddress", &["socket_options", "tcp_keepalive"], SOCKETS),
    ("FilterChain", &["metadata"], "read by nothing that is supported"),
    ("TlsInspector", &["enable_ja3_fingerprinting", "enable_ja4_fingerprinting"], STATS),
    ("TlsInspector", &["initial_read_buffer_size", "max_client_hello_size"], BUFFERS),
    (
        "TlsInspector",
        &["close_connection_on_client_hello_parsing_errors"],
        "such a connection matches no TLS chain",
    ),
    (
        "ProxyProtocol",
        &["rules", "pass_through_tlvs", "tlv_location"],
        "TLVs are read by nothing that is supported",
    ),
    ("ProxyProtocol", &["stat_prefix"], STATS),
    ("HttpConnectionManager", &["http3_protocol_options"], "HTTP/3 itself is refused"),
    (
        "HttpConnectionManager",
        &["http1_safe_max_connection_duration"],
        "connections always end between requests",
    ),
    (
        "HttpConnectionManager",
        &["stream_flush_timeout", "drain_timeout_jitter", "delayed_close_timeout"],
        TIMING,
    ),
    ("HttpConnectionManager", &["access_log_flush_interval", "flush_access_log_on_new_request"], LOG_TIMES),
    ("HttpConnectionManager", &["access_log_options"], LOG_TIMES),
    (
        "HttpConnectionManager",
        &["stream_error_on_invalid_http_message"],
        "400 and a closed connection in any case",
    ),
    ("HttpConnectionManager", &["proxy_status_config"], "the header `proxy-status` is not sent"),
    ("HttpConnectionManager", &["typed_header_validation_config"], "heads are always validated"),
    ("HttpConnectionManager", &["append_local_overload"], "there is no overload manager"),
    ("HttpConnectionManager", &["add_proxy_protocol_connection_state"], "read by nothing that is supported"),
    ("InternalAddressConfig", &["unix_sockets"], "listeners are TCP"),
    ("SetCurrentClientCertDetails", &["issuer", "format"], "details of the forwarded certificate's text"),
    ("HttpFilter", &["is_optional"], "decided where a filter is not known"),
    ("Http1ProtocolOptions", &["allow_absolute_url", "header_key_format", "enable_trailers"], HTTP1),
    ("Http1ProtocolOptions", &["allow_chunked_length", "send_fully_qualified_url"], HTTP1),
    ("Http1ProtocolOptions", &["override_stream_error_on_invalid_http_message", "use_balsa_parser"], HTTP1),
    (
        "Http1ProtocolOptions",
        &["allow_custom_methods", "ignore_http_11_upgrade", "default_host_for_http_10"],
        HTTP1,
    ),
    ("Router", &["dynamic_stats", "start_child_span"], STATS),
    ("Router", &["upstream_log_options"], LOG_TIMES),
    (
        "Router",
        &["respect_expected_rq_timeout", "suppress_grpc_request_failure_code_stats"],
        "details of headers",
    ),
    ("Router", &["strict_check_headers", "reject_connect_request_early_data"], "details of headers"),
    (
        "TcpProxy",
        &["backoff_options", "upstream_connect_mode", "max_early_data_bytes", "check_drain_close"],
        TIMING,
    ),
    ("TcpProxy", &["max_downstream_connection_duration_jitter_percentage"], TIMING),
    (
        "TcpProxy",
        &["access_log_flush_interval", "flush_access_log_on_connected", "access_log_options"],
        LOG_TIMES,
    ),
    (
        "TcpProxy",
        &["proxy_protocol_tlvs", "proxy_protocol_tlv_merge_policy"],
        "PROXY protocol is not sent upstream",
    ),
    ("RouteConfiguration", &["validate_clusters"], "a cluster may come later; until then requests get 503"),
    ("RouteConfiguration", &["cluster_specifier_plugins"], "refused where a route uses one"),
    ("RouteConfiguration", &["metadata"], "read by nothing that is supported"),
    ("VirtualHost", &["virtual_clusters"], STATS),
    ("VirtualHost", &["rate_limits"], "read by the rate limit filter alone, which is refused"),
    ("VirtualHost", &["hedge_policy", "include_is_timeout_retry_header"], "requests are not hedged"),
    ("VirtualHost", &["metadata"], "read by nothing that is supported"),
    ("HttpTracing", &["verbose"], "annotations of Envoy's own"),
    (
        "ZipkinConfig",
        &["split_spans_for_request", "timestamp_trace_ids"],
        "what `spawn_upstream_span` says, and how ids are made up",
    ),
    (
        "OpenTelemetryConfig",
        &["set_telemetry_sdk_resource_attributes", "set_instrumentation_scope"],
        "attributes of Envoy's own library",
    ),
    ("Route", &["stat_prefix"], STATS),
    ("Route", &["per_request_buffer_limit_bytes", "request_body_buffer_limit"], BUFFERS),
    ("RouteAction", &["flush_timeout", "early_data_policy"], TIMING),
    ("RouteAction", &["rate_limits", "include_vh_rate_limits"], "read by the rate limit filter alone"),
    ("RouteAction", &["hedge_policy"], "requests are not hedged"),
    ("RouteAction", &["internal_redirect_action", "max_internal_redirects"], "redirects go to the client"),
    ("RetryPolicy", &["rate_limited_retry_back_off"], TIMING),
    ("RetryPolicy", &["retry_priority", "retry_options_predicates", "refresh_cluster_on_retry"], RETRIES),
    ("WeightedCluster", &["total_weight", "runtime_key_prefix"], "weights sum up by themselves"),
    ("RequestMirrorPolicy", &["trace_sampled"], "spans are not made"),
    ("Cookie", &["attributes"], "attributes of a cookie that is made"),
    ("Decorator", &["propagate"], "the operation names spans, and no header tells it"),
    ("HttpFault", &["disable_downstream_cluster_stats"], STATS),
    (
        "HttpFault",
        &[
            "delay_percent_runtime",
            "abort_percent_runtime",
            "delay_duration_runtime",
            "abort_http_status_runtime",
            "max_active_faults_runtime",
            "response_rate_limit_percent_runtime",
            "abort_grpc_status_runtime",
        ],
        "keys of the runtime, which holds nothing",
    ),
    ("HttpFault", &["filter_metadata"], "written to metadata that nothing reads"),
    ("CorsPolicy", &["shadow_enabled"], STATS),
    ("CorsPolicy", &["allow_private_network_access"], "the header that it answers is forwarded"),
    ("Rbac", &["track_per_rule_stats"], STATS),
    ("Rbac", &["enforcement_type"], "the facts of a connection are known when it begins, and do not change"),
    ("ExtAuthz", &["bootstrap_metadata_labels_key"], "labels of the destination, which the service knows"),
    ("ExtAuthz", &["charge_cluster_response_stats", "emit_filter_state_stats"], STATS),
    ("ExtAuthz", &["emit_client_span", "filter_metadata"], "spans are not made, and nothing reads it"),
    ("ExtAuthz", &["validate_mutations", "enforce_response_header_limits"], "answers are always checked"),
    ("ExtAuthz", &["enable_dynamic_metadata_ingestion"], "metadata of answers are always told"),
    ("ExtAuthz", &["send_tls_alert_on_denial"], "a refused connection is closed"),
    ("CheckSettings", &["emit_client_span"], "spans are not made"),
    (
        "EnvoyGrpc",
        &["max_receive_message_length", "skip_envoy_headers"],
        "answers are bounded by the proxy's own limit",
    ),
    ("JwtProvider", &["jwt_cache_config"], "signatures are checked each time"),
    (
        "RemoteJwks",
        &["retry_policy"],
        "a failed fetch is tried again after `failed_refetch_duration`, for ever",
    ),
    ("JwksAsyncFetch", &["fast_listener"], "listeners never wait for keys; requests do"),
    ("FilterConfig", &["is_optional"], "decided where a filter is not known"),
    ("AccessLog", &["name"], "names the logger, which its type does as well"),
    ("SubstitutionFormatString", &["content_type"], "logs have no content type"),
    ("SubstitutionFormatString", &["json_format_options"], "order of keys"),
    ("UpstreamTlsContext", &["allow_renegotiation", "enforce_rsa_key_usage"], TLS),
    ("DownstreamTlsContext", &["session_timeout", "full_scan_certs_on_sni_mismatch"], TLS),
    ("CommonTlsContext", &["key_log"], TLS),
    ("TlsParameters", &["signature_algorithms", "compliance_policies"], TLS),
    ("CertificateValidationContext", &["watched_directory", "max_verify_depth"], TLS),
    (
        "TlsCertificate",
        &["watched_directory", "ocsp_staple", "signed_certificate_timestamp", "tls_params"],
        TLS,
    ),
];

const BUFFERS: &str = "buffers are bounded by the proxy's own limits";
const STATS: &str = "concerns statistics alone";
const RESOLVER: &str = "names are looked up by the system's resolver";
const HEALTH: &str =
    "an endpoint is used, ejected or gone as discovery and checks tell, whatever told the other thing";
const CHECK_LOGS: &str = "changes of health are written to the process's log";
const SOCKETS: &str = "details of listening sockets; every worker has its own";
const TIMING: &str = "refinements of timing";
const LOG_TIMES: &str = "log lines are written at the end of a stream";
const HTTP1: &str = "details of the HTTP/1 codec";
const RETRIES: &str = "refinements of which host a retry takes";
const TLS: &str = "the TLS library's own choice holds";

/// Whether a field stands in the table; checked when the crate is built.
pub(crate) const fn listed(message: &str, field: &str) -> bool {
    let mut row = 0;
    while row < IGNORED.len() {
        if same(IGNORED[row].0, message) {
            let mut column = 0;
            while column < IGNORED[row].1.len() {
                if same(IGNORED[row].1[column], field) {
                    return true;
                }
                column += 1;
            }
        }
        row += 1;
    }
    false
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
