//! The verbs that install the mesh on a cluster: install, uninstall, manifest, precheck, gateway, tag.

pub mod apply;
pub mod gateway;
pub mod manifest;
pub mod precheck;
pub mod remove;
pub mod tag;

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use lateen_install::{Chart, Cluster, Profile, Release, Values};

use super::resources::Session;
use super::validate::read;
use crate::args::Connection;
use crate::args::install::{Choice, ProfileName};

/// Namespace of the control plane where none is named.
const NAMESPACE: &str = "istio-system";

/// Prints a step that is done.
fn done(line: &str) {
    println!("✔ {line}");
}

async fn cluster(connection: &Connection) -> Result<Cluster> {
    Ok(Cluster::new(Session::open(connection).await?.client))
}

/// The namespace that a connection names, or the control plane's usual one.
fn namespace(connection: &Connection) -> &str {
    connection.namespace.as_deref().unwrap_or(NAMESPACE)
}

/// The release of a revision's control plane.
fn release_name(revision: Option<&str>) -> String {
    match revision {
        Some(revision) if revision != "default" => format!("istio-{revision}"),
        _ => "istio".to_owned(),
    }
}

/// The release that the command line describes.
fn release(choice: &Choice, namespace: &str) -> Result<Release> {
    let mut set = choice.set.clone();
    let mut profile = match choice.profile {
        ProfileName::Default => Profile::Default,
        ProfileName::Demo => Profile::Demo,
        ProfileName::Minimal => Profile::Minimal,
    };
    // istioctl's own way to name a profile.
    let named = set.iter().position(|argument| argument.starts_with("profile="));
    if let Some(position) = named {
        profile = match set.remove(position).trim_start_matches("profile=") {
            "default" => Profile::Default,
            "demo" => Profile::Demo,
            "minimal" => Profile::Minimal,
            other => bail!("--set profile={other}: there is default, demo and minimal"),
        };
    }
    if let Some(revision) = &choice.revision {
        set.push(format!("revision={revision}"));
    }
    let name = release_name(choice.revision.as_deref());
    let mut release = Release::new(Chart::istio(), &name, namespace)?;
    release.values().overlay(&profile.values()?);
    overlay(&mut release, &choice.files, &set)?;
    Ok(release)
}

/// Lays files and `--set` arguments over a release's values; `values.` before a name, as istioctl has it, is left out.
fn overlay(release: &mut Release, files: &[PathBuf], set: &[String]) -> Result<()> {
    for file in files {
        let values = Values::parse(&file.display().to_string(), &read(file)?)?;
        release.values().overlay(&values);
    }
    for argument in set {
        release.values().set(argument.strip_prefix("values.").unwrap_or(argument))?;
    }
    Ok(())
}

/// Asks before something is done, where somebody is there to answer.
fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes || !stdin().is_terminal() {
        return Ok(());
    }
    print!("{question} (y/N) ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("no answer")?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("cancelled; nothing was changed");
    }
    Ok(())
}
