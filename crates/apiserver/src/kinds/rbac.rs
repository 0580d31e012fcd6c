//! Roles and their bindings.

use serde_json::{Value, json};

use crate::object;
use crate::registry::Behaviour;
use crate::status::FieldError;
use crate::table::{AGE, Column, col, wide};

/// Roles and ClusterRoles: `kubectl` shows when they were made.
pub static ROLE: Behaviour = Behaviour {
    validate: check_rules,
    columns: &[col("Created At")],
    row: |object| vec![object::meta(object, "creationTimestamp").into()],
    path_names: true,
    ..Behaviour::PLAIN
};

/// RoleBindings and ClusterRoleBindings.
pub static ROLE_BINDING: Behaviour = Behaviour {
    default,
    validate,
    validate_update: |old, new, errors| {
        if old.get("roleRef") != new.get("roleRef") {
            errors.push(FieldError::invalid("roleRef", new["roleRef"].clone(), "cannot change roleRef"));
        }
    },
    columns: COLUMNS,
    row,
    path_names: true,
    ..Behaviour::PLAIN
};

const COLUMNS: &[Column] = &[col("Role"), AGE, wide("Users"), wide("Groups"), wide("ServiceAccounts")];

fn default(object: &mut Value) {
    let group = "rbac.authorization.k8s.io";
    if object.get("roleRef").is_some() {
        object::default(object::map_mut(object, &["roleRef"]), "apiGroup", group);
    }
    for subject in object.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        let service_account = object::text(subject, &["kind"]) == "ServiceAccount";
        if let Some(subject) = subject.as_object_mut()
            && !service_account
        {
            object::default(subject, "apiGroup", group);
        }
    }
}

fn check_rules(object: &Value, errors: &mut Vec<FieldError>) {
    for (index, rule) in object::list(object, &["rules"]).iter().enumerate() {
        let path = format!("rules[{index}]");
        let empty = |field: &str| object::list(rule, &[field]).is_empty();
        if empty("verbs") {
            errors
                .push(FieldError::required(format!("{path}.verbs"), "verbs must contain at least one value"));
        }
        if !empty("nonResourceURLs") {
            continue;
        }
        if empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            errors.push(FieldError::required(format!("{path}.apiGroups"), detail));
        }
        if empty("resources") {
            let detail = "resource rules must supply at least one resource";
            errors.push(FieldError::required(format!("{path}.resources"), detail));
        }
    }
}

fn validate(object: &Value, errors: &mut Vec<FieldError>) {
    let kind = object::text(object, &["roleRef", "kind"]);
    if !["Role", "ClusterRole"].contains(&kind) {
        errors.push(FieldError::unsupported("roleRef.kind", kind, &["Role", "ClusterRole"]));
    }
    if object::text(object, &["roleRef", "name"]).is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    }
    for (index, subject) in object::list(object, &["subjects"]).iter().enumerate() {
        if object::text(subject, &["name"]).is_empty() {
            errors.push(FieldError::required(format!("subjects[{index}].name"), ""));
        }
    }
}

fn row(object: &Value) -> Vec<Value> {
    let subjects = |kind: &str| {
        let found = object::list(object, &["subjects"]).iter().filter(|s| object::text(s, &["kind"]) == kind);
        let names: Vec<String> = found
            .map(|s| match object::text(s, &["namespace"]) {
                "" => object::text(s, &["name"]).to_owned(),
                namespace => format!("{namespace}/{}", object::text(s, &["name"])),
            })
            .collect();
        names.join(", ").into()
    };
    let role = &object.get("roleRef").cloned().unwrap_or_else(|| json!({}));
    vec![
        format!("{}/{}", object::text(role, &["kind"]), object::text(role, &["name"])).into(),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_listed_by_kind() {
        let mut object = json!({"roleRef": {"kind": "Role", "name": "r"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]});
        default(&mut object);
        assert_eq!(row(&object), [json!("Role/r"), json!("u"), json!(""), json!("n/s")]);
    }
}
