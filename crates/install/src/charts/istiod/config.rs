use crate::charts::common::{dash_revision, namespace, release_labels, revision_label, with};
use crate::template::{Condition, Document, Node, Piece, values};

/// MeshConfig, which the control plane reads while it runs.
pub fn mesh() -> Document {
    Document::when(
        Condition::set("pilot.configMap"),
        object! {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": object! {
                "name": Node::Text(vec![Piece::Plain("istio"), dash_revision()]),
                "namespace": namespace(),
                "labels": with(object! { "istio.io/rev": revision_label(), }, release_labels("istiod")),
            },
            "data": object! {
                "mesh": Node::YamlText(values("meshConfig")),
                "meshNetworks": "networks: {}",
            },
        },
    )
}

/// What the injector writes into pods: the values, as Istio keeps them.
pub fn injector() -> Document {
    Document::always(object! {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": object! {
            "name": Node::Text(vec![Piece::Plain("istio-sidecar-injector"), dash_revision()]),
            "namespace": namespace(),
            "labels": with(object! { "istio.io/rev": revision_label(), }, release_labels("istiod")),
        },
        "data": object! {
            "values": Node::YamlText(values("")),
        },
    })
}
