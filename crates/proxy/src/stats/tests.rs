use super::{Kind, Metric, write_prometheus};

#[test]
fn response_classes_become_a_label() {
    let metric = Metric::scoped("cluster", "envoy_cluster_name", "a", "upstream_rq_2xx", 3);
    assert_eq!(
        (metric.name.as_str(), metric.base.as_str()),
        ("cluster.a.upstream_rq_2xx", "cluster.upstream_rq_xx")
    );
    let mut text = String::new();
    write_prometheus(&[metric], &mut text);
    assert_eq!(
        text,
        "# TYPE envoy_cluster_upstream_rq_xx counter\n\
         envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"a\"} 3\n"
    );
}

#[test]
fn what_is_active_is_a_gauge() {
    let kind = |counter| Metric::scoped("http", "l", "p", counter, 0).kind;
    assert_eq!((kind("downstream_cx_active"), kind("downstream_cx_total")), (Kind::Gauge, Kind::Counter));
}
