//! The shark application of the canary tutorial: a friendly version, and a second one that is scary.

use axum::Router;
use axum::response::Html;
use axum::routing::get;

use crate::server::pod_name;

const FRIENDLY: &str = "Most sharks never harm anyone: they are shy, and swim away from people.";
const SCARY: &str = "Some sharks smell a drop of blood from far away, and never stop growing new teeth.";

/// `/` leads to `/sharks`, where facts of the version's mood stand.
pub fn router(version: &str) -> Router {
    let facts = facts(version);
    Router::new()
        .route("/", get(async || Html(page("<p><a href=\"/sharks\">Get Shark Info</a></p>"))))
        .route("/sharks", get(async move || Html(facts.clone())))
}

fn facts(version: &str) -> String {
    let (mood, text) = if version == "v1" { ("friendly", FRIENDLY) } else { ("scary", SCARY) };
    let pod = crate::html::escape(&pod_name());
    page(&format!("<p id=\"{mood}\">{text}</p>\n<p>pod: {pod}</p>"))
}

fn page(body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html><head><title>Sharks</title></head>\n<body>\n<h1>Sharks</h1>\n{body}\n</body></html>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart() {
        assert!(facts("v1").contains("id=\"friendly\"") && !facts("v1").contains("scary"));
        assert!(facts("v2").contains("id=\"scary\"") && !facts("v2").contains("friendly"));
    }
}
