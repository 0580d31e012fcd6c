//! What a bootstrap asks for.

#![allow(deprecated, reason = "Envoy takes deprecated fields, and so must we")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use lateen_xds::client::Flavour;
use lateen_xds::pb::envoy::config::bootstrap::v3 as pb;
use lateen_xds::pb::envoy::config::cluster::v3::Cluster;
use lateen_xds::pb::envoy::config::core::v3 as core;

use super::BootstrapError;
use crate::config::UpstreamSocket;
use crate::convert::config_source::{self, Source};
use crate::convert::{self, At, take};
use crate::xds_client::Target;

/// A bootstrap, checked.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Where administration listens.
    pub(crate) admin: Option<SocketAddr>,
    /// Socket settings of every upstream connection.
    pub(crate) upstream_socket: UpstreamSocket,
    /// The control plane.
    pub(crate) ads: Option<Ads>,
    /// Where the static clusters lead that secrets may come from.
    pub(crate) streams: BTreeMap<String, Vec<Target>>,
    /// The file that clusters come from.
    pub(crate) clusters_file: Option<PathBuf>,
    /// The file that listeners come from.
    pub(crate) listeners_file: Option<PathBuf>,
}

/// How the control plane is reached.
#[derive(Clone, Debug)]
pub(crate) struct Ads {
    pub(crate) flavour: Flavour,
    /// Where its cluster leads, tried in turn.
    pub(crate) hosts: Vec<Target>,
    pub(crate) initial_metadata: Vec<(String, String)>,
    pub(crate) wants_listeners: bool,
    pub(crate) wants_clusters: bool,
}

impl Plan {
    /// Takes a bootstrap apart.
    ///
    /// # Errors
    /// The path of what cannot be used.
    pub(crate) fn read(message: &pb::Bootstrap) -> Result<Plan, BootstrapError> {
        let at = &At::root("bootstrap");
        read(message, at)
            .map_err(|error| BootstrapError::Resource { resource: "bootstrap".to_owned(), error })
    }
}

fn read(message: &pb::Bootstrap, at: &At<'_>) -> convert::Converted<Plan> {
    use pb::Bootstrap;
    take!(message, at, Bootstrap { static_resources, dynamic_resources, cluster_manager, admin, node, tracing } ignore {
        node_context_params, flags_path, stats_sinks, deferred_stat_options, stats_config, stats_flush_interval,
        watchdog, watchdogs, layered_runtime, overload_manager, enable_dispatcher_stats,
        stats_server_version_override, use_tcp_for_dns_lookups, dns_resolution_config, typed_dns_resolver_config,
        bootstrap_extensions, fatal_actions, default_config_source, default_socket_interface,
        certificate_provider_instances, inline_headers, perf_tracing_file_path, default_regex_engine,
        listener_manager, application_log_config, grpc_async_client_manager_config, memory_allocator_manager,
        enable_worker_cpu_affinity, stats_flush, stats_eviction, xds_config_tracker_extension,
    } refuse { hds_config, header_prefix, config_sources, xds_delegate_extension });
    // Read with the node, where there are tracers.
    let _ = (node, tracing);
    let mut plan = Plan::default();
    if let Some(admin) = admin {
        plan.admin = admin_address(admin, &at.field("admin"))?;
    }
    if let Some(manager) = cluster_manager {
        use pb::ClusterManager;
        let at = at.field("cluster_manager");
        take!(manager, at, ClusterManager { upstream_bind_config } ignore {
            local_cluster_name, outlier_detection, load_stats_config, enable_deferred_cluster_creation,
        });
        if let Some(bind) = upstream_bind_config {
            plan.upstream_socket = convert::bind_config(bind, &at.field("upstream_bind_config"))?;
        }
    }
    let clusters = static_resources.as_ref().map_or(&[][..], |resources| &resources.clusters);
    for cluster in clusters.iter().filter(|cluster| cluster.transport_socket.is_none()) {
        // One without hosts is no place for a stream; whoever names it as one is told so.
        if let Ok(hosts) = hosts(cluster, at) {
            plan.streams.insert(cluster.name.clone(), hosts);
        }
    }
    if let Some(resources) = dynamic_resources {
        dynamic(resources, clusters, &mut plan, &at.field("dynamic_resources"))?;
    }
    Ok(plan)
}

