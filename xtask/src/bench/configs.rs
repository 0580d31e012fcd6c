//! The same work for every proxy: one listener for HTTP/1.1, one for h2c, one for TCP, all to one upstream.

use std::fmt::Write as _;

/// Ports of one proxy under measurement and of its upstream.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// HTTP/1.1 in and out.
    pub http1: u16,
    /// h2c in and out.
    pub http2: u16,
    /// TCP.
    pub tcp: u16,
    /// The proxy's administration.
    pub admin: u16,
    /// Upstream that speaks HTTP/1.1.
    pub upstream_http1: u16,
    /// Upstream that speaks h2c.
    pub upstream_http2: u16,
}

/// Envoy's bootstrap, which Lateen's proxy reads as well. `extra` clusters are never used: they cost memory.
pub fn envoy(p: &Ports, extra: usize) -> String {
    let http = |name: &str, port: u16, codec: &str, cluster: &str| {
        format!(
            r#"
  - name: {name}
    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          codec_type: {codec}
          route_config:
            name: {name}
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: {cluster}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"#
        )
    };
    let cluster = |name: &str, port: u16, options: &str| {
        format!(
            r#"
  - name: {name}
    type: STATIC
    connect_timeout: 1s
    circuit_breakers: {{thresholds: [{{max_connections: 4096, max_pending_requests: 4096, max_requests: 4096}}]}}{options}
    load_assignment:
      cluster_name: {name}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}}}"#
        )
    };
    let h2 = r#"
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}"#;
    let mut text = format!(
        "admin:\n  address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}\nstatic_resources:\n  listeners:",
        p.admin
    );
    text += &http("http1", p.http1, "HTTP1", "upstream1");
    text += &http("http2", p.http2, "HTTP2", "upstream2");
    // Writing to a String does not fail.
    let _ = write!(
        text,
        r#"
  - name: tcp
    address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: upstream1
  clusters:"#,
        p.tcp
    );
    text += &cluster("upstream1", p.upstream_http1, "");
    text += &cluster("upstream2", p.upstream_http2, h2);
    for number in 0..extra {
        text += &cluster(&format!("extra-{number}"), p.upstream_http1, "");
    }
    text.push('\n');
    text
}

/// HAProxy's configuration.
pub fn haproxy(p: &Ports) -> String {
    format!(
        r"global
  nbthread 1
  maxconn 4096
defaults
  timeout connect 1s
  timeout client 30s
  timeout server 30s
frontend http1
  mode http
  bind 127.0.0.1:{http1}
  default_backend up1
backend up1
  mode http
  http-reuse always
  server s 127.0.0.1:{up1}
frontend http2
  mode http
  bind 127.0.0.1:{http2} proto h2
  default_backend up2
backend up2
  mode http
  http-reuse always
  server s 127.0.0.1:{up2} proto h2
frontend tcp
  mode tcp
  bind 127.0.0.1:{tcp}
  default_backend uptcp
backend uptcp
  mode tcp
  server s 127.0.0.1:{up1}
",
        http1 = p.http1,
        http2 = p.http2,
        tcp = p.tcp,
        up1 = p.upstream_http1,
        up2 = p.upstream_http2,
    )
}

/// nginx as a proxy; it speaks HTTP/1.1 to upstreams, also for h2c requests.
pub fn nginx(p: &Ports, folder: &str) -> String {
    format!(
        "{}stream {{ server {{ listen 127.0.0.1:{}; proxy_pass 127.0.0.1:{}; }} }}\nhttp {{ access_log off; \
         keepalive_requests 1000000; upstream u {{ server 127.0.0.1:{}; keepalive 64; keepalive_requests 1000000; }}\n\
         server {{ listen 127.0.0.1:{}; listen 127.0.0.1:{} http2; location / {{ proxy_pass http://u; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }} }}\n",
        nginx_head(folder, true),
        p.tcp,
        p.upstream_http1,
        p.upstream_http1,
        p.http1,
        p.http2
    )
}

/// nginx as the upstream: 1 KiB over HTTP/1.1 and h2c.
pub fn upstream(p: &Ports, folder: &str) -> String {
    format!(
        "{}http {{ access_log off; keepalive_requests 1000000; server {{ listen 127.0.0.1:{}; listen 127.0.0.1:{} http2; \
         location / {{ return 200 \"{}\"; }} }} }}\n",
        nginx_head(folder, false),
        p.upstream_http1,
        p.upstream_http2,
        "x".repeat(1024)
    )
}

fn nginx_head(folder: &str, stream: bool) -> String {
    let module = match stream {
        true => "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n",
        false => "",
    };
    format!(
        "{module}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;\n\
         events {{ worker_connections 4096; }}\n"
    )
}
