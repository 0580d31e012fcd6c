//! The flags of istio-iptables, and what they mean together.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser};
use lateen_netfilter::Prefix;

use crate::values::{items, mode, numbers, prefixes, seconds};
use crate::{Backend, Error, Identity};

/// Redirects a pod's traffic through its sidecar.
#[derive(Debug, Clone, Parser)]
#[command(disable_version_flag = true)]
pub struct Arguments {
    /// Port of the proxy to which outbound TCP goes
    #[arg(short = 'p', long, default_value_t = 15001, value_name = "PORT")]
    pub envoy_port: u16,
    /// Port of the proxy to which inbound TCP goes [default: that of -p, as in Istio 1.0]
    #[arg(short = 'z', long, value_name = "PORT")]
    pub inbound_capture_port: Option<u16>,
    /// Port of HBONE tunnels, never captured
    #[arg(short = 'e', long, default_value_t = 15008, value_name = "PORT")]
    pub inbound_tunnel_port: u16,
    /// Users whose traffic is not captured: the proxy's
    #[arg(short = 'u', long, default_value = "1337", value_name = "UID,...")]
    pub proxy_uid: String,
    /// Groups whose traffic is not captured: the proxy's [default: those of -u]
    #[arg(short = 'g', long, value_name = "GID,...")]
    pub proxy_gid: Option<String>,
    /// How inbound traffic reaches the proxy: REDIRECT, or TPROXY, which keeps the client's address
    #[arg(short = 'm', long, default_value = "REDIRECT", value_name = "MODE")]
    pub istio_inbound_interception_mode: String,
    /// Mark of packets that TPROXY delivers
    #[arg(short = 't', long, default_value_t = 1337, value_name = "MARK")]
    pub istio_inbound_tproxy_mark: u32,
    /// Routing table for packets with that mark
    #[arg(short = 'r', long, default_value_t = 133, value_name = "TABLE")]
    pub istio_inbound_tproxy_route_table: u32,
    /// Destinations to capture: * for all, CIDRs, or nothing
    #[arg(short = 'i', long, default_value = "", value_name = "CIDR,...")]
    pub istio_service_cidr: String,
    /// Destinations not to capture
    #[arg(short = 'x', long, default_value = "", value_name = "CIDR,...")]
    pub istio_service_exclude_cidr: String,
    /// Inbound ports to capture: * for all, a list, or nothing
    #[arg(short = 'b', long, default_value = "", value_name = "PORT,...")]
    pub istio_inbound_ports: String,
    /// Inbound ports not to capture (counts with -b '*')
    #[arg(short = 'd', long, default_value = "", value_name = "PORT,...")]
    pub istio_local_exclude_ports: String,
    /// Outbound ports to capture whatever the destination
    #[arg(short = 'q', long, default_value = "", value_name = "PORT,...")]
    pub istio_outbound_ports: String,
    /// Outbound ports not to capture
    #[arg(short = 'o', long, default_value = "", value_name = "PORT,...")]
    pub istio_local_outbound_ports_exclude: String,
    /// Virtual interfaces whose traffic counts as outbound
    #[arg(short = 'k', long, default_value = "", value_name = "NAME,...")]
    pub kube_virt_interfaces: String,
    /// Interfaces whose traffic is not captured
    #[arg(short = 'c', long, default_value = "", value_name = "NAME,...")]
    pub istio_exclude_interfaces: String,
    /// Send DNS queries to the proxy's resolver on port 15053
    #[arg(long, env = "ISTIO_META_DNS_CAPTURE")]
    pub redirect_dns: bool,
    /// With --redirect-dns: queries to any server, not only those of /etc/resolv.conf
    #[arg(long)]
    pub capture_all_dns: bool,
    /// Groups whose outbound traffic is captured: * for all, or a list
    #[arg(long, env = "ISTIO_OUTBOUND_OWNER_GROUPS", default_value = "*", value_name = "GID,...")]
    pub outbound_owner_groups: String,
    /// Groups whose outbound traffic is not captured
    #[arg(long, env = "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", default_value = "", value_name = "GID,...")]
    pub outbound_owner_groups_exclude: String,
    /// Drop packets that belong to no connection instead of having them reset it
    #[arg(long, env = "INVALID_DROP")]
    pub drop_invalid: bool,
    /// Let the kernel trace the pod's packets through the rules: `nft monitor trace` shows them
    #[arg(long)]
    pub trace_logging: bool,
    /// Do not capture traffic of sockets with this mark; the proxy sets it where it cannot run as a user of its own
    #[arg(long, env = "LATEEN_SOCKET_MARK", value_name = "MARK")]
    pub socket_mark: Option<u32>,
    /// Capture by nothing else than iptables (legacy) or nftables (nft) [default: nftables, and iptables where the kernel
    /// has no nf_tables]
    #[arg(
        long,
        env = "FORCE_IPTABLES_BINARY",
        default_value = "",
        hide_default_value = true,
        value_name = "legacy|nft"
    )]
    pub force_iptables_binary: String,
    /// Print the ruleset and change nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Undo capture
    #[arg(long, visible_alias = "restore", visible_alias = "cleanup-only")]
    pub cleanup: bool,
    /// File of the network namespace to work in [default: the current one]
    #[arg(long, value_name = "FILE")]
    pub network_namespace: Option<PathBuf>,
    /// Leave the rules as they are
    #[arg(long)]
    pub skip_rule_apply: bool,
    /// Check that connections are captured; ends with status 126 if they are not
    #[arg(long)]
    pub run_validation: bool,
    /// Port to which the check connects; nobody may listen there
    #[arg(long, default_value_t = 15002, value_name = "PORT")]
    pub iptables_probe_port: u16,
    /// How long the check tries
    #[arg(long, default_value = "5s", value_name = "TIME", value_parser = seconds)]
    pub probe_timeout: Duration,
    /// Accepted as istio-iptables has it: rules are always replaced as a whole, for both IP versions, and printed
    #[command(flatten)]
    pub accepted: Accepted,
}

