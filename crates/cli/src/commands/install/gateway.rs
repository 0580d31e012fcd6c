//! `lateen gateway`.

use anyhow::Result;
use lateen_install::{Chart, GATEWAY_NAMESPACE, GatewayKind, Release, Traffic};

use super::{cluster, done, overlay};
use crate::args::install::{DisableGateway, EnableGateway, GatewayName, GatewayVerb};
use crate::commands::resources::block_on;

/// Enables or disables one of the two ingress gateways.
pub fn run(verb: &GatewayVerb) -> Result<()> {
    match verb {
        GatewayVerb::Enable(arguments) => enable(arguments),
        GatewayVerb::Disable(arguments) => disable(arguments),
    }
}

fn kind(name: GatewayName) -> GatewayKind {
    GatewayKind(match name {
        GatewayName::External => Traffic::External,
        GatewayName::Internal => Traffic::Internal,
    })
}

fn enable(arguments: &EnableGateway) -> Result<()> {
    let kind = kind(arguments.gateway);
    let mut release = Release::new(Chart::gateway(), kind.name(), GATEWAY_NAMESPACE)?;
    release.values().overlay(&kind.values()?);
    let mut set = arguments.set.clone();
    if let Some(revision) = &arguments.revision {
        set.extend([format!("revision={revision}"), "perRevision=true".to_owned()]);
    }
    overlay(&mut release, &arguments.files, &set)?;
    let manifest = release.manifest()?.with_namespace();
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        let applied = cluster.apply(&manifest, true, &mut done).await?;
        if !arguments.readiness_timeout.is_zero() {
            cluster.wait(&applied.deployments, arguments.readiness_timeout, &mut done).await?;
        }
        done(&format!("see: kubectl get svc {} -n {GATEWAY_NAMESPACE}", kind.name()));
        Ok(())
    })
}

fn disable(arguments: &DisableGateway) -> Result<()> {
    let name = kind(arguments.gateway).name();
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        let removed = cluster.remove_release(name, &mut done).await?;
        match removed.objects {
            0 => println!("{name} is not enabled"),
            objects => println!("{objects} objects removed"),
        }
        Ok(())
    })
}
