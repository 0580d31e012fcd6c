//! ResourceQuotas that count objects: creation is refused beyond them, and their status tells what is used.
//!
//! Quotas of processing power, memory and storage are kept and not enforced: nothing is limited on one machine.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::background::change;
use crate::context::Context;
use crate::object;
use crate::registry::Resource;
use crate::status::{ApiError, Result};
use crate::store::Key;

const QUOTAS: &str = "/resourcequotas";
const PODS: &str = "/pods";
/// Kinds that are counted by their plain name, too.
const PLAIN: [&str; 7] = [
    "configmaps",
    "persistentvolumeclaims",
    "pods",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "services",
];

/// The objects that a line of a quota counts.
struct Counted {
    shard: String,
    /// Only Services of this type.
    service: Option<&'static str>,
}

fn counted(name: &str) -> Option<Counted> {
    let service = match name {
        "services.loadbalancers" => Some("LoadBalancer"),
        "services.nodeports" => Some("NodePort"),
        _ => None,
    };
    let shard = match name.strip_prefix("count/") {
        Some(resource) => {
            let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
            format!("{group}/{plural}")
        }
        None if service.is_some() => "/services".to_owned(),
        None if PLAIN.contains(&name) => format!("/{name}"),
        None => return None,
    };
    Some(Counted { shard, service })
}

impl Counted {
    fn holds(&self, shard: &str, object: &Value) -> bool {
        // Pods that have ended hold nothing.
        let ended =
            shard == PODS && matches!(object::text(object, &["status", "phase"]), "Succeeded" | "Failed");
        self.shard == shard
            && !ended
            && self.service.is_none_or(|kind| object::text(object, &["spec", "type"]) == kind)
    }

    fn used(&self, context: &Context, namespace: &str) -> usize {
        let entries = context.store.list(&self.shard, Some(namespace), None).0;
        if self.service.is_none() && self.shard != PODS {
            return entries.len();
        }
        let Some(resource) = context.catalog.snapshot().by_shard(&self.shard) else { return 0 };
        entries.iter().filter(|(_, entry)| self.holds(&self.shard, &resource.value(entry))).count()
    }
}

fn quotas(context: &Context, namespace: &str) -> Vec<(Key, Value)> {
    let entries = context.store.list(QUOTAS, Some(namespace), None).0;
    if entries.is_empty() {
        return Vec::new();
    }
    let Some(resource) = context.catalog.snapshot().by_shard(QUOTAS) else { return Vec::new() };
    entries.into_iter().map(|(key, entry)| (key, resource.value(&entry))).collect()
}

fn amount(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether one more object fits.
///
/// # Errors
/// 403 with the quota that it would exceed.
pub fn check(context: &Context, resource: &Resource, namespace: &str, new: &Value) -> Result<()> {
    for (_, quota) in quotas(context, namespace) {
        let hard = object::at(&quota, &["spec", "hard"]).and_then(Value::as_object);
        for (name, limit) in hard.into_iter().flatten() {
            let Some(counted) = counted(name).filter(|counted| counted.holds(&resource.shard, new)) else {
                continue;
            };
            let (used, limit) = (counted.used(context, namespace), amount(limit));
            if limit.parse::<usize>().is_ok_and(|limit| used >= limit) {
                let why = format!(
                    "exceeded quota: {}, requested: {name}=1, used: {name}={used}, limited: {name}={limit}",
                    object::name(&quota)
                );
                return Err(ApiError::forbidden(&resource.group, &resource.plural, object::name(new), &why));
            }
        }
    }
    Ok(())
}

/// Writes down what the quotas of a namespace have in use.
pub async fn refresh(context: &Arc<Context>, namespace: &str) {
    for (key, quota) in quotas(context, namespace) {
        let hard =
            object::at(&quota, &["spec", "hard"]).and_then(Value::as_object).cloned().unwrap_or_default();
        let used: Map<String, Value> = hard
            .keys()
            .filter_map(|name| {
                Some((name.clone(), counted(name)?.used(context, namespace).to_string().into()))
            })
            .collect();
        let status = serde_json::json!({"hard": hard, "used": used});
        if quota.get("status") != Some(&status) {
            change(context, QUOTAS, &key, |quota| quota["status"] = status.clone()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn lines_name_what_they_count() {
        let shard = |name: &str| counted(name).map(|counted| counted.shard);
        assert_eq!(shard("count/deployments.apps").as_deref(), Some("apps/deployments"));
        assert_eq!(shard("count/secrets").as_deref(), Some("/secrets"));
        assert_eq!(shard("pods").as_deref(), Some("/pods"));
        assert_eq!(shard("requests.cpu"), None);
        assert_eq!(
            counted("services.loadbalancers").and_then(|counted| counted.service),
            Some("LoadBalancer")
        );
    }
}
