//! The chart `istiod`: the control plane.

mod config;
mod rbac;
mod scale;
mod webhooks;
mod workload;

pub use webhooks::validated;

use crate::template::Template;

/// The chart's templates by file name.
pub fn templates() -> Vec<(&'static str, Template)> {
    vec![
        ("configmap.yaml", Template::Once(vec![config::mesh(), config::injector()])),
        (
            "rbac.yaml",
            Template::Once(vec![
                rbac::account(),
                rbac::cluster_role(),
                rbac::cluster_binding(),
                rbac::role(),
                rbac::binding(),
            ]),
        ),
        ("service.yaml", Template::Once(vec![workload::service()])),
        ("deployment.yaml", Template::Once(vec![workload::deployment()])),
        ("autoscale.yaml", Template::Once(vec![scale::autoscaler(), scale::budget()])),
        ("mutatingwebhook.yaml", Template::Once(vec![webhooks::injection()])),
        ("validatingwebhook.yaml", Template::Once(vec![webhooks::validation()])),
    ]
}
