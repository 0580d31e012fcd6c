//! CustomResourceDefinitions, generated from the types.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinition, CustomResourceDefinitionNames,
    CustomResourceDefinitionSpec, CustomResourceDefinitionVersion, CustomResourceSubresourceStatus,
    CustomResourceSubresources, CustomResourceValidation, JSONSchemaProps,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::catalog::with_kinds;
use crate::object::{Column, Kind};
use crate::wire::field::plain;

/// The definitions of all kinds, sorted by name.
pub fn crds() -> Vec<CustomResourceDefinition> {
    macro_rules! all {
        ($($spec:ty,)*) => { vec![$(crd::<$spec>()),*] };
    }
    let mut out = with_kinds!(all);
    out.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    out
}

/// The definition of one kind.
pub fn crd<S: Kind>() -> CustomResourceDefinition {
    let schema = schema::<S>();
    let versions =
        S::VERSIONS.iter().enumerate().map(|(index, version)| version_of::<S>(version, index == 0, &schema));
    CustomResourceDefinition {
        metadata: ObjectMeta {
            name: Some(format!("{}.{}", S::PLURAL, S::GROUP)),
            labels: Some(BTreeMap::from([("app".to_owned(), "istiod".to_owned())])),
            ..ObjectMeta::default()
        },
        spec: CustomResourceDefinitionSpec {
            group: S::GROUP.to_owned(),
            names: CustomResourceDefinitionNames {
                kind: S::KIND.to_owned(),
                list_kind: Some(format!("{}List", S::KIND)),
                plural: S::PLURAL.to_owned(),
                singular: Some(S::KIND.to_lowercase()),
                short_names: some(S::SHORT_NAMES),
                categories: some(S::CATEGORIES),
            },
            scope: if S::NAMESPACED { "Namespaced" } else { "Cluster" }.to_owned(),
            versions: versions.collect(),
            ..CustomResourceDefinitionSpec::default()
        },
        status: None,
    }
}

fn some(names: &[&str]) -> Option<Vec<String>> {
    (!names.is_empty()).then(|| names.iter().map(|name| (*name).to_owned()).collect())
}

fn version_of<S: Kind>(
    name: &str,
    storage: bool,
    schema: &JSONSchemaProps,
) -> CustomResourceDefinitionVersion {
    CustomResourceDefinitionVersion {
        name: name.to_owned(),
        served: true,
        storage,
        additional_printer_columns: Some(S::COLUMNS.iter().map(column).collect()),
        schema: Some(CustomResourceValidation { open_api_v3_schema: Some(schema.clone()) }),
        subresources: Some(CustomResourceSubresources {
            status: Some(CustomResourceSubresourceStatus(serde_json::json!({}))),
            scale: None,
        }),
        ..CustomResourceDefinitionVersion::default()
    }
}

fn column(column: &Column) -> CustomResourceColumnDefinition {
    CustomResourceColumnDefinition {
        name: column.name.to_owned(),
        type_: column.kind.to_owned(),
        json_path: column.path.to_owned(),
        description: Some(column.description.to_owned()),
        ..CustomResourceColumnDefinition::default()
    }
}

fn schema<S: Kind>() -> JSONSchemaProps {
    // The status is the control plane's; what an older or newer one wrote there must survive.
    let status = JSONSchemaProps { x_kubernetes_preserve_unknown_fields: Some(true), ..plain("object") };
    let properties = BTreeMap::from([("spec".to_owned(), S::schema()), ("status".to_owned(), status)]);
    JSONSchemaProps { properties: Some(properties), ..plain("object") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::*;

    /// What Kubernetes calls structural: a type everywhere outside of logical junctors, none of them inside, no
    /// references, and every field that a junctor names is also a property.
    fn structural(schema: &Map<String, Value>, path: &str) {
        assert!(!schema.contains_key("$ref"), "{path}: $ref");
        assert!(schema.get("type").is_some_and(Value::is_string), "{path}: no type");
        let properties = schema.get("properties").and_then(Value::as_object);
        for (name, child) in properties.into_iter().flatten() {
            structural(child.as_object().unwrap(), &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(child) = schema.get(key) {
                structural(child.as_object().unwrap(), &format!("{path}.{key}"));
            }
        }
        assert!(!(properties.is_some() && schema.contains_key("additionalProperties")), "{path}: both");
        for junctor in ["oneOf", "anyOf", "allOf", "not"] {
            if let Some(child) = schema.get(junctor) {
                junction(child, properties, &format!("{path}.{junctor}"));
            }
        }
    }

    fn junction(value: &Value, properties: Option<&Map<String, Value>>, path: &str) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| junction(item, properties, path)),
            Value::Object(map) => {
                for (key, value) in map {
                    match key.as_str() {
                        "required" => {
                            for name in value.as_array().unwrap() {
                                let known =
                                    properties.is_some_and(|p| p.contains_key(name.as_str().unwrap()));
                                assert!(known, "{path}: {name} is no property");
                            }
                        }
                        "oneOf" | "anyOf" | "allOf" | "not" => junction(value, properties, path),
                        other => panic!("{path}: {other} within a junctor"),
                    }
                }
            }
            other => panic!("{path}: {other}"),
        }
    }

    #[test]
    fn every_schema_is_structural() {
        for crd in crds() {
            let names: Vec<_> = crd.spec.versions.iter().filter(|v| v.storage).collect();
            assert_eq!(names.len(), 1, "{:?} needs one stored version", crd.metadata.name);
            for version in &crd.spec.versions {
                let schema = version.schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
                let value = serde_json::to_value(schema).unwrap();
                structural(value.as_object().unwrap(), crd.metadata.name.as_deref().unwrap());
            }
        }
    }

    #[test]
    fn names_and_columns_are_those_that_istio_users_know() {
        let all = crds();
        let find = |kind: &str| all.iter().find(|crd| crd.spec.names.kind == kind).unwrap();
        let columns = |kind: &str| -> Vec<String> {
            let version = &find(kind).spec.versions[0];
            version.additional_printer_columns.iter().flatten().map(|c| c.name.clone()).collect()
        };
        assert_eq!(
            find("VirtualService").metadata.name.as_deref(),
            Some("virtualservices.networking.istio.io")
        );
        assert_eq!(find("ServiceEntry").spec.names.short_names, Some(vec!["se".to_owned()]));
        assert_eq!(columns("VirtualService"), ["Gateways", "Hosts", "Age"]);
        assert_eq!(columns("DestinationRule"), ["Host", "Age"]);
        assert_eq!(columns("ServiceEntry"), ["Hosts", "Location", "Resolution", "Age"]);
        let versions: Vec<_> = find("Gateway").spec.versions.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(versions, ["v1", "v1beta1", "v1alpha3"]);
    }

    #[test]
    fn field_documentation_reaches_the_schema() {
        let crd = crd::<crate::networking::virtual_service::VirtualServiceSpec>();
        let schema = crd.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
        let spec = &schema.properties.unwrap()["spec"];
        let hosts = &spec.properties.as_ref().unwrap()["hosts"];
        assert!(hosts.description.as_deref().unwrap().contains("destination hosts"));
    }
}
