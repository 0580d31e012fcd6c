//! The voting application: a page to vote for cats or dogs, an analytics service that counts, and a store: Redis in
//! versions 1.0 and 1.1, MySQL in version 2.0.

pub mod analytics;
pub mod app;
mod page;
pub mod store;

use crate::server::env;

/// The two things that votes are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choices {
    /// The first.
    pub first: String,
    /// The second.
    pub second: String,
}

impl Default for Choices {
    fn default() -> Self {
        Self { first: "Cats".to_owned(), second: "Dogs".to_owned() }
    }
}

impl Choices {
    /// As the sample's variables `VOTE1VALUE` and `VOTE2VALUE` say.
    pub fn from_env() -> Self {
        let default = Self::default();
        Self {
            first: env("VOTE1VALUE").unwrap_or(default.first),
            second: env("VOTE2VALUE").unwrap_or(default.second),
        }
    }
}
