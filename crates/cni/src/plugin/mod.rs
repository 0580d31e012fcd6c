//! The plugin: one call, one answer.

mod pod;
mod protocol;

use std::io::Read;
use std::path::Path;

use clap::Parser;
use serde_json::{Value, json};

use pod::Found;
use protocol::{Environment, Failure, NetworkConfig, VERSIONS};

/// Network configurations are small: this is more than any has, with all of its results.
const MAX_INPUT: u64 = 4 << 20;

/// Answers the call that environment and standard input describe. Whether it went well.
pub fn main() -> bool {
    let mut input = String::new();
    let (answer, well) = match std::io::stdin().take(MAX_INPUT).read_to_string(&mut input) {
        Ok(_) => call(std::env::vars(), &input),
        Err(error) => {
            (Failure::io("cannot read the network configuration", error).answer(&input).to_string(), false)
        }
    };
    if !answer.is_empty() {
        println!("{answer}");
    }
    well
}

/// Answers a call by its environment and input: what to print, and whether it went well. The calling thread may find
/// itself in another network namespace afterwards.
pub fn call(variables: impl IntoIterator<Item = (String, String)>, input: &str) -> (String, bool) {
    match answer(&Environment::new(variables), input) {
        Ok(answer) => (answer.map(|answer| answer.to_string()).unwrap_or_default(), true),
        Err(failure) => (failure.answer(input).to_string(), false),
    }
}

fn answer(environment: &Environment, input: &str) -> Result<Option<Value>, Failure> {
    let command = environment.command()?;
    if command == "VERSION" {
        return Ok(Some(json!({ "cniVersion": protocol::newest(input), "supportedVersions": VERSIONS })));
    }
    let config = NetworkConfig::read(input)?;
    match command {
        "ADD" => add(environment, &config).map(Some),
        "CHECK" => check(environment, &config).map(|()| None),
        // What was made goes with the pod's network namespace, and nothing of it is ever left over.
        "DEL" | "GC" => Ok(None),
        "STATUS" => pod::reachable(&config).map(|()| None),
        other => Err(Failure::environment(format!("CNI_COMMAND {other:?} is not known"))),
    }
}

fn add(environment: &Environment, config: &NetworkConfig) -> Result<Value, Failure> {
    let result = config.previous_result()?;
    match wanted(environment, config)? {
        None => {}
        Some(arguments) => capture(environment.namespace_file()?, &arguments)?,
    }
    Ok(result)
}

fn check(environment: &Environment, config: &NetworkConfig) -> Result<(), Failure> {
    config.previous_result()?;
    if wanted(environment, config)?.is_none() {
        return Ok(());
    }
    let failed = |error: &dyn std::fmt::Display| Failure::capture(error.to_string());
    lateen_capture::enter(environment.namespace_file()?).map_err(|e| failed(&e))?;
    match lateen_capture::Ruleset::is_applied() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::capture("the rules are gone".to_owned())),
        Err(error) => Err(failed(&error)),
    }
}

/// The arguments of capture for the pod of a call; none for one that is not in the mesh.
fn wanted(environment: &Environment, config: &NetworkConfig) -> Result<Option<Vec<String>>, Failure> {
    let Some(name) = environment.pod()? else { return Ok(None) };
    if config.excludes(name.namespace) {
        return Ok(None);
    }
    match pod::find(config, &name)? {
        Found::Gone => Ok(None),
        Found::Pod(pod) => lateen_inject::capture_arguments(&pod)
            .map_err(|error| Failure::pod(format!("pod {}/{}: {error}", name.namespace, name.name))),
    }
}

/// Captures a network namespace with the arguments of `lateen capture`. The calling thread stays in it.
fn capture(namespace: &Path, arguments: &[String]) -> Result<(), Failure> {
    in_namespace(namespace, arguments).map_err(Failure::capture)
}

/// As [`capture`], for whoever is not a plugin.
pub fn in_namespace(namespace: &Path, arguments: &[String]) -> Result<(), String> {
    let words = std::iter::once("capture").chain(arguments.iter().map(String::as_str));
    let mut parsed = lateen_capture::Arguments::try_parse_from(words).map_err(|error| error.to_string())?;
    parsed.network_namespace = Some(namespace.to_owned());
    lateen_capture::run(&parsed).map(drop).map_err(|error| error.to_string())
}
