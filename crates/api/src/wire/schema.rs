//! Structural schemas of messages, as Kubernetes demands them of CRDs:
//! <https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema>.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON;
pub use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::field::plain;
use super::names::json_name;

/// Gives a schema the text of the field's doc comment, which is what `kubectl explain` shows.
pub fn describe(mut schema: JSONSchemaProps, lines: &[&str]) -> JSONSchemaProps {
    let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    if !text.trim().is_empty() {
        schema.description = Some(text.trim().to_owned());
    }
    schema
}

/// The schema of a message; of each group of fields at most one may be set.
pub fn message(
    properties: BTreeMap<String, JSONSchemaProps>,
    groups: &[&'static [&'static str]],
    docs: &[&str],
) -> JSONSchemaProps {
    let mut schema = describe(plain("object"), docs);
    schema.properties = (!properties.is_empty()).then_some(properties);
    match groups {
        [] => {}
        [group] => schema.one_of = Some(at_most_one(group)),
        groups => {
            let each = |group: &&'static [&'static str]| JSONSchemaProps {
                one_of: Some(at_most_one(group)),
                ..JSONSchemaProps::default()
            };
            schema.all_of = Some(groups.iter().map(each).collect());
        }
    }
    schema
}

/// `oneOf` with the alternatives "none of them" and "this one", the form in which Istio's CRDs state a oneof.
fn at_most_one(members: &[&str]) -> Vec<JSONSchemaProps> {
    let required: Vec<JSONSchemaProps> = members
        .iter()
        .map(|m| JSONSchemaProps { required: Some(vec![json_name(m)]), ..JSONSchemaProps::default() })
        .collect();
    let any = JSONSchemaProps { any_of: Some(required.clone()), ..JSONSchemaProps::default() };
    let none = JSONSchemaProps { not: Some(Box::new(any)), ..JSONSchemaProps::default() };
    [none].into_iter().chain(required).collect()
}

/// The schema of an enum: its names.
pub fn enumeration(names: &[&str]) -> JSONSchemaProps {
    let values = names.iter().map(|name| JSON(serde_json::Value::String((*name).to_owned()))).collect();
    JSONSchemaProps { enum_: Some(values), ..plain("string") }
}