/// Flags of istio-iptables that ask for what is done anyway. `--iptables-version` chooses as `--force-iptables-binary` does,
/// where it tells the kind of program.
#[derive(Debug, Clone, Default, Args)]
pub struct Accepted {
    #[arg(long, hide = true, env = "ISTIO_DUAL_STACK", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    dual_stack: Option<String>,
    #[arg(short = 'f', long, hide = true, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    restore_format: Option<String>,
    #[arg(long, hide = true)]
    cni_mode: bool,
    #[arg(long, hide = true)]
    host_nsenter_exec: bool,
    #[arg(long, hide = true)]
    reconcile: bool,
    #[arg(long, hide = true)]
    force_apply: bool,
    #[arg(long, hide = true)]
    native_nftables: bool,
    #[arg(long, hide = true, value_name = "VERSION")]
    iptables_version: Option<String>,
}

/// How inbound traffic reaches the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Destination translation; the proxy asks for the original destination.
    Redirect,
    /// Transparent delivery; addresses stay as they are.
    Tproxy,
}

/// A choice of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ports {
    /// `*`, without these.
    AllBut(Vec<u16>),
    /// These only.
    Only(Vec<u16>),
}

/// A choice of destinations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ranges {
    /// `*`.
    All,
    /// These only; none means no capture.
    Only(Vec<Prefix>),
}

/// What is captured: the arguments, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// The proxy's outbound port.
    pub outbound_port: u16,
    /// The proxy's inbound port.
    pub inbound_port: u16,
    /// HBONE.
    pub tunnel_port: u16,
    /// Who is exempt.
    pub identities: Vec<Identity>,
    /// How inbound traffic is delivered.
    pub mode: Mode,
    /// TPROXY's mark.
    pub tproxy_mark: u32,
    /// TPROXY's routing table.
    pub tproxy_table: u32,
    /// Captured destinations.
    pub include: Ranges,
    /// Destinations left alone.
    pub exclude: Vec<Prefix>,
    /// Captured inbound ports.
    pub inbound: Ports,
    /// Outbound ports captured whatever the destination.
    pub outbound_include: Vec<u16>,
    /// Outbound ports left alone.
    pub outbound_exclude: Vec<u16>,
    /// Interfaces whose traffic counts as outbound.
    pub virtual_interfaces: Vec<String>,
    /// Interfaces left alone.
    pub exclude_interfaces: Vec<String>,
    /// Whose DNS queries are captured: `None` for nobody's, otherwise to these servers, or to all if there are none.
    pub dns: Option<Vec<IpAddr>>,
    /// Whether IPv6 is captured too.
    pub ipv6: bool,
    /// Groups whose outbound traffic is captured; `None` for all.
    pub groups: Option<Vec<u32>>,
    /// Groups whose outbound traffic is left alone.
    pub exclude_groups: Vec<u32>,
    /// Whether packets that belong to no connection are dropped.
    pub drop_invalid: bool,
    /// Whether the kernel traces packets.
    pub trace: bool,
}

