//! Gateways: one of its own (chart `gateway`), or several beside the control plane (chart `istio`).

mod fields;
mod scale;
mod service;
mod workload;

use crate::template::{Document, Template};
use fields::{BESIDE, Fields, OWN};

/// The templates of the chart `gateway` by file name.
pub fn templates() -> Vec<(&'static str, Template)> {
    let fields = &OWN;
    vec![
        ("serviceaccount.yaml", Template::Release(vec![workload::account(fields)])),
        ("service.yaml", Template::Release(vec![service::service(fields)])),
        ("deployment.yaml", Template::Release(vec![workload::deployment(fields)])),
        ("autoscale.yaml", Template::Release(scale(fields))),
    ]
}

/// The template of the gateways in the chart `istio`.
pub fn beside_the_control_plane() -> (&'static str, Template) {
    let fields = &BESIDE;
    let mut documents =
        vec![workload::account(fields), service::service(fields), workload::deployment(fields)];
    documents.extend(scale(fields));
    ("gateways.yaml", Template::EachGateway(documents))
}

fn scale(fields: &Fields) -> Vec<Document> {
    vec![scale::autoscaler(fields), scale::budget(fields)]
}