fn admin_address(admin: &pb::Admin, at: &At<'_>) -> convert::Converted<Option<SocketAddr>> {
    use pb::Admin;
    take!(admin, at, Admin { address } ignore {
        access_log, access_log_path, profile_path, socket_options, ignore_global_conn_limit,
    } refuse { allow_paths });
    address.as_ref().map(|address| convert::socket_address(&Some(address.clone()))).transpose()
}

fn dynamic(
    resources: &pb::bootstrap::DynamicResources,
    clusters: &[Cluster],
    plan: &mut Plan,
    at: &At<'_>,
) -> convert::Converted<()> {
    use pb::bootstrap::DynamicResources;
    take!(resources, at, DynamicResources { lds_config, cds_config, ads_config }
        refuse { lds_resources_locator, cds_resources_locator });
    let (mut wants_listeners, mut wants_clusters) = (false, false);
    for (config, name, wants, file) in [
        (lds_config, "lds_config", &mut wants_listeners, &mut plan.listeners_file),
        (cds_config, "cds_config", &mut wants_clusters, &mut plan.clusters_file),
    ] {
        let Some(config) = config else { continue };
        match config_source::read(Some(config), &at.field(name))?.0 {
            Source::Ads => *wants = true,
            Source::File(path) => *file = Some(path),
        }
    }
    let field = at.field("ads_config");
    match ads_config {
        Some(config) => plan.ads = Some(ads(config, clusters, wants_listeners, wants_clusters, &field)?),
        None if wants_listeners || wants_clusters => return Err(field.missing()),
        None => {}
    }
    Ok(())
}

fn ads(
    config: &core::ApiConfigSource,
    clusters: &[Cluster],
    wants_listeners: bool,
    wants_clusters: bool,
    at: &At<'_>,
) -> convert::Converted<Ads> {
    use core::api_config_source::ApiType;
    let flavour = match ApiType::try_from(config.api_type) {
        Ok(ApiType::DeltaGrpc | ApiType::AggregatedDeltaGrpc) => Flavour::Delta,
        Ok(ApiType::Grpc | ApiType::AggregatedGrpc) => Flavour::StateOfTheWorld,
        _ => return Err(at.field("api_type").error("must be GRPC or DELTA_GRPC")),
    };
    let service = config.grpc_services.first().ok_or_else(|| at.field("grpc_services").missing())?;
    let field = at.field("grpc_services");
    let Some(core::grpc_service::TargetSpecifier::EnvoyGrpc(target)) = &service.target_specifier else {
        return Err(field.error("must name a cluster by envoy_grpc"));
    };
    let cluster = clusters.iter().find(|cluster| cluster.name == target.cluster_name);
    let cluster = cluster.ok_or_else(|| {
        field.error(format!("the cluster {} is not among the static clusters", target.cluster_name))
    })?;
    if cluster.transport_socket.is_some() {
        return Err(field
            .error(format!("the cluster {} speaks TLS, which is not supported yet", target.cluster_name)));
    }
    let metadata =
        service.initial_metadata.iter().map(|pair| (pair.key.to_ascii_lowercase(), pair.value.clone()));
    Ok(Ads {
        flavour,
        hosts: hosts(cluster, &field)?,
        initial_metadata: metadata.collect(),
        wants_listeners,
        wants_clusters,
    })
}

fn hosts(cluster: &Cluster, at: &At<'_>) -> convert::Converted<Vec<Target>> {
    let groups = cluster.load_assignment.iter().flat_map(|assignment| &assignment.endpoints);
    let mut hosts = Vec::new();
    for endpoint in groups.flat_map(|group| &group.lb_endpoints) {
        if let Some(lateen_xds::pb::envoy::config::endpoint::v3::lb_endpoint::HostIdentifier::Endpoint(
            inner,
        )) = &endpoint.host_identifier
        {
            if let Some(core::address::Address::Pipe(pipe)) =
                inner.address.as_ref().and_then(|address| address.address.as_ref())
            {
                hosts.push(Target::Unix(pipe.path.as_str().into()));
                continue;
            }
            let (host, port) = convert::host_port(&inner.address, at)?;
            hosts.push(Target::Tcp(host.to_owned(), port));
        }
    }
    if hosts.is_empty() {
        return Err(at.error(format!("the cluster {} has no endpoints", cluster.name)));
    }
    Ok(hosts)
}
