//! Protobuf's JSON mapping.

use lateen_api::networking::traffic_policy::{ClientTlsMode, LbPolicy, SimpleLb};
use lateen_api::networking::virtual_service::StringMatch;
use lateen_api::networking::virtual_service_http::DelayTime;
use lateen_api::{DestinationRule, Duration, VirtualService};
use serde_json::{Value, json};

fn virtual_service(http: Value) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
           "metadata": {"name": "reviews", "namespace": "default"},
           "spec": {"hosts": ["reviews"], "http": [http]}})
}

#[test]
fn every_served_version_is_read_and_the_stored_one_is_written() {
    for version in ["v1", "v1beta1", "v1alpha3"] {
        let mut value = virtual_service(json!({"route": [{"destination": {"host": "reviews"}}]}));
        value["apiVersion"] = json!(format!("networking.istio.io/{version}"));
        let object: VirtualService = serde_json::from_value(value).unwrap();
        assert_eq!(serde_json::to_value(object).unwrap()["apiVersion"], "networking.istio.io/v1");
    }
    let mut value = virtual_service(json!({}));
    value["apiVersion"] = json!("networking.istio.io/v9");
    let error = serde_json::from_value::<VirtualService>(value).unwrap_err().to_string();
    assert!(error.contains("networking.istio.io/v1beta1") && error.contains("v9"), "{error}");
}

#[test]
fn both_spellings_of_field_names_are_read_and_json_names_are_written() {
    let value = virtual_service(json!({
        "match": [{"ignore_uri_case": true, "uri": {"prefix": "/a"}, "headers": {"end-user": {"exact": "jason"}, "x": {}}}],
        "fault": {"delay": {"fixed_delay": "7s", "percentage": {"value": 100}}},
        "timeout": "0.5s",
    }));
    let object: VirtualService = serde_json::from_value(value).unwrap();
    let route = &object.spec.http[0];
    assert!(route.r#match[0].ignore_uri_case);
    assert_eq!(route.r#match[0].headers["x"], StringMatch::Unset);
    assert_eq!(route.timeout, Some(Duration::from_millis(500)));
    let delay = route.fault.as_ref().unwrap().delay.as_ref().unwrap();
    assert_eq!(delay.http_delay, Some(DelayTime::Fixed(Duration::from_secs(7))));
    let written = serde_json::to_value(&object).unwrap();
    let http = &written["spec"]["http"][0];
    assert_eq!(http["match"][0]["ignoreUriCase"], json!(true));
    assert_eq!(http["fault"], json!({"delay": {"fixedDelay": "7s", "percentage": {"value": 100}}}));
    assert_eq!(http["timeout"], json!("0.500s"));
    assert_eq!(http["match"][0]["headers"], json!({"end-user": {"exact": "jason"}, "x": {}}));
}

#[test]
fn enums_are_read_by_name_or_number_and_zero_values_with_a_meaning_are_kept() {
    let value = json!({"apiVersion": "networking.istio.io/v1alpha3", "kind": "DestinationRule", "metadata": {},
        "spec": {"host": "a", "trafficPolicy": {"tls": {"mode": 0}, "loadBalancer": {"simple": 5}}}});
    let rule: DestinationRule = serde_json::from_value(value).unwrap();
    let policy = rule.spec.traffic_policy.as_ref().unwrap();
    assert_eq!(policy.tls.as_ref().unwrap().mode, Some(ClientTlsMode::Disable));
    assert_eq!(
        policy.load_balancer.as_ref().unwrap().lb_policy,
        Some(LbPolicy::Simple(SimpleLb::LeastRequest))
    );
    let written = serde_json::to_value(&rule).unwrap();
    assert_eq!(
        written["spec"]["trafficPolicy"],
        json!({"tls": {"mode": "DISABLE"}, "loadBalancer": {"simple": "LEAST_REQUEST"}})
    );
}

#[test]
fn unknown_fields_are_ignored_by_plain_reading_and_found_by_strict_reading() {
    let value = virtual_service(json!({"rout": [], "route": [{"destination": {"host": "reviews"}}]}));
    assert!(serde_json::from_value::<VirtualService>(value.clone()).is_ok());
    let report = VirtualService::decode(value).report;
    assert_eq!(report.errors, []);
    assert_eq!(report.unknown.len(), 1);
    assert_eq!(report.unknown[0].to_string(), "spec.http[0].rout: unknown field (did you mean \"route\"?)");
}

#[test]
fn an_error_of_type_names_the_path_and_an_unknown_enum_value_names_the_allowed_ones() {
    let value = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {},
        "spec": {"host": "a", "trafficPolicy": {"tls": {"mode": "SIMPEL"}}}});
    let error = serde_json::from_value::<DestinationRule>(value).unwrap_err().to_string();
    let wanted = "spec.trafficPolicy.tls.mode: must be one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL, not the string \"SIMPEL\"";
    assert!(error.contains(wanted), "{error}");
}