impl Arguments {
    /// Which packet filter is asked for, if any.
    pub(crate) fn backend(&self) -> Result<Option<Backend>, Error> {
        Backend::chosen(&self.force_iptables_binary, self.accepted.iptables_version.as_deref())
    }

    /// Checks the arguments. `default_mark` exempts sockets if no argument names a mark; `ipv6` tells whether the pod
    /// has IPv6 addresses; `nameservers` are those of its `/etc/resolv.conf`.
    ///
    /// # Errors
    /// [`Error::Argument`] names the flag that cannot be read.
    pub fn resolve(
        &self,
        default_mark: Option<u32>,
        ipv6: bool,
        nameservers: Vec<IpAddr>,
    ) -> Result<Capture, Error> {
        let uids = numbers("--proxy-uid", &self.proxy_uid)?;
        let gids = numbers("--proxy-gid", self.proxy_gid.as_deref().unwrap_or(&self.proxy_uid))?;
        let marks = self.socket_mark.or(default_mark).map(Identity::Mark);
        let identities = marks.into_iter().chain(uids.into_iter().map(Identity::Uid));
        let mode = mode(&self.istio_inbound_interception_mode)?;
        if mode == Mode::Tproxy && marks == Some(Identity::Mark(self.istio_inbound_tproxy_mark)) {
            return Err(Error::Argument {
                flag: "--socket-mark",
                value: self.istio_inbound_tproxy_mark.to_string(),
                reason:
                    "must differ from the mark of TPROXY (-t), which tells connections to the application"
                        .into(),
            });
        }
        let exclude_inbound = numbers("--istio-local-exclude-ports", &self.istio_local_exclude_ports)?;
        Ok(Capture {
            outbound_port: self.envoy_port,
            inbound_port: self.inbound_capture_port.unwrap_or(self.envoy_port),
            tunnel_port: self.inbound_tunnel_port,
            identities: identities.chain(gids.into_iter().map(Identity::Gid)).collect(),
            mode,
            tproxy_mark: self.istio_inbound_tproxy_mark,
            tproxy_table: self.istio_inbound_tproxy_route_table,
            include: match self.istio_service_cidr.trim() {
                "*" => Ranges::All,
                list => Ranges::Only(prefixes("--istio-service-cidr", list)?),
            },
            exclude: prefixes("--istio-service-exclude-cidr", &self.istio_service_exclude_cidr)?,
            inbound: match self.istio_inbound_ports.trim() {
                "*" => Ports::AllBut(exclude_inbound),
                list => Ports::Only(numbers("--istio-inbound-ports", list)?),
            },
            outbound_include: numbers("--istio-outbound-ports", &self.istio_outbound_ports)?,
            outbound_exclude: numbers(
                "--istio-local-outbound-ports-exclude",
                &self.istio_local_outbound_ports_exclude,
            )?,
            virtual_interfaces: items(&self.kube_virt_interfaces).map(str::to_owned).collect(),
            exclude_interfaces: items(&self.istio_exclude_interfaces).map(str::to_owned).collect(),
            dns: match (self.redirect_dns, self.capture_all_dns) {
                (false, _) => None,
                (true, true) => Some(Vec::new()),
                (true, false) => Some(nameservers).filter(|servers| !servers.is_empty()),
            },
            ipv6,
            groups: match self.outbound_owner_groups.trim() {
                "*" => None,
                list => Some(numbers("--outbound-owner-groups", list)?),
            },
            exclude_groups: numbers("--outbound-owner-groups-exclude", &self.outbound_owner_groups_exclude)?,
            drop_invalid: self.drop_invalid,
            trace: self.trace_logging,
        })
    }
}

#[cfg(test)]
#[path = "arguments_tests.rs"]
mod tests;
