//! Network configurations: finding the one that a runtime uses, putting the plugin behind its others and taking it out.

use anyhow::{Result, bail, ensure};
use serde_json::{Value, json};

use crate::PLUGIN;

/// The configuration that runtimes use of those in a folder (names and texts): the first by name that can be read.
pub fn first<'a>(files: &'a [(String, String)], wanted: Option<&str>) -> Option<&'a (String, String)> {
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort();
    let named = |name: &str| match wanted {
        None => true,
        // What was a single configuration becomes a list.
        Some(wanted) => name == wanted || name.strip_suffix("list") == Some(wanted),
    };
    sorted.into_iter().find(|(name, text)| named(name) && plugins(text).is_some())
}

fn plugins(text: &str) -> Option<Vec<Value>> {
    let config: Value = serde_json::from_str(text).ok()?;
    match config.get("plugins") {
        Some(Value::Array(plugins)) if !plugins.is_empty() => Some(plugins.clone()),
        Some(_) => None,
        None => config.get("type").and_then(Value::as_str).map(|_| vec![config.clone()]),
    }
}

/// Whether the plugin is in a configuration, as `plugin` says.
pub fn has(text: &str, plugin: &Value) -> bool {
    plugins(text).is_some_and(|plugins| plugins.contains(plugin))
}

/// The configuration with the plugin behind the others, in place of what it may have been before. A configuration of one
/// plugin becomes a list.
///
/// # Errors
/// It is no network configuration.
pub fn insert(text: &str, plugin: &Value) -> Result<String> {
    let mut list: Value = serde_json::from_str(text)?;
    if list.get("plugins").is_none() {
        ensure!(list.get("type").is_some(), "it is neither a network configuration nor a list of them");
        let name = list.get("name").cloned().unwrap_or_else(|| json!("k8s-pod-network"));
        let version = list.get("cniVersion").cloned().unwrap_or_else(|| json!("0.3.1"));
        list = json!({ "cniVersion": version, "name": name, "plugins": [list] });
    }
    let Some(Value::Array(plugins)) = list.get_mut("plugins") else { bail!("`plugins` is no list") };
    plugins.retain(|other| !is_ours(other));
    ensure!(!plugins.is_empty(), "it has no plugin that makes a network");
    plugins.push(plugin.clone());
    Ok(format!("{list:#}\n"))
}

/// The configuration without the plugin; `None` if it is not there.
pub fn remove(text: &str) -> Option<String> {
    let mut list: Value = serde_json::from_str(text).ok()?;
    let plugins = list.get_mut("plugins")?.as_array_mut()?;
    let before = plugins.len();
    plugins.retain(|other| !is_ours(other));
    (plugins.len() != before).then(|| format!("{list:#}\n"))
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(PLUGIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIDGE: &str =
        r#"{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"bridge"},{"type":"portmap"}]}"#;

    fn ours() -> Value {
        json!({ "type": PLUGIN, "kubernetes": { "kubeconfig": "/k" } })
    }

    #[test]
    fn the_plugin_goes_behind_the_others_once_and_out_again() {
        let once = insert(BRIDGE, &json!({ "type": PLUGIN, "old": true })).unwrap();
        let twice = insert(&once, &ours()).unwrap();
        let list: Value = serde_json::from_str(&twice).unwrap();
        assert_eq!(list["plugins"], json!([{ "type": "bridge" }, { "type": "portmap" }, ours()]));
        assert!(has(&twice, &ours()) && !has(&once, &ours()));
        let back: Value = serde_json::from_str(&remove(&twice).unwrap()).unwrap();
        assert_eq!(back, serde_json::from_str::<Value>(BRIDGE).unwrap());
        assert_eq!(remove(BRIDGE), None);
    }

    #[test]
    fn a_single_configuration_becomes_a_list() {
        let list =
            insert(r#"{"cniVersion":"0.4.0","name":"n","type":"bridge","bridge":"b0"}"#, &ours()).unwrap();
        let list: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&list["name"], &list["cniVersion"]), (&json!("n"), &json!("0.4.0")));
        assert_eq!(list["plugins"][0]["bridge"], "b0");
        assert_eq!(list["plugins"][1], ours());
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        for text in ["", "[]", "{}", r#"{"plugins":{}}"#, r#"{"plugins":[{"type":"istio-cni"}]}"#] {
            assert!(insert(text, &ours()).is_err(), "{text}");
        }
    }

    #[test]
    fn the_first_that_can_be_read_is_used() {
        let file = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let files = [
            file("20-b.conflist", BRIDGE),
            file("10-broken.conflist", "{"),
            file("15-a.conf", r#"{"type":"x"}"#),
        ];
        assert_eq!(first(&files, None).unwrap().0, "15-a.conf");
        assert_eq!(first(&files, Some("20-b.conf")).unwrap().0, "20-b.conflist");
        assert!(first(&files, Some("other")).is_none());
    }
}
