//! `lateen tag`.

use anyhow::{Result, bail};
use lateen_install::Manifest;

use super::{cluster, confirm, namespace};
use crate::args::install::{SetTag, TagVerb};
use crate::commands::resources::block_on;

/// Sets, lists and removes revision tags.
pub fn run(verb: &TagVerb) -> Result<()> {
    match verb {
        TagVerb::Set(arguments) => set(arguments),
        TagVerb::Generate(arguments) => {
            let namespace = namespace(&arguments.connection);
            print!("{}", Manifest::tag(&arguments.tag, &arguments.revision, namespace)?.yaml());
            Ok(())
        }
        TagVerb::List(connection) => block_on(async {
            let tags = cluster(connection).await?.tags().await?;
            println!("{:<20} {:<20} NAMESPACES", "TAG", "REVISION");
            for tag in tags {
                println!("{:<20} {:<20} {}", tag.name, tag.revision, tag.namespaces.join(","));
            }
            Ok(())
        }),
        TagVerb::Remove(arguments) => block_on(async {
            let cluster = cluster(&arguments.connection).await?;
            let found = cluster.tags().await?.into_iter().find(|tag| tag.name == arguments.tag);
            let Some(tag) = found else { bail!("there is no tag {:?}", arguments.tag) };
            if !tag.namespaces.is_empty() {
                let used = tag.namespaces.join(", ");
                confirm(
                    &format!("New pods of {used} get no sidecar without tag {}. Remove it?", tag.name),
                    arguments.yes,
                )?;
            }
            cluster.remove_tag(&arguments.tag).await?;
            println!("tag {} removed", arguments.tag);
            Ok(())
        }),
    }
}

fn set(arguments: &SetTag) -> Result<()> {
    let namespace = namespace(&arguments.connection);
    let (tag, revision) = (&arguments.tag, &arguments.revision);
    block_on(async {
        let cluster = cluster(&arguments.connection).await?;
        cluster.set_tag(tag, revision, namespace, arguments.overwrite).await?;
        let label = if tag == "default" {
            "istio-injection=enabled".to_owned()
        } else {
            format!("istio.io/rev={tag}")
        };
        println!(
            "tag {tag} leads to revision {revision}; namespaces select it by the label {label}, pods move when they \
             are made again: kubectl rollout restart deployment -n NAMESPACE"
        );
        Ok(())
    })
}
