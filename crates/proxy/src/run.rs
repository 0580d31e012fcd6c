//! `lateen proxy`: the command line of a proxy.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use lateen_xds::pb::envoy::config::bootstrap::v3::Bootstrap;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{self, LogLevels};
use crate::bootstrap::{self, Mode, Options};
pub use crate::server::{Grace, Server, Settings};
pub use crate::startup::validate;

/// The proxy's command line, for `--help` and errors.
#[derive(Debug, Parser)]
#[command(
    name = "lateen proxy",
    about = "Run the proxy with an Envoy bootstrap file.",
    disable_version_flag = true
)]
struct CommandLine {
    #[command(flatten)]
    options: Options,
}

/// `lateen proxy ARGUMENTS`: runs until it is told to end. `arguments` do not hold the program's name. `reader` is a
/// program that with the same arguments comes to [`read_bootstrap`]; without one the bootstrap is read in process.
///
/// # Errors
/// Wrong arguments, a bootstrap that cannot be used, an address that cannot be bound.
pub fn main(arguments: Vec<OsString>, reader: Option<Command>) -> anyhow::Result<()> {
    let options = options(&arguments);
    let log_levels = init_log(&options.log_level)?;
    let bootstrap = match reader {
        Some(mut reader) => bootstrap::read_apart(reader.args(&arguments))?,
        None => bootstrap::load(&options)?,
    };
    run(&options, bootstrap, log_levels)
}

/// Writes the bootstrap that the arguments of [`main`] name to standard output, encoded.
///
/// # Errors
/// A bootstrap that cannot be read.
pub fn read_bootstrap(arguments: &[OsString]) -> anyhow::Result<()> {
    Ok(bootstrap::write_encoded(&options(arguments))?)
}

fn options(arguments: &[OsString]) -> Options {
    let program = OsString::from("lateen proxy");
    CommandLine::parse_from(std::iter::once(&program).chain(arguments)).options
}

/// Runs the proxy until it is told to end.
fn run(options: &Options, bootstrap: Bootstrap, log_levels: Option<LogLevels>) -> anyhow::Result<()> {
    if options.mode != Mode::Serve {
        validate(&bootstrap)?;
        let path =
            options.config_path.as_deref().map_or("--config-yaml".into(), |path| path.to_string_lossy());
        println!("configuration '{path}' OK");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let settings = Settings {
            concurrency: options.concurrency.filter(|count| *count > 0),
            drain_time: Duration::from_secs(options.drain_time_s),
            handed: Vec::new(),
            log_levels,
        };
        let server = Server::start(bootstrap, settings).await?;
        if let (Some(path), Some(address)) = (&options.admin_address_path, server.admin) {
            std::fs::write(path, address.to_string())
                .with_context(|| format!("--admin-address-path {}", path.display()))?;
        }
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
            () = server.wanted_to_quit() => {}
        }
        // As Envoy: the signal ends the process at once; a drain is asked for over administration before.
        server.stop();
        Ok(())
    })
}

/// Starts the process's log on standard error, unless the process has one already.
///
/// # Errors
/// The level is none of Envoy's.
pub fn init_log(level: &str) -> anyhow::Result<Option<LogLevels>> {
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;
    use tracing_subscriber::{EnvFilter, fmt, reload};
    let directive =
        admin::log_directive(level).with_context(|| format!("--log-level: `{level}` is not a level"))?;
    let (filter, handle) = reload::Layer::new(EnvFilter::new(directive));
    let layer = fmt::layer().with_writer(std::io::stderr).with_target(false);
    if tracing_subscriber::registry().with(filter).with(layer).try_init().is_err() {
        return Ok(None);
    }
    Ok(Some(LogLevels::new(level, move |directive| {
        handle.reload(EnvFilter::new(directive)).map_err(|error| error.to_string())
    })))
}
