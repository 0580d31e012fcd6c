/// An immutable snapshot of the mesh.
#[derive(Debug, Default)]
pub struct Mesh {
    /// Counts snapshots, from 1.
    pub version: u64,
}
