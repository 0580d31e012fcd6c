//! Options that stand in the query.

use crate::server::{Query, Request};

/// What happens to fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// The request fails.
    Strict,
    /// They are dropped with a warning.
    Warn,
    /// They are dropped.
    Ignore,
}

/// Options of writes.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything but the store is done.
    pub dry_run: bool,
    /// Who owns the fields that are written.
    pub manager: String,
    /// Whether the client named the manager itself.
    pub manager_given: bool,
    /// What happens to unknown fields.
    pub validation: Validation,
    /// Server-side apply takes over fields that others own.
    pub force: bool,
}

impl Options {
    /// Reads the options of a request.
    pub fn of(request: &Request) -> Self {
        let query: &Query = &request.query;
        let agent = request.head.headers.get(http::header::USER_AGENT).and_then(|v| v.to_str().ok());
        let agent = agent.and_then(|a| a.split('/').next()).filter(|a| !a.is_empty()).unwrap_or("unknown");
        Self {
            dry_run: query.get("dryRun") == Some("All"),
            manager: query.get("fieldManager").unwrap_or(agent).chars().take(128).collect(),
            manager_given: query.get("fieldManager").is_some(),
            validation: match query.get("fieldValidation") {
                Some("Strict") => Validation::Strict,
                Some("Ignore") => Validation::Ignore,
                _ => Validation::Warn,
            },
            force: query.flag("force"),
        }
    }

    /// The options of the server itself.
    pub fn internal() -> Self {
        Self {
            dry_run: false,
            manager: "lateen".into(),
            manager_given: true,
            validation: Validation::Ignore,
            force: true,
        }
    }
}
