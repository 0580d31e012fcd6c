/// What an operator reads.
#[derive(Debug)]
pub(super) enum Operator {
    StartTime(Option<TimeFormat>),
    Request(HeaderNames),
    RequestWithoutQuery(HeaderNames),
    Response(HeaderNames),
    Trailer(HeaderNames),
    Number(Number),
    Address(Address, AddressPart),
    Text(Text),
    GrpcStatus(GrpcForm),
    /// A constant: host name, environment.
    Constant(Box<[u8]>),
    /// Reads what nothing here sets.
    Nothing,
    UniqueId,
    /// Of the downstream connection's TLS session.
    Connection(Tls),
    /// Of the upstream connection's.
    UpstreamTls(Tls),
    /// What filters told: a namespace and the way to the value in it.
    Metadata(Box<str>, Box<[Box<str>]>),
}

/// A header and its alternative, in lower case.
#[derive(Debug)]
pub(super) struct HeaderNames {
    pub(super) main: Box<str>,
    pub(super) alternative: Option<Box<str>>,
}

/// How a time is written: strftime's specifiers with Envoy's `%f`.
#[derive(Debug)]
pub(super) struct TimeFormat(pub(super) Box<str>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    ResponseCode,
    BytesReceived,
    BytesSent,
    RequestHeaderBytes,
    ResponseHeaderBytes,
    UpstreamWireSent,
    UpstreamWireReceived,
    Duration,
    RequestDuration,
    RequestTxDuration,
    ResponseDuration,
    ResponseTxDuration,
    ConnectionId,
    StreamId,
    Attempts,
    GrpcStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Upstream,
    UpstreamLocal,
    DownstreamLocal,
    DownstreamRemote,
    DownstreamDirectRemote,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressPart {
    Whole,
    Host,
    Port,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Protocol,
    UpstreamProtocol,
    ResponseCodeDetails,
    TerminationDetails,
    Flags,
    FlagsLong,
    UpstreamCluster,
    UpstreamClusterRaw,
    UpstreamFailure,
    DownstreamFailure,
    ServerName,
    RouteName,
    VirtualHost,
    FilterChain,
    Method,
    Authority,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Version,
    Cipher,
    SessionReused,
    PeerUriSan,
    PeerDnsSan,
    PeerIpSan,
    PeerSubject,
    PeerIssuer,
    PeerSerial,
    PeerFingerprint,
    PeerCert,
    PeerValidFrom,
    PeerValidUntil,
    LocalUriSan,
    LocalDnsSan,
    LocalSubject,
}
