//! One file a verb.

mod agent;
mod capture;
mod cni;
mod control;
mod crds;
mod demo;
mod down;
pub mod hidden;
mod inspect;
mod install;
mod kube_inject;
mod kubeconfig;
mod logging;
mod proxy;
mod resources;
mod status;
mod up;
mod validate;
mod version;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::Command;

/// Runs a verb.
pub fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Up(arguments) => up::run(arguments)?,
        Command::Down(arguments) => down::run(&arguments)?,
        Command::Status(instance) => status::run(&instance)?,
        Command::Kubeconfig(instance) => kubeconfig::run(&instance)?,
        Command::Create(arguments) => resources::create::run(&arguments)?,
        Command::Replace(arguments) => resources::replace::run(&arguments)?,
        Command::Get(arguments) => resources::get::run(&arguments)?,
        Command::Delete(arguments) => resources::delete::run(&arguments)?,
        Command::KubeInject(arguments) => kube_inject::run(&arguments)?,
        Command::Validate(arguments) => return validate::run(&arguments),
        Command::Authn(arguments) => inspect::authn::run(&arguments)?,
        Command::Authz(arguments) => inspect::authz::run(&arguments)?,
        Command::ProxyConfig(arguments) => inspect::proxy_config::run(&arguments)?,
        Command::ProxyStatus(arguments) => inspect::proxy_status::run(&arguments)?,
        Command::Crds => crds::run()?,
        Command::Install(arguments) => install::apply::run(&arguments)?,
        Command::Uninstall(arguments) => install::remove::run(&arguments)?,
        Command::Manifest(verb) => install::manifest::run(&verb)?,
        Command::Gateway(verb) => install::gateway::run(&verb)?,
        Command::Tag(verb) => install::tag::run(&verb)?,
        Command::X(verb) => install::precheck::run(&verb)?,
        Command::Control => control::run()?,
        Command::Proxy(arguments) => proxy::run(&arguments)?,
        Command::Agent(arguments) => agent::run(&arguments)?,
        Command::Capture(arguments) => return capture::run(&arguments),
        Command::Cni(arguments) => return cni::run(arguments),
        Command::Demo(arguments) => return demo::run(arguments),
        Command::Version => version::run(),
    }
    Ok(ExitCode::SUCCESS)
}
