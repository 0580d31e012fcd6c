//! The operator's own injection templates (`sidecarInjectorWebhook.templates` in Istio's values).
//!
//! A template is a part of a pod in YAML, which is laid over the pod as a strategic merge. `{{ ... }}` stands for a value
//! of the pod or the mesh; of Go's template language only what has one value is known. Values are put in after the YAML
//! has been read, so that none of them can change what the template says.

mod expression;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Map, Value, json};

use crate::metadata::Added;
use crate::settings::Settings;
use crate::{InjectError, PROXY_CONTAINER, merge, proxy};
use expression::Expression;

/// What stands for an expression while the YAML is read; no user writes these characters.
const MARK: char = '\u{e000}';

/// Looks at templates before they are used: every `{{ ... }}` has to be understood, and what is around has to be YAML.
pub(crate) fn check(templates: &BTreeMap<String, String>) -> Result<(), InjectError> {
    for (name, text) in templates {
        parse(name, text)?;
    }
    Ok(())
}

/// A template that has been read: its YAML, and what its marks stand for.
struct Template {
    tree: Map<String, Value>,
    expressions: Vec<Expression>,
}

fn refused(name: &str, reason: impl std::fmt::Display) -> InjectError {
    InjectError::Pod { field: format!("sidecarInjectorWebhook.templates.{name}"), reason: reason.to_string() }
}

fn parse(name: &str, text: &str) -> Result<Template, InjectError> {
    let (mut yaml, mut rest, mut expressions) = (String::with_capacity(text.len()), text, Vec::new());
    if text.contains(MARK) {
        return Err(refused(name, "holds a character that Unicode keeps for private use (U+E000)"));
    }
    while let Some((before, after)) = rest.split_once("{{") {
        let (inner, after) = after.split_once("}}").ok_or_else(|| refused(name, "`{{` without `}}`"))?;
        let inner = inner.trim_start_matches('-').trim_end_matches('-').trim();
        yaml.push_str(before);
        rest = after;
        if inner.starts_with("/*") {
            continue;
        }
        let expression = Expression::parse(inner)
            .map_err(|reason| refused(name, format!("{{{{ {inner} }}}}: {reason}")))?;
        yaml.push_str(&format!("{MARK}{}{MARK}", expressions.len()));
        expressions.push(expression);
    }
    yaml.push_str(rest);
    match serde_saphyr::from_str(&yaml) {
        Ok(Value::Object(tree)) => Ok(Template { tree, expressions }),
        Ok(Value::Null) => Ok(Template { tree: Map::new(), expressions }),
        Ok(_) => Err(refused(name, "must be a map with `metadata` and `spec` of a pod")),
        Err(error) => Err(refused(name, format!("is not YAML: {error}"))),
    }
}

/// Lays the templates that the pod asks for over it, and the user's own `istio-proxy` container over that again. Notes
/// what they add.
pub(crate) fn apply(
    settings: &Settings<'_>,
    pod: Pod,
    own: Option<&Container>,
    added: &mut Added,
) -> Result<Pod, InjectError> {
    if settings.overlays.is_empty() {
        return Ok(pod);
    }
    let context = context(settings);
    let Value::Object(mut tree) = serde_json::to_value(&pod)? else { return Ok(pod) };
    let mut last = "";
    for name in &settings.overlays {
        last = name;
        let text = settings.config.templates.get(*name).map_or("", String::as_str);
        let Template { tree: template, expressions } = parse(name, text)?;
        let filled = fill_map(template, &expressions, &context).map_err(|reason| refused(name, reason))?;
        merge::overlay(&mut tree, filled);
    }
    if let Some(own) = own {
        let again = json!({ "name": PROXY_CONTAINER });
        for list in ["containers", "initContainers"] {
            let items =
                tree.get_mut("spec").and_then(|spec| spec.get_mut(list)).and_then(Value::as_array_mut);
            let proxy = items.into_iter().flatten().find(|item| item.get("name") == again.get("name"));
            if let Some(Value::Object(proxy)) = proxy {
                merge::overlay(proxy, proxy::own_fields(own)?);
            }
        }
    }
    let result: Pod = serde_json::from_value(Value::Object(tree))
        .map_err(|error| refused(last, format!("makes no pod: {error}")))?;
    note(&pod, &result, added);
    Ok(result)
}

