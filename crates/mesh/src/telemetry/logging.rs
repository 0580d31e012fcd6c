use std::collections::BTreeMap;
use std::sync::Arc;

use lateen_api::mesh_config::providers::{FileAccessLog, LogFormat as ProviderFormat, Provider};
use lateen_api::telemetry::{AccessLogging, TelemetrySpec};

use super::{Side, is_for};
use crate::Settings;

/// The name under which `accessLogFile` of MeshConfig takes part: no provider has it.
const MESH_FILE: &str = "";

/// A file that accesses are logged in.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// Its path.
    pub path: Arc<str>,
    /// How a line looks.
    pub format: LogFormat,
    /// Whether values that are missing are left out.
    pub omit_empty: bool,
    /// A CEL expression that tells which accesses are logged; all of them without one.
    pub expression: Option<Arc<str>>,
}

/// How a line of an access log looks.
#[derive(Clone, Debug, PartialEq)]
pub enum LogFormat {
    /// Istio's default text.
    Text,
    /// Istio's default JSON.
    Json,
    /// Text with `%OPERATORS%`.
    CustomText(Arc<str>),
    /// A JSON object, as text, whose strings have `%OPERATORS%`.
    CustomJson(Arc<str>),
}

/// The access logs of one side.
///
/// Source: Istio, Telemetry `accessLogging`: an entry without providers is for those of its parent, at first the mesh's
/// default ones; the providers of the most specific object that names some are in use. `accessLogFile` stands for a
/// default provider where `defaultProviders` names none.
pub(super) fn effective(specs: &[&TelemetrySpec], settings: &Settings, side: Side) -> Vec<AccessLog> {
    let mut defaults: Vec<&str> = settings.default_logging.iter().map(|name| &**name).collect();
    if defaults.is_empty() && settings.access_log_file.is_some() {
        defaults.push(MESH_FILE);
    }
    let entries = || specs.iter().flat_map(|spec| &spec.access_logging);
    let names =
        |entry: &'_ AccessLogging| entry.providers.iter().map(|p| p.name.clone()).collect::<Vec<String>>();
    let mut in_use: Vec<String> = defaults.iter().map(|name| (*name).to_owned()).collect();
    for spec in specs {
        let wanted = spec.access_logging.iter().filter(|e| is_for(e.r#match.as_ref(), side));
        let named: Vec<String> = wanted.flat_map(names).collect();
        if !named.is_empty() {
            in_use = named;
        }
    }
    let mut parents: Vec<String> = defaults.into_iter().map(str::to_owned).collect();
    let mut logs: BTreeMap<String, Option<Arc<str>>> = BTreeMap::new();
    if entries().next().is_none() {
        logs.extend(parents.iter().map(|name| (name.clone(), None)));
    }
    for entry in entries() {
        let named = names(entry);
        if !named.is_empty() {
            parents = named;
        }
        if !is_for(entry.r#match.as_ref(), side) {
            continue;
        }
        for name in parents.iter().filter(|name| in_use.contains(name)) {
            if entry.disabled.unwrap_or(false) {
                logs.remove(name);
                continue;
            }
            let expression = entry.filter.as_ref().map(|f| f.expression.as_str()).filter(|e| !e.is_empty());
            logs.insert(name.clone(), expression.map(Arc::from));
        }
    }
    let made = logs.into_iter().filter_map(|(name, expression)| of_provider(&name, expression, settings));
    made.collect()
}

fn of_provider(name: &str, expression: Option<Arc<str>>, settings: &Settings) -> Option<AccessLog> {
    if name == MESH_FILE {
        let format = match (settings.access_log_json, &settings.access_log_format) {
            (false, None) => LogFormat::Text,
            (true, None) => LogFormat::Json,
            (false, Some(custom)) => LogFormat::CustomText(custom.clone()),
            (true, Some(custom)) => LogFormat::CustomJson(custom.clone()),
        };
        let path = settings.access_log_file.clone()?;
        return Some(AccessLog { path, format, omit_empty: false, expression });
    }
    let provider = settings.extension_providers.iter().find(|p| p.name == name)?;
    let Provider::FileAccessLog(file) = provider.provider.as_ref()? else { return None };
    let path = if file.path.is_empty() { "/dev/stdout" } else { &file.path };
    Some(AccessLog {
        path: path.into(),
        format: format(file),
        omit_empty: file.omit_empty_values,
        expression,
    })
}

fn format(file: &FileAccessLog) -> LogFormat {
    match &file.log_format {
        None | Some(ProviderFormat::Unset) => LogFormat::Text,
        Some(ProviderFormat::Text(text)) if text.is_empty() => LogFormat::Text,
        Some(ProviderFormat::Text(text)) if text.ends_with('\n') => {
            LogFormat::CustomText(text.as_str().into())
        }
        // Istio: the provider's text is a line, whether it ends like one or not.
        Some(ProviderFormat::Text(text)) => LogFormat::CustomText(format!("{text}\n").into()),
        Some(ProviderFormat::Labels(labels)) if labels.is_empty() => LogFormat::Json,
        Some(ProviderFormat::Labels(labels)) => {
            LogFormat::CustomJson(serde_json::Value::Object(labels.clone()).to_string().into())
        }
    }
}
