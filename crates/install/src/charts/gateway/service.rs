use super::fields::{Fields, gateway, name, short};
use crate::charts::common::{namespace, release_labels, with};
use crate::template::{Condition, Document, Entry, Node};

/// Labels of every object of a gateway.
pub fn labels() -> Node {
    let mut more = release_labels("istio-gateway");
    more.push(Entry::Spread(gateway("labels")));
    with(selector(), more)
}

/// Labels by which the Service and the Deployment find their pods.
pub fn selector() -> Node {
    object! { "app": Node::Quoted(name()), "istio": Node::Quoted(short()), }
}

/// The gateway's Service.
pub fn service(fields: &Fields) -> Document {
    let set = |expr| Condition::Set(expr);
    let balanced = || Condition::Is(fields.service_type(), "LoadBalancer");
    let with_balancer = |expr| Condition::All(vec![balanced(), set(expr)]);
    let reachable = Condition::All(vec![
        Condition::Is(fields.service_type(), "ClusterIP").negated(),
        set(fields.traffic_policy()),
    ]);
    Document::always(object! {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object! {
            "name": Node::Quoted(name()),
            "namespace": namespace(),
            "labels": labels(),
            if (set(fields.service_annotations())) "annotations": Node::Tree(fields.service_annotations()),
        },
        "spec": object! {
            "type": Node::Quoted(fields.service_type()),
            if (with_balancer(fields.load_balancer_ip())) "loadBalancerIP": Node::Quoted(fields.load_balancer_ip()),
            if (with_balancer(fields.load_balancer_class())) "loadBalancerClass": Node::Quoted(fields.load_balancer_class()),
            if (with_balancer(fields.source_ranges())) "loadBalancerSourceRanges": Node::Tree(fields.source_ranges()),
            if (reachable) "externalTrafficPolicy": Node::Quoted(fields.traffic_policy()),
            if (set(fields.ip_family_policy())) "ipFamilyPolicy": Node::Quoted(fields.ip_family_policy()),
            if (set(fields.ip_families())) "ipFamilies": Node::Tree(fields.ip_families()),
            "selector": selector(),
            "ports": Node::Tree(fields.ports()),
        },
    })
}
