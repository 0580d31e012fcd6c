//! Policies that select nothing, contradict each other, or depend on what is not there.

use std::collections::BTreeMap;

use lateen_mesh::{
    AuthorizationPolicy, Issuer, Kind, Labels, LegacyPolicy, Mesh, Meta, Mtls, PeerAuthentication, Target,
    Workload, labels,
};

use crate::finding::{Code, Finding, Severity, key};

pub(crate) fn check(mesh: &Mesh, findings: &mut Vec<Finding>) {
    peers(mesh, findings);
    for policy in mesh.policies.request_authentications() {
        let meta = &policy.meta;
        selection(mesh, Kind::RequestAuthentication, meta, &policy.target, findings);
        for (at, rule) in policy.rules.iter().enumerate() {
            if rule.jwks.is_empty() && rule.jwks_uri.is_empty() {
                let discovery = match Issuer::has_document(&rule.issuer) {
                    true => " and its document for OpenID discovery could not be had (istiod's log says why)",
                    false => "",
                };
                findings.push(Finding::new(
                    Code::PolicyDependencyNotUsable,
                    Severity::Error,
                    key(Kind::RequestAuthentication, meta),
                    format!("spec.jwtRules[{at}].jwksUri"),
                    format!(
                        "no keys are named for the issuer {:?}{discovery}, so that all its tokens are refused",
                        rule.issuer
                    ),
                    "name the URL of its keys in jwksUri, or put them into jwks",
                ));
            }
        }
    }
    for policy in mesh.policies.authorization_policies() {
        selection(mesh, Kind::AuthorizationPolicy, &policy.meta, &policy.target, findings);
        provider(mesh, policy, findings);
    }
    for policy in mesh.policies.legacy() {
        advice(policy, findings);
    }
}

/// Policies for peers: several of which one alone counts, those of the root namespace that select, and those that no
/// workload is selected by.
fn peers(mesh: &Mesh, findings: &mut Vec<Finding>) {
    let mut general: BTreeMap<&str, &PeerAuthentication> = BTreeMap::new();
    let mut selective: Vec<&PeerAuthentication> = Vec::new();
    for policy in mesh.policies.peer_authentications() {
        let resource = || key(Kind::PeerAuthentication, &policy.meta);
        let Some(selector) = policy.selector() else {
            if let Some(first) = general.get(&*policy.meta.namespace) {
                findings.push(Finding::new(
                    Code::ConflictingPolicies,
                    Severity::Error,
                    resource(),
                    "spec.selector".to_owned(),
                    format!(
                        "{:?} is for all workloads of the namespace {} already, and older: this one counts for nothing",
                        first.meta.name, policy.meta.namespace
                    ),
                    "give this one a selector, or make one of the two",
                ));
            } else {
                general.insert(&policy.meta.namespace, policy);
            }
            continue;
        };
        if policy.meta.namespace == mesh.settings.root_namespace {
            findings.push(Finding::new(
                Code::NoMatchingWorkloadsFound,
                Severity::Warning,
                resource(),
                "spec.selector".to_owned(),
                format!("a policy of the root namespace {} is for the whole mesh, and with a selector for nothing", policy.meta.namespace),
                "leave the selector out, or put the policy into the workloads' namespace",
            ));
            continue;
        }
        let pods = selected(mesh, &policy.meta.namespace, selector);
        if pods.is_empty() {
            findings.push(nothing(Kind::PeerAuthentication, &policy.meta, selector));
        }
        let other = selective.iter().find(|older| {
            older.meta.namespace == policy.meta.namespace
                && pods.iter().any(|p| older.selector().is_some_and(|s| labels::selects(s, &p.labels)))
        });
        if let Some(older) = other {
            findings.push(Finding::new(
                Code::ConflictingPolicies,
                Severity::Error,
                resource(),
                "spec.selector".to_owned(),
                format!(
                    "{:?} selects some of the same workloads and is older: for these this one counts for nothing",
                    older.meta.name
                ),
                "select different workloads, or make one of the two",
            ));
        }
        selective.push(policy);
    }
}

fn selected<'a>(mesh: &'a Mesh, namespace: &'a str, selector: &'a Labels) -> Vec<&'a Workload> {
    let pods = mesh.workloads().filter(|w| w.alive && *w.meta.namespace == *namespace);
    pods.filter(|w| labels::selects(selector, &w.labels)).map(|w| &**w).collect()
}

