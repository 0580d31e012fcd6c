use std::path::PathBuf;

use clap::{ArgAction, Args, ValueEnum};

/// What the proxy is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Serve.
    #[default]
    Serve,
    /// Check the configuration and end.
    Validate,
    /// As `validate`, without opening files that the configuration names.
    InitOnly,
}

/// Command line of the proxy: Envoy's flags. Those that have no meaning here are accepted and do nothing.
#[derive(Args, Clone, Debug, Default)]
pub struct Options {
    /// Bootstrap file: JSON, YAML, or an encoded message (*.pb).
    #[arg(short = 'c', long, value_name = "FILE")]
    pub config_path: Option<PathBuf>,
    /// Bootstrap as text, merged over the file's.
    #[arg(long, value_name = "TEXT")]
    pub config_yaml: Option<String>,
    /// Worker threads; one for each processor by default.
    #[arg(long, value_name = "N")]
    pub concurrency: Option<usize>,
    /// Node id, over the bootstrap's.
    #[arg(long, value_name = "ID")]
    pub service_node: Option<String>,
    /// Node cluster, over the bootstrap's.
    #[arg(long, value_name = "NAME")]
    pub service_cluster: Option<String>,
    /// Node zone, over the bootstrap's.
    #[arg(long, value_name = "ZONE")]
    pub service_zone: Option<String>,
    /// Serve, or only check the configuration.
    #[arg(long, value_enum, default_value_t)]
    pub mode: Mode,
    /// trace, debug, info, warning, error, critical or off.
    #[arg(short = 'l', long, default_value = "info", value_name = "LEVEL")]
    pub log_level: String,
    /// Levels of components, as name:level,...
    #[arg(long, value_name = "LEVELS")]
    pub component_log_level: Option<String>,
    /// Seconds that connections have to end in after a drain began.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub drain_time_s: u64,
    /// Seconds after which a parent process is ended (no hot restart: without effect).
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub parent_shutdown_time_s: Option<u64>,
    /// File to write the administration address to.
    #[arg(long, value_name = "FILE")]
    pub admin_address_path: Option<PathBuf>,
    /// Shared memory number of hot restart (without effect).
    #[arg(long, value_name = "N", hide = true)]
    pub base_id: Option<u32>,
    /// Epoch of hot restart (without effect).
    #[arg(long, value_name = "N", hide = true)]
    pub restart_epoch: Option<u32>,
    /// No hot restart: always so here.
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub disable_hot_restart: bool,
    /// A base id of one's own (without effect).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub use_dynamic_base_id: bool,
    /// How fast connections are drained (without effect: at the next chance).
    #[arg(long, value_name = "STRATEGY", hide = true)]
    pub drain_strategy: Option<String>,
    /// Line format of the process's log (without effect).
    #[arg(long, value_name = "FORMAT", hide = true)]
    pub log_format: Option<String>,
    /// File of the process's log.
    #[arg(long, value_name = "FILE", hide = true)]
    pub log_path: Option<PathBuf>,
    /// Extensions to leave out (without effect).
    #[arg(long, value_name = "NAMES", hide = true)]
    pub disable_extensions: Option<String>,
    /// Accept unknown fields of static configuration (without effect: they are refused).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub allow_unknown_static_fields: bool,
    /// Refuse unknown fields of dynamic configuration (always so).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub reject_unknown_dynamic_fields: bool,
    /// Accept unknown fields everywhere (without effect).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub allow_unknown_fields: bool,
    /// Ignore unknown fields of dynamic configuration (without effect).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub ignore_unknown_dynamic_fields: bool,
    /// Size the workers by the processor set (the default here).
    #[arg(long, action = ArgAction::SetTrue, hide = true)]
    pub cpuset_threads: bool,
}
