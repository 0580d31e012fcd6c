//! Verbs that install the mesh on a cluster and remove it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Connection;

/// What is installed, and what is said over its values.
#[derive(Debug, Args)]
pub struct Choice {
    /// What to install: default (control plane and ingress gateway), demo (egress gateway and access logs too), or
    /// minimal (the control plane alone).
    #[arg(long, value_enum, default_value_t = ProfileName::Default)]
    pub profile: ProfileName,
    /// File with values, as the chart `istio` names them; may be given several times.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A value, such as meshConfig.accessLogFile=/dev/stdout; may be given several times.
    #[arg(short = 's', long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Revision of the control plane.
    #[arg(short = 'r', long)]
    pub revision: Option<String>,
}

/// The profiles.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ProfileName {
    /// Control plane and ingress gateway.
    Default,
    /// Ingress and egress gateway, access logs, small requests of resources.
    Demo,
    /// The control plane alone.
    Minimal,
}

/// `lateen install`.
#[derive(Debug, Args)]
pub struct Install {
    /// How to reach the API; the namespace is the control plane's [default: istio-system]
    #[command(flatten)]
    pub connection: Connection,
    /// What.
    #[command(flatten)]
    pub choice: Choice,
    /// Replace the definitions of another Istio.
    #[arg(long)]
    pub force: bool,
    /// Do not ask before anything is written.
    #[arg(short = 'y', long = "skip-confirmation")]
    pub yes: bool,
    /// How long to wait until everything is ready; 0s not at all.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub readiness_timeout: Duration,
}

/// `lateen uninstall`.
#[derive(Debug, Args)]
pub struct Uninstall {
    /// How to reach the API; the namespace is the control plane's [default: istio-system]
    #[command(flatten)]
    pub connection: Connection,
    /// Also remove the custom resource definitions, with every resource of theirs, and the namespace.
    #[arg(long)]
    pub purge: bool,
    /// Remove the control plane of this revision alone (`default` for the one without), after an upgrade to another.
    #[arg(short = 'r', long, conflicts_with = "purge")]
    pub revision: Option<String>,
    /// Do not ask.
    #[arg(short = 'y', long = "skip-confirmation")]
    pub yes: bool,
}

/// `lateen manifest`.
#[derive(Debug, Subcommand)]
pub enum ManifestVerb {
    /// Print what `install` writes.
    Generate(Generate),
}

/// `lateen manifest generate`.
#[derive(Debug, Args)]
pub struct Generate {
    /// What.
    #[command(flatten)]
    pub choice: Choice,
    /// Namespace of the control plane.
    #[arg(short = 'n', long, default_value = "istio-system")]
    pub namespace: String,
}

/// `lateen x`.
#[derive(Debug, Subcommand)]
pub enum Experimental {
    /// Look whether the mesh can be installed: version of Kubernetes, rights, another Istio.
    Precheck(Connection),
}

/// `lateen tag`.
#[derive(Debug, Subcommand)]
pub enum TagVerb {
    /// Let a tag lead to a revision.
    Set(SetTag),
    /// Print what `set` writes.
    Generate(SetTag),
    /// Show the tags, where they lead, and the namespaces that use them.
    #[command(visible_alias = "show")]
    List(Connection),
    /// Remove a tag.
    #[command(visible_alias = "delete")]
    Remove(RemoveTag),
}

/// `lateen tag set|generate`.
#[derive(Debug, Args)]
pub struct SetTag {
    /// The tag: `default` for namespaces with istio-injection=enabled, any other for the label istio.io/rev.
    pub tag: String,
    /// The revision that it leads to; `default` for the control plane without one.
    #[arg(short = 'r', long)]
    pub revision: String,
    /// Let a tag that leads elsewhere lead here.
    #[arg(long)]
    pub overwrite: bool,
    /// Do not ask; nothing is asked here.
    #[arg(short = 'y', long = "skip-confirmation", hide = true)]
    pub yes: bool,
    /// How to reach the API; the namespace is the control plane's [default: istio-system]
    #[command(flatten)]
    pub connection: Connection,
}

/// `lateen tag remove`.
#[derive(Debug, Args)]
pub struct RemoveTag {
    /// The tag.
    pub tag: String,
    /// Do not ask.
    #[arg(short = 'y', long = "skip-confirmation")]
    pub yes: bool,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// `lateen gateway`.
#[derive(Debug, Subcommand)]
pub enum GatewayVerb {
    /// Enable the external or the internal ingress gateway, in namespace aks-istio-ingress.
    Enable(EnableGateway),
    /// Disable one of them.
    Disable(DisableGateway),
}

/// The gateways that are enabled and disabled.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GatewayName {
    /// Reachable from everywhere.
    External,
    /// Reachable from private addresses.
    Internal,
}

/// `lateen gateway enable`.
#[derive(Debug, Args)]
pub struct EnableGateway {
    /// Which.
    #[arg(value_enum)]
    pub gateway: GatewayName,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
    /// File with values, as the chart `gateway` names them; may be given several times.
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// A value, such as service.externalTrafficPolicy=Local; may be given several times.
    #[arg(short = 's', long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
    /// Revision of the control plane; the gateways of two revisions serve one Service.
    #[arg(short = 'r', long)]
    pub revision: Option<String>,
    /// How long to wait until it is ready; 0s not at all.
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = duration)]
    pub readiness_timeout: Duration,
}

/// `lateen gateway disable`.
#[derive(Debug, Args)]
pub struct DisableGateway {
    /// Which.
    #[arg(value_enum)]
    pub gateway: GatewayName,
    /// How to reach the API.
    #[command(flatten)]
    pub connection: Connection,
}

/// Whole seconds, minutes or hours: `90s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time such as 90s, 5m or 1h");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wrong()),
    };
    let number: u64 = text.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    number.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["", "5", "m", "5d", "-1s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
