//! The agent's command line: pilot-agent's, that of today and that of 2018.

use std::path::PathBuf;

use anyhow::{Result, bail};

/// Which part the proxy plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Beside an application.
    Sidecar,
    /// A gateway.
    Router,
}

impl Role {
    /// The first part of the node's id.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Sidecar => "sidecar",
            Role::Router => "router",
        }
    }
}

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Sidecar or gateway.
    pub role: Role,
    /// DNS domain of the node's id; `<namespace>.svc.cluster.local` if not given.
    pub domain: Option<String>,
    /// Name of the workload's service, for the node's cluster.
    pub service_cluster: Option<String>,
    /// Address of the control plane, over what `PROXY_CONFIG` says.
    pub discovery_address: Option<String>,
    /// Where the bootstrap is written for an Envoy.
    pub config_path: PathBuf,
    /// Level of the proxy's log.
    pub log_level: String,
    /// An Envoy to run instead of Lateen's own proxy.
    pub binary: Option<PathBuf>,
    /// Worker threads; 0 or none for what `PROXY_CONFIG` says.
    pub concurrency: Option<u32>,
}

/// pilot-agent's flags that change nothing here: their subject does not exist, or has no setting.
const WITHOUT_EFFECT: [&str; 14] = [
    "proxyComponentLogLevel",
    "log_output_level",
    "log_as_json",
    "stsPort",
    "tokenManagerPlugin",
    "drainDuration",
    "parentShutdownDuration",
    "discoveryRefreshDelay",
    "zipkinAddress",
    "connectTimeout",
    "proxyAdminPort",
    "controlPlaneAuthPolicy",
    "statusPort",
    "applicationPorts",
];

impl Arguments {
    /// Reads `sidecar|router [flags]`, with `proxy` before it as in 2018.
    ///
    /// # Errors
    /// Names the word that is not understood.
    pub fn parse(words: &[String]) -> Result<Arguments> {
        let words = words.strip_prefix(&["proxy".to_owned()]).unwrap_or(words);
        let Some((role, flags)) = words.split_first() else { bail!("say `agent sidecar` or `agent router`") };
        let role = match role.as_str() {
            "sidecar" => Role::Sidecar,
            "router" => Role::Router,
            other => bail!("the agent plays `sidecar` or `router`, not {other:?}"),
        };
        let mut arguments = Arguments {
            role,
            domain: None,
            service_cluster: None,
            discovery_address: None,
            config_path: PathBuf::from("/etc/istio/proxy"),
            log_level: "warning".to_owned(),
            binary: None,
            concurrency: None,
        };
        let mut flags = flags.iter();
        while let Some(flag) = flags.next() {
            let Some(name) = flag.strip_prefix("--") else { bail!("{flag:?} is no flag of the agent") };
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => (name, flags.next().cloned().unwrap_or_default()),
            };
            arguments.set(name, value)?;
        }
        Ok(arguments)
    }

    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "domain" => self.domain = Some(value),
            "serviceCluster" => self.service_cluster = Some(value),
            "discoveryAddress" => self.discovery_address = Some(value),
            "configPath" => self.config_path = value.into(),
            "proxyLogLevel" => self.log_level = value,
            // The image of 2018 names its own Envoy here: it counts only where there is one.
            "binaryPath" => self.binary = Some(PathBuf::from(value)).filter(|path| path.is_file()),
            "concurrency" => match value.parse() {
                Ok(number) => self.concurrency = Some(number),
                Err(_) => bail!("--concurrency must be a number, not {value:?}"),
            },
            known if WITHOUT_EFFECT.contains(&known) => {}
            other => bail!("--{other} is no flag of the agent"),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Arguments> {
        Arguments::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn todays_and_2018s_command_lines_are_understood() {
        let today =
            parse("sidecar --domain a.svc.cluster.local --proxyLogLevel=debug --concurrency 2").unwrap();
        assert_eq!(today.domain.as_deref(), Some("a.svc.cluster.local"));
        assert_eq!((today.log_level.as_str(), today.concurrency), ("debug", Some(2)));
        let old = "proxy sidecar --configPath /etc/istio/proxy --binaryPath /no/envoy --serviceCluster sleep \
                   --drainDuration 45s --discoveryAddress istio-pilot.istio-system:15007 --controlPlaneAuthPolicy NONE";
        let old = parse(&old.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
        assert_eq!((old.role, old.binary), (Role::Sidecar, None));
        assert_eq!(old.discovery_address.as_deref(), Some("istio-pilot.istio-system:15007"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert!(parse("waypoint").unwrap_err().to_string().contains("waypoint"));
        assert!(parse("router --colour red").unwrap_err().to_string().contains("--colour"));
    }
}
