//! The command line: every verb with its flags and help.

pub mod install;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lateen_local::ImageCommand;

/// The mesh that speaks Istio.
#[derive(Debug, Parser)]
#[command(name = "lateen", version, about, max_term_width = 110, subcommand_required = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs. Each has a file of its own in `commands`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a whole mesh on this machine: API server, control plane, gateways and, if asked, a demo.
    Up(Up),
    /// Stop the mesh on this machine; its resources are kept for the next `up`.
    Down(Down),
    /// Show the mesh on this machine: pods, gateways, and references that lead nowhere.
    Status(Instance),
    /// Print the kubeconfig of the mesh on this machine.
    Kubeconfig(Instance),
    /// Create Istio resources from a file.
    Create(FileVerb),
    /// Replace Istio resources from a file.
    Replace(FileVerb),
    /// Show Istio resources.
    Get(Get),
    /// Delete Istio resources, from a file or by kind and name.
    Delete(Delete),
    /// Inject the sidecar into the workloads of a manifest.
    KubeInject(KubeInject),
    /// Check Istio resources in files against their schema and Istio's rules.
    Validate(Validate),
    /// Look into how workloads authenticate each other.
    #[command(subcommand)]
    Authn(Authn),
    /// Look into access control.
    #[command(subcommand)]
    Authz(Authz),
    /// Show what a proxy has been told.
    #[command(subcommand, visible_alias = "pc")]
    ProxyConfig(ProxyConfig),
    /// Show how far every proxy is.
    #[command(visible_alias = "ps")]
    ProxyStatus(ProxyStatus),
    /// Print the custom resource definitions that Lateen understands.
    Crds,
    /// Install the mesh on a Kubernetes cluster.
    Install(install::Install),
    /// Remove the mesh from a Kubernetes cluster.
    Uninstall(install::Uninstall),
    /// Print the manifests that `install` writes.
    #[command(subcommand)]
    Manifest(install::ManifestVerb),
    /// Enable and disable the external and the internal ingress gateway of a cluster.
    #[command(subcommand)]
    Gateway(install::GatewayVerb),
    /// Names that lead namespaces to a revision of the control plane.
    #[command(subcommand)]
    Tag(install::TagVerb),
    /// Commands that may change: precheck.
    #[command(subcommand, visible_alias = "experimental")]
    X(install::Experimental),
    /// Run the control plane (istiod's role); its pod's environment says how.
    Control,
    /// Run the proxy with an Envoy bootstrap file.
    Proxy(RawArguments),
    /// Run the pod's entry point: bootstrap, readiness, drain, and the proxy itself (pilot-agent's role).
    Agent(RawArguments),
    /// Program the pod's redirection (istio-init's role).
    Capture(Box<lateen_capture::Arguments>),
    /// Capture pods' traffic while their network is made (istio-cni's role); keep that installed on a node.
    Cni(lateen_cni::Arguments),
    /// Run one of the demo applications.
    Demo(lateen_demo::Demo),
    /// Print the version.
    Version,
}

/// Which mesh of this machine.
#[derive(Debug, Args)]
pub struct Instance {
    /// Name of the mesh, where several run side by side.
    #[arg(long, default_value = "default")]
    pub name: String,
    /// Where the mesh keeps its state [default: the user's state folder]
    #[arg(long, value_name = "D")]
    pub state_dir: Option<PathBuf>,
}

/// `lateen up`.
#[derive(Debug, Args)]
pub struct Up {
    /// Which mesh.
    #[command(flatten)]
    pub instance: Instance,
    /// Application to deploy once the mesh is up: bookinfo or voting.
    #[arg(long, value_name = "NAME")]
    pub demo: Option<String>,
    /// Where to write the kubeconfig [default: in the state directory]
    #[arg(long, value_name = "F")]
    pub kubeconfig: Option<PathBuf>,
    /// Return once the mesh is ready and leave it running.
    #[arg(long)]
    pub detach: bool,
    /// Run this command of the host for containers of that image; may be given several times.
    #[arg(long = "image", value_name = "NAME=COMMAND")]
    pub images: Vec<ImageCommand>,
    /// Run Envoy as every sidecar and gateway: --proxy envoy=/path/to/envoy.
    #[arg(long, value_name = "envoy=PATH", value_parser = envoy_path)]
    pub proxy: Option<PathBuf>,
}

/// `lateen down`.
#[derive(Debug, Args)]
pub struct Down {
    /// Which mesh.
    #[command(flatten)]
    pub instance: Instance,
    /// Also remove everything that the mesh kept: resources, keys, logs.
    #[arg(long)]
    pub purge: bool,
}

/// How to reach the Kubernetes API.
#[derive(Debug, Args)]
pub struct Connection {
    /// Kubeconfig file [default: KUBECONFIG, or kubectl's own]
    #[arg(short = 'c', long, value_name = "F")]
    pub kubeconfig: Option<PathBuf>,
    /// Namespace of resources that name none.
    #[arg(short = 'n', long, value_name = "NS")]
    pub namespace: Option<String>,
}

