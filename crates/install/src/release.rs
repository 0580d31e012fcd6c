//! A chart with a name, a namespace and values, and the objects that follow.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::charts::Chart;
use crate::template::{Scope, Template, pairs, truth};
use crate::values::{Values, ValuesError};

/// A chart to install.
#[derive(Clone, Debug)]
pub struct Release {
    chart: Chart,
    name: String,
    namespace: String,
    values: Values,
}

/// The objects of a release, in the order in which they are created.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The objects.
    pub objects: Vec<Value>,
    /// The namespace of the release.
    pub namespace: String,
}

/// Kinds in the order in which they are created; others come between Deployments and webhooks.
const ORDER: [&str; 15] = [
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PodDisruptionBudget",
    "MutatingWebhookConfiguration",
];

impl Release {
    /// A chart's release with the chart's own values.
    ///
    /// # Errors
    /// The chart's values cannot be read, which a test rules out.
    pub fn new(chart: Chart, name: &str, namespace: &str) -> Result<Release, ValuesError> {
        let values = Values::parse("values.yaml", chart.values)?;
        Ok(Release { chart, name: name.to_owned(), namespace: namespace.to_owned(), values })
    }

    /// The values, to be changed.
    pub fn values(&mut self) -> &mut Values {
        &mut self.values
    }

    /// The objects.
    ///
    /// # Errors
    /// The values are refused by the chart's schema.
    pub fn manifest(&self) -> Result<Manifest, ValuesError> {
        self.values.check(self.chart.name, self.chart.schema)?;
        Ok(self.evaluated())
    }

    fn evaluated(&self) -> Manifest {
        let scope = Scope {
            values: self.values.value(),
            release: &self.name,
            namespace: &self.namespace,
            locals: BTreeMap::new(),
        };
        let mut objects: Vec<Value> =
            self.chart.templates.iter().flat_map(|(_, template)| evaluate(template, &scope)).collect();
        objects.sort_by_key(|object| {
            let kind = object["kind"].as_str().unwrap_or_default();
            ORDER.iter().position(|known| *known == kind).unwrap_or(ORDER.len())
        });
        Manifest { objects, namespace: self.namespace.clone() }
    }
}

fn evaluate(template: &Template, scope: &Scope<'_>) -> Vec<Value> {
    let documents = |scope: &Scope<'_>| -> Vec<Value> {
        template.documents().iter().filter_map(|document| scope.document(document)).collect()
    };
    let gateway = |name: &str, settings: Value| {
        let mut scope = scope.clone();
        let short = name.strip_prefix("istio-").unwrap_or(name);
        scope.locals = [("name", name.into()), ("short", short.into()), ("gateway", settings)].into();
        documents(&scope)
    };
    match template {
        Template::Once(_) => documents(scope),
        Template::Release(_) => {
            let name = scope.values["name"].as_str().filter(|name| !name.is_empty());
            gateway(name.unwrap_or(scope.release), scope.values.clone())
        }
        Template::EachGateway(_) => pairs(scope.values["gateways"].clone())
            .into_iter()
            .filter(|(_, settings)| truth(&settings["enabled"]))
            .flat_map(|(name, settings)| gateway(name.as_str().unwrap_or_default(), settings))
            .collect(),
        Template::Definitions if truth(&scope.values["base"]["enableCRDTemplates"]) => definitions(),
        Template::Definitions => Vec::new(),
    }
}

/// Label by which the project's own definitions are told from another Istio's.
pub const OWN: (&str, &str) = ("app.kubernetes.io/name", "lateen");

/// The custom resource definitions as they are installed: Helm keeps them when the release goes.
fn definitions() -> Vec<Value> {
    lateen_api::crds()
        .into_iter()
        .filter_map(|crd| serde_json::to_value(crd).ok())
        .map(|mut crd| {
            crd["metadata"]["labels"][OWN.0] = json!(OWN.1);
            crd["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("istio");
            crd["metadata"]["annotations"]["helm.sh/resource-policy"] = json!("keep");
            crd
        })
        .collect()
}

/// `files/crds.yaml` of the charts that install the definitions.
pub fn definitions_file() -> String {
    Manifest { objects: definitions(), namespace: String::new() }.yaml()
}

/// Kinds of which an account and its rights consist.
const RIGHTS: [&str; 5] = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"];

/// `crates/local/manifests/istiod-rbac.yaml`: the one-machine mode's control plane may do what a cluster's may.
///
/// # Errors
/// Never: the chart's own values are tested.
pub fn local_rights() -> Result<String, ValuesError> {
    let mut manifest = Release::new(Chart::istiod(), "istiod", "istio-system")?.evaluated();
    manifest.objects.retain(|object| object["kind"].as_str().is_some_and(|kind| RIGHTS.contains(&kind)));
    let text = manifest.with_namespace().yaml();
    Ok(format!(
        "# Written by `cargo xtask charts`, from what the chart istiod has: one account, the same rights.\n{text}"
    ))
}

impl Manifest {
    /// The objects as a YAML stream.
    pub fn yaml(&self) -> String {
        let document = |object: &Value| {
            // A tree of JSON always has a form in YAML.
            let text = serde_saphyr::to_string(object).unwrap_or_default();
            format!("---\n{}\n", text.trim_end())
        };
        self.objects.iter().map(document).collect()
    }

    /// Puts the release's namespace before everything else.
    pub fn with_namespace(mut self) -> Manifest {
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": self.namespace } });
        self.objects.insert(0, namespace);
        self
    }
}
