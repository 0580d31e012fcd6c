//! Why a pod cannot be injected.

use thiserror::Error;

/// A pod or manifest that cannot be injected as it stands; the text names what to mend.
#[derive(Debug, Error)]
pub enum InjectError {
    /// An annotation's value cannot be used.
    #[error("metadata.annotations[{name}]: {reason} (value: {value:?})")]
    Annotation {
        /// The annotation's full name.
        name: &'static str,
        /// Its value, as the user wrote it.
        value: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The pod's own container or volume cannot be joined with what the injector adds.
    #[error("{field}: {reason}")]
    Pod {
        /// Path of the field in the pod.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document of a manifest cannot be read.
    #[error("document {index}{}: {reason}", name.as_ref().map(|n| format!(" ({n})")).unwrap_or_default())]
    Manifest {
        /// Position of the document in the file, counted from 1.
        index: usize,
        /// Kind and name of the resource, where they could be read.
        name: Option<String>,
        /// What is wrong with it.
        reason: String,
    },
    /// A pod could not be converted to or from JSON.
    #[error("pod cannot be expressed as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

impl InjectError {
    pub(crate) fn annotation(name: &'static str, value: &str, reason: impl Into<String>) -> Self {
        Self::Annotation { name, value: value.to_owned(), reason: reason.into() }
    }
}
