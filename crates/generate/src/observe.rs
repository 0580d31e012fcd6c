//! Snapshots as single proxies see them: with the settings that Telemetries change for them.

use std::collections::HashMap;
use std::sync::Arc;

use lateen_mesh::telemetry::Side;
use lateen_mesh::{Mesh, Settings, Telemetries, Telemetry};

use crate::cache::Same;

/// Settings by the Telemetries and the side that they are for. The same ones are the same object for as long as
/// nothing changes, so that what is made from them is made once.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    base: Option<Arc<Settings>>,
    known: HashMap<(Vec<Same<Telemetry>>, Side), Arc<Settings>>,
    /// Meshes of the present snapshot with those settings.
    meshes: HashMap<Same<Settings>, Arc<Mesh>>,
}

impl Observers {
    /// Moves to the next snapshot.
    pub fn step(&mut self, mesh: &Arc<Mesh>) {
        self.meshes.clear();
        if mesh.telemetries.is_empty() || self.base.as_ref().is_none_or(|b| !Arc::ptr_eq(b, &mesh.settings)) {
            self.known.clear();
        }
        let exists = |t: &Same<Telemetry>| mesh.telemetries.all().any(|known| Arc::ptr_eq(known, &t.0));
        self.known.retain(|(telemetries, _), _| telemetries.iter().all(exists));
        self.base = Some(mesh.settings.clone());
    }

    /// The snapshot with the settings for one side of the proxies that these Telemetries apply to.
    pub fn mesh(&mut self, mesh: &Arc<Mesh>, telemetries: &[Arc<Telemetry>], side: Side) -> Arc<Mesh> {
        if telemetries.is_empty() {
            return mesh.clone();
        }
        let key = (telemetries.iter().cloned().map(Same).collect(), side);
        let made = || Arc::new(Telemetries::apply(telemetries, &mesh.settings, side));
        let settings = self.known.entry(key).or_insert_with(made).clone();
        let with_settings = || Arc::new(mesh.with_settings(settings.clone()));
        self.meshes.entry(Same(settings.clone())).or_insert_with(with_settings).clone()
    }
}
