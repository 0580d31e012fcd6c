//! Rules of SidecarSpec.

use crate::networking::sidecar::SidecarSpec;
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &SidecarSpec, report: &mut Report) {
    let _ = (spec, report);
}
