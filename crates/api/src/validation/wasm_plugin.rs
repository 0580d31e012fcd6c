//! Rules of WasmPlugin.

use std::collections::BTreeSet;

use super::{common, selection};
use crate::extensions::{EnvValueSource, WasmPluginSpec};
use crate::wire::report::Report;

/// Reports every error of the spec.
pub fn validate(spec: &WasmPluginSpec, report: &mut Report) {
    selection::validate(report, spec.selector.as_ref(), spec.target_ref.as_ref(), &spec.target_refs);
    report.check_at("url", url(&spec.url));
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    if !spec.sha256.is_empty() && (spec.sha256.len() != 64 || !spec.sha256.chars().all(hexadecimal)) {
        report.error_at("sha256", "must be 64 hexadecimal digits, in lower case");
    }
    for (field, text, limit) in
        [("imagePullSecret", &spec.image_pull_secret, 253), ("pluginName", &spec.plugin_name, 256)]
    {
        if text.len() > limit {
            report.error_at(field, format!("must be at most {limit} characters long"));
        }
    }
    if let Some(vm) = &spec.vm_config {
        report.field("vmConfig", |r| {
            let mut names = BTreeSet::new();
            r.each("env", &vm.env, |r, variable| {
                if variable.name.is_empty() || variable.name.len() > 256 {
                    r.error_at("name", "must have 1 to 256 characters");
                } else if !names.insert(&variable.name) {
                    r.error_at("name", format!("duplicate name {:?}", variable.name));
                }
                if variable.value_from == EnvValueSource::Host && !variable.value.is_empty() {
                    r.error_at("value", "value may only be set when valueFrom is INLINE");
                }
            });
        });
    }
    report.each("match", &spec.r#match, |r, selector| {
        r.each("ports", &selector.ports, |r, to| r.check_at("number", common::port(to.number)));
    });
}

fn url(text: &str) -> Result<(), String> {
    match text.split_once("://") {
        _ if text.is_empty() => Err("url must be set".to_owned()),
        Some(("file" | "http" | "https" | "oci", rest)) if !rest.is_empty() => Ok(()),
        Some((scheme, _)) => Err(format!("url contains unsupported scheme: {scheme}")),
        None if text.contains(char::is_whitespace) => Err(format!("{text:?} is no url")),
        None => Ok(()),
    }
}
