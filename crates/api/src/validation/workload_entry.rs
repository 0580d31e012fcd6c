//! Rules of WorkloadEntrySpec.

use crate::networking::workload_entry::WorkloadEntrySpec;
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &WorkloadEntrySpec, report: &mut Report) {
    let _ = (spec, report);
}
