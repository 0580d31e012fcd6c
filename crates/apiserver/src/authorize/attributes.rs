//! What a request wants to do, in the terms of roles.

use http::Method;

use super::denied;
use crate::selector::Fields;
use crate::server::{Query, User};
use crate::status::{ApiError, qualified};

/// What a request wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, or another.
    pub verb: String,
    /// API group; empty for the core group.
    pub group: String,
    /// Resource, plural.
    pub resource: String,
    /// Subresource; empty for the object itself.
    pub subresource: String,
    /// Namespace; empty for cluster-wide resources and lists over all namespaces.
    pub namespace: String,
    /// Name of the object; empty where there is none.
    pub name: String,
    /// The path, where it is no resource.
    pub path: Option<String>,
}

impl Attributes {
    /// Of a path that is no resource.
    pub fn of_path(method: &Method, path: &str) -> Self {
        let verb = method.as_str().to_lowercase();
        Self { verb, path: Some(path.to_owned()), ..Self::default() }
    }

    /// Of a verb on a resource.
    pub fn of_resource(verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> Self {
        Self {
            verb: verb.to_owned(),
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            ..Self::default()
        }
    }

    /// The same for a subresource.
    #[must_use]
    pub fn with_subresource(mut self, subresource: &str) -> Self {
        self.subresource = subresource.to_owned();
        self
    }

    /// Resource and subresource as roles name them: `pods/log`.
    pub fn whole_resource(&self) -> String {
        match self.subresource.as_str() {
            "" => self.resource.clone(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }

    /// 403 in Kubernetes' words.
    pub fn forbidden(&self, user: &User, reason: &str) -> ApiError {
        let (verb, user) = (&self.verb, &user.name);
        if let Some(path) = &self.path {
            let message = format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\"");
            return ApiError::new(http::StatusCode::FORBIDDEN, "Forbidden", with_reason(message, reason));
        }
        let name = if self.name.is_empty() { String::new() } else { format!(" \"{}\"", self.name) };
        let place = match self.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace \"{namespace}\""),
        };
        let message = format!(
            "{}{name} is forbidden: User \"{user}\" cannot {verb} resource \"{}\" in API group \"{}\" {place}",
            qualified(&self.resource, &self.group),
            self.whole_resource(),
            self.group,
        );
        denied(with_reason(message, reason), self)
    }
}

fn with_reason(message: String, reason: &str) -> String {
    if reason.is_empty() { message } else { format!("{message}: {reason}") }
}

/// The verb of a request on a resource, and the name that it is about: a list of one name is about that.
pub fn verb(method: &Method, named: bool, watch: bool, query: &Query) -> (&'static str, Option<String>) {
    let only = || {
        let fields = Fields::parse(query.get("fieldSelector")?).ok()?;
        fields.required("metadata.name").map(str::to_owned)
    };
    match *method {
        Method::GET | Method::HEAD if watch || query.flag("watch") => ("watch", only()),
        Method::GET | Method::HEAD if named => ("get", None),
        Method::GET | Method::HEAD => ("list", only()),
        Method::POST => ("create", None),
        Method::PUT => ("update", None),
        Method::PATCH => ("patch", None),
        Method::DELETE if named => ("delete", None),
        Method::DELETE => ("deletecollection", None),
        _ => ("", None),
    }
}
