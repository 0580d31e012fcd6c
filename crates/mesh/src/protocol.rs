//! Which protocol a port speaks, by Istio's protocol selection:
//! <https://istio.io/latest/docs/ops/configuration/traffic-management/protocol-selection/>.

/// The protocol of a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Protocol {
    Http,
    Http2,
    Grpc,
    GrpcWeb,
    Https,
    Tls,
    Tcp,
    Mongo,
    Mysql,
    Redis,
    /// Not proxied at all.
    Udp,
    /// Not declared: the proxy looks at the first bytes of each connection.
    Auto,
}

/// Ports whose servers usually speak first, so that looking at the client's bytes would stall: SMTP, DNS, MySQL,
/// MongoDB. Undeclared, they are TCP.
const SERVER_FIRST_PORTS: [u16; 4] = [25, 53, 3306, 27017];

impl Protocol {
    /// The protocol of a Kubernetes service port: `appProtocol` wins over the port's name; `transport` is `TCP`,
    /// `UDP` or `SCTP`.
    pub fn of_port(number: u16, name: &str, app_protocol: Option<&str>, transport: Option<&str>) -> Protocol {
        if transport.is_some_and(|t| !t.eq_ignore_ascii_case("TCP")) {
            return Protocol::Udp;
        }
        let name = match app_protocol {
            Some("kubernetes.io/h2c") => return Protocol::Http2,
            Some("kubernetes.io/ws") => return Protocol::Http,
            Some("kubernetes.io/wss") => return Protocol::Https,
            Some(declared) => declared,
            None => name,
        };
        let declared = Protocol::of_name(name);
        if declared == Protocol::Auto && SERVER_FIRST_PORTS.contains(&number) {
            Protocol::Tcp
        } else {
            declared
        }
    }

    /// The protocol that a port's name `protocol[-suffix]` declares.
    pub fn of_name(name: &str) -> Protocol {
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("grpc-web") {
            return Protocol::GrpcWeb;
        }
        match lower.split('-').next().unwrap_or_default() {
            "http" | "http_proxy" => Protocol::Http,
            "http2" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "https" => Protocol::Https,
            "tls" => Protocol::Tls,
            "tcp" => Protocol::Tcp,
            "mongo" => Protocol::Mongo,
            "mysql" => Protocol::Mysql,
            "redis" => Protocol::Redis,
            "udp" => Protocol::Udp,
            _ => Protocol::Auto,
        }
    }

    /// Whether requests are routed by their HTTP heads.
    pub fn is_http(self) -> bool {
        matches!(self, Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Whether the upstream speaks HTTP/2 with prior knowledge.
    pub fn is_http2(self) -> bool {
        matches!(self, Protocol::Http2 | Protocol::Grpc | Protocol::GrpcWeb)
    }

    /// Whether connections are encrypted by the application and may be routed by SNI.
    pub fn is_tls(self) -> bool {
        matches!(self, Protocol::Https | Protocol::Tls)
    }

    /// Whether connections are forwarded byte for byte.
    pub fn is_tcp(self) -> bool {
        !self.is_http() && !matches!(self, Protocol::Udp | Protocol::Auto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_declare_protocols_by_their_prefix() {
        for (name, protocol) in [
            ("http", Protocol::Http),
            ("http-api", Protocol::Http),
            ("HTTP2-x", Protocol::Http2),
            ("grpc-web", Protocol::GrpcWeb),
            ("grpc", Protocol::Grpc),
            ("tcp-redis", Protocol::Tcp),
            ("redis", Protocol::Redis),
            ("httpx", Protocol::Auto),
            ("", Protocol::Auto),
        ] {
            assert_eq!(Protocol::of_name(name), protocol, "{name}");
        }
    }

    #[test]
    fn app_protocol_wins_and_udp_is_never_proxied() {
        assert_eq!(Protocol::of_port(80, "tcp", Some("http"), Some("TCP")), Protocol::Http);
        assert_eq!(Protocol::of_port(80, "tcp", Some("kubernetes.io/h2c"), None), Protocol::Http2);
        assert_eq!(Protocol::of_port(53, "http", None, Some("UDP")), Protocol::Udp);
    }

    #[test]
    fn undeclared_ports_of_server_first_protocols_are_tcp() {
        assert_eq!(Protocol::of_port(3306, "db", None, None), Protocol::Tcp);
        assert_eq!(Protocol::of_port(3307, "db", None, None), Protocol::Auto);
    }
}
