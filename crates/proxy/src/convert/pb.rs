//! Short names for the packages that conversion reads.

pub(crate) use lateen_xds::pb::envoy::config::{
    accesslog::v3 as log, cluster::v3 as cds, core::v3 as core, endpoint::v3 as eds, listener::v3 as lds,
    route::v3 as rds,
};
pub(crate) use lateen_xds::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
pub(crate) use lateen_xds::pb::envoy::r#type::matcher::v3 as matcher;
pub(crate) use lateen_xds::pb::envoy::r#type::v3 as types;
pub(crate) use lateen_xds::pb::google::protobuf;
