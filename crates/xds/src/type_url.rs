use std::fmt;

/// The resource types that travel over ADS.
///
/// Source: Envoy, "xDS REST and gRPC protocol", section "Resource types".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TypeUrl {
    /// CDS: `envoy.config.cluster.v3.Cluster`.
    Cluster,
    /// EDS: `envoy.config.endpoint.v3.ClusterLoadAssignment`.
    Endpoints,
    /// LDS: `envoy.config.listener.v3.Listener`.
    Listener,
    /// RDS: `envoy.config.route.v3.RouteConfiguration`.
    Route,
    /// VHDS: `envoy.config.route.v3.VirtualHost`.
    VirtualHost,
    /// SDS: `envoy.extensions.transport_sockets.tls.v3.Secret`.
    Secret,
    /// ECDS: `envoy.config.core.v3.TypedExtensionConfig`.
    ExtensionConfig,
    /// NDS, Istio's own: `istio.networking.nds.v1.NameTable`, for the agent's resolver.
    NameTable,
}

impl TypeUrl {
    /// Every type, in make-before-break order: what is referred to comes before what refers to it.
    pub const ALL: [TypeUrl; 8] = [
        TypeUrl::Cluster,
        TypeUrl::Endpoints,
        TypeUrl::Secret,
        TypeUrl::Listener,
        TypeUrl::ExtensionConfig,
        TypeUrl::Route,
        TypeUrl::VirtualHost,
        TypeUrl::NameTable,
    ];

    /// The URL as it stands on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            TypeUrl::Cluster => "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            TypeUrl::Endpoints => "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
            TypeUrl::Listener => "type.googleapis.com/envoy.config.listener.v3.Listener",
            TypeUrl::Route => "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
            TypeUrl::VirtualHost => "type.googleapis.com/envoy.config.route.v3.VirtualHost",
            TypeUrl::Secret => "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
            TypeUrl::ExtensionConfig => "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
            TypeUrl::NameTable => "type.googleapis.com/istio.networking.nds.v1.NameTable",
        }
    }

    /// The type of a URL; `None` for one that we do not serve.
    pub fn parse(url: &str) -> Option<TypeUrl> {
        TypeUrl::ALL.into_iter().find(|t| t.as_str() == url)
    }

    /// A number below the count of types, for arrays that hold something for each type.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The usual short name: `CDS`, `EDS`, `LDS`, `RDS`, `VHDS`, `SDS`, `ECDS`, `NDS`.
    pub const fn short(self) -> &'static str {
        match self {
            TypeUrl::Cluster => "CDS",
            TypeUrl::Endpoints => "EDS",
            TypeUrl::Listener => "LDS",
            TypeUrl::Route => "RDS",
            TypeUrl::VirtualHost => "VHDS",
            TypeUrl::Secret => "SDS",
            TypeUrl::ExtensionConfig => "ECDS",
            TypeUrl::NameTable => "NDS",
        }
    }
}

impl fmt::Display for TypeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}