/// Adds the names that one pod has and the other has not.
fn note(before: &Pod, after: &Pod, added: &mut Added) {
    let containers = |pod: &Pod| -> Vec<String> {
        pod.spec.iter().flat_map(|spec| &spec.containers).map(|container| container.name.clone()).collect()
    };
    let init = |pod: &Pod| -> Vec<String> {
        let all = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        all.map(|container| container.name.clone()).collect()
    };
    let volumes = |pod: &Pod| -> Vec<String> {
        let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        all.map(|volume| volume.name.clone()).collect()
    };
    let new = |now: Vec<String>, then: Vec<String>| now.into_iter().filter(move |name| !then.contains(name));
    added.containers.extend(new(containers(after), containers(before)));
    added.init_containers.extend(new(init(after), init(before)));
    added.volumes.extend(new(volumes(after), volumes(before)));
}

/// What expressions may read, by the names that Istio's templates have.
fn context(settings: &Settings<'_>) -> Value {
    let (pod, config) = (settings.pod, settings.config);
    let metadata = json!({
        "Name": pod.metadata.name,
        "GenerateName": pod.metadata.generate_name,
        "Namespace": settings.namespace,
        "Labels": pod.metadata.labels.clone().unwrap_or_default(),
        "Annotations": pod.metadata.annotations.clone().unwrap_or_default(),
    });
    let proxy: Map<String, Value> =
        settings.proxy_config.iter().map(|(name, value)| (exported(name), value.clone())).collect();
    json!({
        "ObjectMeta": metadata,
        "DeploymentMeta": { "Name": settings.workload.name, "Namespace": settings.namespace },
        "Spec": { "ServiceAccountName": pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone()) },
        "ProxyConfig": proxy,
        "MeshConfig": { "TrustDomain": config.trust_domain, "RootNamespace": config.root_namespace },
        "Values": &*config.values,
        "Revision": config.revision,
        "ProxyImage": proxy::image(settings),
    })
}

/// A field's name as Go's templates have it.
fn exported(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

fn fill_map(
    map: Map<String, Value>,
    expressions: &[Expression],
    context: &Value,
) -> Result<Map<String, Value>, String> {
    let fill_entry = |(key, value): (String, Value)| -> Result<(String, Value), String> {
        let key = match fill_text(&key, expressions, context)? {
            Value::String(key) => key,
            other => other.to_string(),
        };
        Ok((key, fill(value, expressions, context)?))
    };
    map.into_iter().map(fill_entry).collect()
}

fn fill(value: Value, expressions: &[Expression], context: &Value) -> Result<Value, String> {
    match value {
        Value::Object(map) => fill_map(map, expressions, context).map(Value::Object),
        Value::Array(items) => items
            .into_iter()
            .map(|item| fill(item, expressions, context))
            .collect::<Result<_, _>>()
            .map(Value::Array),
        Value::String(text) => fill_text(&text, expressions, context),
        other => Ok(other),
    }
}

/// A text that is one expression takes the value as it is, any other the value's text.
fn fill_text(text: &str, expressions: &[Expression], context: &Value) -> Result<Value, String> {
    let evaluate = |number: &str| {
        let expression = number.parse().ok().and_then(|at: usize| expressions.get(at));
        expression.map_or(Ok(Value::Null), |expression| expression.evaluate(context))
    };
    // Marks come in pairs: every second piece is an expression's number.
    let pieces: Vec<&str> = text.split(MARK).collect();
    if let ["", number, ""] = pieces[..] {
        return evaluate(number);
    }
    let mut filled = String::with_capacity(text.len());
    for (at, piece) in pieces.into_iter().enumerate() {
        match (at % 2 == 1).then(|| evaluate(piece)).transpose()? {
            None => filled.push_str(piece),
            Some(Value::String(value)) => filled.push_str(&value),
            Some(value) => filled.push_str(&value.to_string()),
        }
    }
    Ok(Value::String(filled))
}