/// `lateen create|replace`.
#[derive(Debug, Args)]
pub struct FileVerb {
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
    /// File with the resources; `-` for standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `lateen get`.
#[derive(Debug, Args)]
pub struct Get {
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
    /// Kind, such as virtualservices, vs or gateways; `all` for every Istio kind.
    pub kind: String,
    /// Name of one resource.
    pub resource: Option<String>,
    /// Output: short, wide, yaml or json.
    #[arg(short = 'o', long, default_value = "short")]
    pub output: String,
    /// Look in every namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
}

/// `lateen delete`.
#[derive(Debug, Args)]
pub struct Delete {
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
    /// Kind, with the names after it.
    #[arg(required_unless_present = "files")]
    pub kind: Option<String>,
    /// Names of resources of that kind.
    pub resources: Vec<String>,
    /// File with the resources; `-` for standard input.
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// `lateen kube-inject`.
#[derive(Debug, Args)]
pub struct KubeInject {
    /// Manifest to read; `-` for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE")]
    pub file: PathBuf,
    /// File to write [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Mesh configuration file (MeshConfig) [default: the cluster's ConfigMap istio, if it can be reached]
    #[arg(long, alias = "meshConfigFile", value_name = "FILE")]
    pub mesh_config_file: Option<PathBuf>,
    /// File with Istio's values [default: the cluster's ConfigMap istio-sidecar-injector, if it can be reached]
    #[arg(long, alias = "valuesFile", value_name = "FILE")]
    pub values_file: Option<PathBuf>,
    /// Revision of the control plane.
    #[arg(long, short = 'r')]
    pub revision: Option<String>,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// `lateen validate`.
#[derive(Debug, Args)]
pub struct Validate {
    /// Files or folders to check; `-` for standard input.
    #[arg(short = 'f', long = "filename", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// `lateen authn`.
#[derive(Debug, Subcommand)]
pub enum Authn {
    /// Show whether clients and servers agree on mutual TLS, port by port.
    TlsCheck(TlsCheck),
}

/// `lateen authn tls-check`.
#[derive(Debug, Args)]
pub struct TlsCheck {
    /// Client: POD or POD.NAMESPACE; left out, a client in each service's own namespace. A host may stand here alone.
    #[arg(value_name = "POD")]
    pub first: Option<String>,
    /// Service, such as web.default.svc.cluster.local [default: every service]
    #[arg(value_name = "HOST")]
    pub second: Option<String>,
    /// Namespace of the control plane.
    #[arg(short = 'i', long = "istioNamespace", alias = "istio-namespace", default_value = "istio-system")]
    pub istio_namespace: String,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// `lateen authz`.
#[derive(Debug, Subcommand)]
pub enum Authz {
    /// Show the AuthorizationPolicies that a pod's proxy enforces.
    Check(PodVerb),
}

/// A verb about one pod.
#[derive(Debug, Args)]
pub struct PodVerb {
    /// POD, POD.NAMESPACE or deploy/NAME.
    pub pod: String,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// `lateen proxy-config`.
#[derive(Debug, Subcommand)]
pub enum ProxyConfig {
    /// Clusters.
    #[command(visible_aliases = ["clusters", "c"])]
    Cluster(ProxyConfigVerb),
    /// Listeners and their filter chains.
    #[command(visible_aliases = ["listeners", "l"])]
    Listener(ProxyConfigVerb),
    /// Routes.
    #[command(visible_aliases = ["routes", "r"])]
    Route(ProxyConfigVerb),
    /// Endpoints.
    #[command(visible_aliases = ["endpoints", "ep"])]
    Endpoint(ProxyConfigVerb),
    /// Certificates; keys are never shown.
    #[command(visible_aliases = ["secrets", "s"])]
    Secret(ProxyConfigVerb),
}

/// `lateen proxy-config KIND`.
#[derive(Debug, Args)]
pub struct ProxyConfigVerb {
    /// POD, POD.NAMESPACE or deploy/NAME.
    pub pod: String,
    /// Output.
    #[arg(short = 'o', long, value_enum, default_value = "short")]
    pub output: Output,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// How something is shown.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Output {
    /// As a table.
    Short,
    /// As JSON.
    Json,
}

/// `lateen proxy-status`.
#[derive(Debug, Args)]
pub struct ProxyStatus {
    /// POD, POD.NAMESPACE or deploy/NAME [default: every proxy]
    pub pod: Option<String>,
    /// Namespace of the control plane.
    #[arg(short = 'i', long = "istioNamespace", alias = "istio-namespace", default_value = "istio-system")]
    pub istio_namespace: String,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// Arguments that a role parses itself, because another program's command line is its contract.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct RawArguments {
    /// Passed to the role as they are; `--help` explains them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<String>,
}

fn envoy_path(text: &str) -> Result<PathBuf, String> {
    let path = text.strip_prefix("envoy=").ok_or("use --proxy envoy=PATH")?;
    std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
