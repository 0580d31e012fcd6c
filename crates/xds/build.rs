//! Compiles the descriptors of the messages that Lateen reads and writes as JSON.
//!
//! The `.proto` files come with the `envoy-types` package, whose folder Cargo knows. The set is embedded in the crate
//! without comments and options, which protobuf JSON has no use for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message;
use prost_types::{EnumDescriptorProto, EnumOptions, FileDescriptorSet, MessageOptions};

/// Include folders, below the package's `proto`.
const INCLUDES: [&str; 7] = [
    "data-plane-api",
    "xds",
    "googleapis",
    "protoc-gen-validate",
    "client_model",
    "opentelemetry-proto",
    "cel-spec/proto",
];

/// The files whose messages are looked up by name; what they import comes with them.
const ROOTS: [&str; 74] = [
    "envoy/admin/v3/certs.proto",
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/listeners.proto",
    "envoy/admin/v3/memory.proto",
    "envoy/admin/v3/server_info.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/config/trace/v3/datadog.proto",
    "envoy/config/trace/v3/opentelemetry.proto",
    "envoy/config/trace/v3/skywalking.proto",
    "envoy/config/trace/v3/zipkin.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/filters/cel/v3/cel.proto",
    "envoy/extensions/access_loggers/grpc/v3/als.proto",
    "envoy/extensions/access_loggers/open_telemetry/v3/logs_service.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/clusters/aggregate/v3/cluster.proto",
    "envoy/extensions/clusters/dns/v3/dns_cluster.proto",
    "envoy/extensions/compression/gzip/compressor/v3/gzip.proto",
    "envoy/extensions/filters/http/adaptive_concurrency/v3/adaptive_concurrency.proto",
    "envoy/extensions/filters/http/admission_control/v3/admission_control.proto",
    "envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto",
    "envoy/extensions/filters/http/buffer/v3/buffer.proto",
    "envoy/extensions/filters/http/compressor/v3/compressor.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/csrf/v3/csrf.proto",
    "envoy/extensions/filters/http/decompressor/v3/decompressor.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/ext_proc/v3/ext_proc.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/http/wasm/v3/wasm.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto",
    "envoy/extensions/filters/network/direct_response/v3/config.proto",
    "envoy/extensions/filters/network/echo/v3/echo.proto",
    "envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/set_filter_state/v3/set_filter_state.proto",
    "envoy/extensions/filters/network/sni_cluster/v3/sni_cluster.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto",
    "envoy/extensions/path/match/uri_template/v3/uri_template_match.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/tracers/opentelemetry/resource_detectors/v3/environment_resource_detector.proto",
    "envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/discovery.proto",
];

/// Compiled by itself: its relative name `common.ratelimit` is another beside `envoy.extensions.filters.common`.
const ALONE: [&str; 1] = ["envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto"];

/// Files that hold only options; they fall away with the options.
const ANNOTATIONS: [&str; 7] = [
    "validate/",
    "udpa/annotations/",
    "xds/annotations/",
    "envoy/annotations/",
    "google/api/annotations.proto",
    "google/api/http.proto",
    "google/protobuf/descriptor.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.toml");
    let protos = envoy_types()?.join("proto");
    let includes = INCLUDES.map(|folder| protos.join(folder));
    let mut set = protox::compile(ROOTS, &includes)?;
    for file in protox::compile(ALONE, &includes)?.file {
        if !set.file.iter().any(|other| other.name == file.name) {
            set.file.push(file);
        }
    }
    strip(&mut set);
    let out = PathBuf::from(std::env::var("OUT_DIR")?).join("descriptors.bin");
    std::fs::write(out, set.encode_to_vec())?;
    Ok(())
}

/// The folder of the `envoy-types` package, as Cargo resolved it.
fn envoy_types() -> Result<PathBuf, Box<dyn Error>> {
    let manifest = Path::new(&std::env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    let output = Command::new(std::env::var("CARGO")?)
        .args(["metadata", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(manifest)
        .output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let package = packages.iter().find(|package| package["name"] == "envoy-types");
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.ok_or("cargo metadata does not know the package envoy-types")?;
    Ok(Path::new(manifest).parent().ok_or("the manifest has no folder")?.to_path_buf())
}

/// Removes options, services, and the files that only declare options.
fn strip(set: &mut FileDescriptorSet) {
    let annotation = |name: &str| ANNOTATIONS.iter().any(|prefix| name.starts_with(prefix));
    set.file.retain(|file| !annotation(file.name()));
    for file in &mut set.file {
        file.options = None;
        file.source_code_info = None;
        file.service.clear();
        file.extension.clear();
        if file.public_dependency.is_empty() {
            file.dependency.retain(|name| !annotation(name));
        }
        file.message_type.iter_mut().for_each(strip_message);
        file.enum_type.iter_mut().for_each(strip_enum);
    }
}

fn strip_message(message: &mut prost_types::DescriptorProto) {
    // A map is a repeated message with this one option.
    message.options = message
        .options
        .take()
        .filter(|options| options.map_entry())
        .map(|_| MessageOptions { map_entry: Some(true), ..MessageOptions::default() });
    message.extension.clear();
    message.field.iter_mut().for_each(|field| field.options = None);
    message.oneof_decl.iter_mut().for_each(|oneof| oneof.options = None);
    message.enum_type.iter_mut().for_each(strip_enum);
    message.nested_type.iter_mut().for_each(strip_message);
}

fn strip_enum(descriptor: &mut EnumDescriptorProto) {
    // Without this option, two names of one number would be an error.
    descriptor.options = descriptor
        .options
        .take()
        .filter(|options| options.allow_alias())
        .map(|_| EnumOptions { allow_alias: Some(true), ..EnumOptions::default() });
    descriptor.value.iter_mut().for_each(|value| value.options = None);
}
