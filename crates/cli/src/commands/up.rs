//! `lateen up`.

use anyhow::Result;
use lateen_local::{MeshOptions, UpOptions};

use crate::args::Up;

/// Brings the mesh up; returns when it has ended, or when it is ready if it is to be left running.
pub fn run(arguments: Up) -> Result<()> {
    lateen_local::up(UpOptions {
        name: arguments.instance.name,
        state_dir: arguments.instance.state_dir,
        kubeconfig: arguments.kubeconfig,
        detach: arguments.detach,
        mesh: MeshOptions {
            demo: arguments.demo,
            images: arguments.images,
            envoy: arguments.proxy,
            ..MeshOptions::default()
        },
    })
}
