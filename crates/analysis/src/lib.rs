//! Findings about a snapshot of the mesh: references that lead nowhere, and resources that stand in each other's
//! way. Pure: the same snapshot gives the same findings.

mod conflicts;
mod credentials;
mod finding;
mod gateways;
mod ports;
mod references;
mod security;
mod tls_check;
mod tuning;

pub use finding::{Code, Finding, Severity};
use lateen_mesh::Mesh;
pub use tls_check::{Caller, TlsStatus, tls_check};

/// Everything that is found in a snapshot: errors first, then by resource and field.
pub fn analyze(mesh: &Mesh) -> Vec<Finding> {
    let mut findings = Vec::new();
    references::check(mesh, &mut findings);
    conflicts::check(mesh, &mut findings);
    gateways::check(mesh, &mut findings);
    ports::check(mesh, &mut findings);
    tuning::check(mesh, &mut findings);
    security::check(mesh, &mut findings);
    credentials::check(mesh, &mut findings);
    findings.sort();
    findings
}
