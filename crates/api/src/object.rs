//! The envelope that all resources share: metadata, spec and status under an apiVersion and a kind.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::status::IstioStatus;
use crate::wire::field::Field;
use crate::wire::report::{FieldError, Report};

/// A column that `kubectl get` shows for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer` or `date`.
    pub kind: &'static str,
    /// Where the value stands, as a JSON path (`.spec.hosts`).
    pub path: &'static str,
    /// What the column tells.
    pub description: &'static str,
}

/// The age column that every kind ends with.
pub const AGE: Column = Column {
    name: "Age",
    kind: "date",
    path: ".metadata.creationTimestamp",
    description: "When the object was created, by the server's clock.",
};

/// A kind of resource, named by the type of its spec.
pub trait Kind: Field + Clone + std::fmt::Debug + Default + PartialEq + Send + Sync + 'static {
    /// The API group.
    const GROUP: &'static str;
    /// The kind.
    const KIND: &'static str;
    /// The plural, as it stands in paths.
    const PLURAL: &'static str;
    /// Short names for `kubectl get`.
    const SHORT_NAMES: &'static [&'static str];
    /// The versions that are served, the stored one first.
    const VERSIONS: &'static [&'static str];
    /// Whether objects live in namespaces.
    const NAMESPACED: bool = true;
    /// The columns that `kubectl get` shows after the name.
    const COLUMNS: &'static [Column] = &[AGE];
    /// The categories by which `kubectl get` finds several kinds.
    const CATEGORIES: &'static [&'static str];
    /// Where objects live, as `kube` wants to know it: `NamespaceResourceScope` or `ClusterResourceScope`.
    type Scope;

    /// Reports every error in the spec (and what is probably not meant, as warnings) by Istio's rules.
    /// `metadata` is the object's own: some rules speak of its name, namespace or annotations.
    fn validate(&self, metadata: &ObjectMeta, report: &mut Report);
}

/// A resource: metadata, spec and status.
///
/// Reads every served version (they share one form), writes the stored one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<S> {
    /// Name, namespace, labels, annotations and what the API server keeps.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: S,
    /// What the control plane says about it.
    pub status: Option<IstioStatus>,
}

impl<S> Object<S> {
    /// A new object with a name and a namespace.
    pub fn new(namespace: &str, name: &str, spec: S) -> Self {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        };
        Self { metadata, spec, status: None }
    }

    /// The object's name; empty when it has none yet.
    pub fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    /// The object's namespace; empty for cluster-scoped objects and where the client left it out.
    pub fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}

/// What was read of an object, with all that is wrong with it.
#[derive(Debug)]
pub struct Decoded<S> {
    /// The object; fields that could not be read have their defaults. `None` when it is no object of this kind.
    pub object: Option<Object<S>>,
    /// Type errors, and in `unknown` the fields that the kind does not have.
    pub report: Report,
}

impl<S: Kind> Object<S> {
    /// `group/version` of the stored version.
    pub fn api_version() -> String {
        format!("{}/{}", S::GROUP, S::VERSIONS[0])
    }

    /// Whether `api_version` is one in which this kind is served.
    pub fn serves(api_version: &str) -> bool {
        let version = api_version.strip_prefix(S::GROUP).and_then(|rest| rest.strip_prefix('/'));
        version.is_some_and(|version| S::VERSIONS.contains(&version))
    }

    /// Reads an object and says everything that is wrong with its form; does not judge its meaning.
    pub fn decode(value: Value) -> Decoded<S> {
        let mut report = Report::default();
        let object = Self::read(value, &mut report);
        Decoded { object, report }
    }

    fn read(value: Value, report: &mut Report) -> Option<Self> {
        let mut out = Self { metadata: ObjectMeta::default(), spec: S::default(), status: None };
        for (key, value) in crate::wire::field::object(value, report)? {
            match key.as_str() {
                "apiVersion" if value.as_str().is_some_and(Self::serves) => {}
                "apiVersion" => {
                    let served: Vec<String> =
                        S::VERSIONS.iter().map(|v| format!("{}/{v}", S::GROUP)).collect();
                    report.error_at(
                        "apiVersion",
                        format!("{} is served as {}, not {value}", S::KIND, served.join(", ")),
                    );
                    return None;
                }
                "kind" if value.as_str() == Some(S::KIND) => {}
                "kind" => {
                    report.error_at("kind", format!("must be {}, not {value}", S::KIND));
                    return None;
                }
                "metadata" => match serde_json::from_value(value) {
                    Ok(metadata) => out.metadata = metadata,
                    Err(error) => report.error_at("metadata", error.to_string()),
                },
                "spec" if value.is_null() => {}
                "spec" => {
                    if let Some(spec) = report.field("spec", |r| S::decode(value, r)) {
                        out.spec = spec;
                    }
                }
                // The status is the control plane's own: an unreadable one must not cost the spec.
                "status" => out.status = IstioStatus::decode(value, &mut Report::default()),
                _ => report.unknown_field(&key, &["apiVersion", "kind", "metadata", "spec", "status"]),
            }
        }
        Some(out)
    }

    /// Reports every error in the spec by Istio's rules, with paths that start at `spec`.
    pub fn validate(&self) -> Report {
        let mut report = Report::at("spec");
        self.spec.validate(&self.metadata, &mut report);
        report
    }
}

/// Joins findings into one line, for errors that have room for text only.
pub fn join(errors: &[FieldError]) -> String {
    errors.iter().map(FieldError::to_string).collect::<Vec<_>>().join("; ")
}

impl<'de, S: Kind> Deserialize<'de> for Object<S> {
    /// Ignores unknown fields; a value of the wrong type is an error that names its path.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let decoded = Self::decode(Value::deserialize(deserializer)?);
        match decoded.object {
            Some(object) if decoded.report.errors.is_empty() => Ok(object),
            _ => Err(D::Error::custom(format!("{}: {}", S::KIND, join(&decoded.report.errors)))),
        }
    }
}

impl<S: Kind> Serialize for Object<S> {
    fn serialize<Z: Serializer>(&self, serializer: Z) -> Result<Z::Ok, Z::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("apiVersion", &Self::api_version())?;
        map.serialize_entry("kind", S::KIND)?;
        map.serialize_entry("metadata", &self.metadata)?;
        map.serialize_entry("spec", &self.spec.encode())?;
        if let Some(status) = &self.status {
            map.serialize_entry("status", &status.encode())?;
        }
        map.end()
    }
}

impl<S: Kind> kube::Resource for Object<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind(_: &()) -> Cow<'_, str> {
        S::KIND.into()
    }
    fn group(_: &()) -> Cow<'_, str> {
        S::GROUP.into()
    }
    fn version(_: &()) -> Cow<'_, str> {
        S::VERSIONS[0].into()
    }
    fn api_version(_: &()) -> Cow<'_, str> {
        Self::api_version().into()
    }
    fn plural(_: &()) -> Cow<'_, str> {
        S::PLURAL.into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