fn nothing(kind: Kind, meta: &Meta, selector: &Labels) -> Finding {
    let pairs: Vec<String> = selector.iter().map(|(k, v)| format!("{k}={v}")).collect();
    Finding::new(
        Code::NoMatchingWorkloadsFound,
        Severity::Warning,
        key(kind, meta),
        "spec.selector".to_owned(),
        format!("no pod has the labels {}, so that the policy applies to nothing", pairs.join(",")),
        "correct the labels, or create the workload in the policy's namespace",
    )
}

fn selection(mesh: &Mesh, kind: Kind, meta: &Meta, target: &Target, findings: &mut Vec<Finding>) {
    if target.references.is_empty() && !target.selector.is_empty() {
        let everywhere = meta.namespace == mesh.settings.root_namespace;
        let found = mesh.workloads().any(|w| {
            (everywhere || w.meta.namespace == meta.namespace)
                && w.alive
                && labels::selects(&target.selector, &w.labels)
        });
        if !found {
            findings.push(nothing(kind, meta, &target.selector));
        }
    }
    for (at, (wanted, name)) in target.references.iter().enumerate() {
        let service =
            matches!(wanted, lateen_mesh::TargetKind::Service | lateen_mesh::TargetKind::ServiceEntry);
        let mut services = mesh.services.of_namespace(&meta.namespace);
        if service && !services.any(|s| *s.meta.name == **name) {
            findings.push(Finding::new(
                Code::NoMatchingWorkloadsFound,
                Severity::Error,
                key(kind, meta),
                format!("spec.targetRefs[{at}].name"),
                format!(
                    "there is no {wanted:?} {name:?} in {}, so that the policy applies to nothing",
                    meta.namespace
                ),
                "create it, or correct the name",
            ));
        }
    }
}

fn provider(mesh: &Mesh, policy: &AuthorizationPolicy, findings: &mut Vec<Finding>) {
    if policy.provider.is_empty() || mesh.settings.provider(&policy.provider).is_some() {
        return;
    }
    let known: Vec<&str> = mesh.settings.extension_providers.iter().map(|p| p.name.as_str()).collect();
    findings.push(Finding::new(
        Code::PolicyDependencyNotUsable,
        Severity::Error,
        key(Kind::AuthorizationPolicy, &policy.meta),
        "spec.provider.name".to_owned(),
        format!(
            "MeshConfig has no extension provider {:?}, so that every request that the rules match is refused",
            policy.provider
        ),
        match known.as_slice() {
            [] => "add it to extensionProviders of MeshConfig".to_owned(),
            known => format!("add it to extensionProviders of MeshConfig, which has {}", known.join(", ")),
        },
    ));
}

/// The modern form of a policy of the old API.
fn advice(policy: &LegacyPolicy, findings: &mut Vec<Finding>) {
    let mode = match policy.mtls() {
        Mtls::Strict => "STRICT",
        Mtls::Permissive => "PERMISSIVE",
        Mtls::Disable => "DISABLE",
    };
    let place = match (policy.for_mesh(), policy.spec.targets.as_slice()) {
        (true, _) => "a PeerAuthentication `default` in the root namespace".to_owned(),
        (false, []) => format!("a PeerAuthentication `default` in {}", policy.meta.namespace),
        (false, targets) => {
            let names: Vec<&str> = targets.iter().map(|t| t.name.as_str()).collect();
            format!(
                "in {} a PeerAuthentication with the selector of the services {}",
                policy.meta.namespace,
                names.join(", ")
            )
        }
    };
    let mut mend = format!("write it as {place} with spec.mtls.mode {mode}");
    if !policy.spec.origins.is_empty() {
        mend += ", and a RequestAuthentication with the issuers of `origins`";
        if policy.requires_token() {
            mend += "; an AuthorizationPolicy that wants requestPrincipals [\"*\"] refuses requests without token";
        }
    }
    findings.push(Finding::new(
        Code::Deprecated,
        Severity::Info,
        policy.key(),
        String::new(),
        "authentication.istio.io/v1alpha1 is an old form; it means what it meant".to_owned(),
        mend,
    ));
}
