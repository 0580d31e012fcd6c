//! The demo applications: what images of the samples' names run on one machine, where nothing is downloaded.
//!
//! Each is a small server (one thread, a few MiB) started as `lateen demo NAME`; [`images::resolve`] says which
//! command stands for which image.

pub mod bookinfo;
pub mod client;
pub mod curl;
pub mod database;
pub mod echo;
pub mod forward;
pub mod helloworld;
mod html;
pub mod httpbin;
pub mod images;
pub mod mysql_server;
pub mod server;
pub mod sharks;
pub mod sleep;
pub mod voting;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub use images::{DemoCommand, resolve, stand_in};

/// Runs a demo application.
#[derive(Debug, Args)]
pub struct Demo {
    /// The application.
    #[command(subcommand)]
    pub app: App,
}

/// A demo application.
#[derive(Debug, Subcommand)]
pub enum App {
    /// Bookinfo's product page, which calls details and reviews
    Productpage(Service),
    /// Bookinfo's details
    Details(Service),
    /// Bookinfo's reviews: v1 without ratings, v2 with black stars, v3 with red ones
    Reviews(Service),
    /// Bookinfo's ratings
    Ratings(Service),
    /// Says hello with its version and its pod's name
    Helloworld(Service),
    /// The canary tutorial's page about sharks: v1 is friendly, v2 is scary
    Sharks(Service),
    /// The voting application's page
    VotingApp(Service),
    /// The voting application's counting of votes
    VotingAnalytics(Service),
    /// Prepares a data directory and becomes the host's MariaDB
    MysqlServer(mysql_server::MysqlServer),
    /// Answers about the request that it got
    Httpbin(httpbin::Httpbin),
    /// Stands in for an image that cannot be run: answers on its ports with all that it knows of itself
    Echo(echo::Echo),
    /// Waits
    Sleep(sleep::Sleep),
    /// Transfers a URL, with the options of curl that tutorials use
    Curl(Box<curl::Curl>),
}

/// What the small services have in common.
#[derive(Clone, Debug, Args)]
pub struct Service {
    /// The version that it is
    #[arg(long, default_value = "v1")]
    pub version: String,
    /// The port that it listens on
    #[arg(long)]
    pub port: Option<u16>,
}

/// Runs an application on the current runtime, until it is told to end (SIGTERM, SIGINT) or has done its work.
///
/// # Errors
/// When a port cannot be listened on.
pub async fn run(demo: Demo) -> anyhow::Result<ExitCode> {
    match demo.app {
        App::Productpage(service) => {
            server::serve(
                bookinfo::productpage::router(bookinfo::productpage::Settings::from_env()),
                service.port.unwrap_or(9080),
            )
            .await?
        }
        App::Details(service) => {
            server::serve(bookinfo::details::router(&service.version), service.port.unwrap_or(9080)).await?;
        }
        App::Reviews(service) => {
            server::serve(
                bookinfo::reviews::router(bookinfo::reviews::Settings::from_env(&service.version)),
                service.port.unwrap_or(9080),
            )
            .await?;
        }
        App::Ratings(service) => {
            server::serve(bookinfo::ratings::router(&service.version), service.port.unwrap_or(9080)).await?;
        }
        App::Helloworld(service) => {
            server::serve(helloworld::router(&service.version), service.port.unwrap_or(5000)).await?;
        }
        App::Sharks(service) => {
            server::serve(sharks::router(&service.version), service.port.unwrap_or(8080)).await?;
        }
        App::VotingApp(service) => {
            let app = voting::app::App::from_env(&service.version)?;
            server::serve(voting::app::router(app), voting_port(&service)).await?;
        }
        App::VotingAnalytics(service) => {
            let analytics = voting::analytics::Analytics::from_env(&service.version)?;
            server::serve(voting::analytics::router(analytics), voting_port(&service)).await?;
        }
        App::MysqlServer(wanted) => match mysql_server::run(&wanted)? {},
        App::Httpbin(httpbin) => server::serve(httpbin::router(httpbin.style), httpbin.port).await?,
        App::Echo(echo) => echo::run(echo).await?,
        App::Sleep(sleep) => return Ok(sleep::run(&sleep).await),
        App::Curl(curl) => return Ok(curl::run(&curl).await),
    }
    Ok(ExitCode::SUCCESS)
}

/// The port of the voting application's services: as told, or as the sample's variable `PORT` says.
fn voting_port(service: &Service) -> u16 {
    service.port.or_else(|| server::env("PORT")?.parse().ok()).unwrap_or(8080)
}
