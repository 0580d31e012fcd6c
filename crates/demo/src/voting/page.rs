//! The page's HTML; all of it is served from here, nothing from elsewhere.

use std::fmt::Write as _;

use super::app::App;
use crate::html::escape;

/// The style sheet.
pub(super) const STYLE: &str = include_str!("style.css");

/// What the page says of the feature flag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Hidden,
    Set,
    Clear,
}

/// What is shown.
pub(super) struct View<'a> {
    pub app: &'a App,
    pub results: &'a str,
    pub flag: Flag,
}

/// The page.
pub(super) fn vote(view: &View<'_>) -> String {
    let app = view.app;
    let (title, results) = (escape(&app.title), escape(view.results));
    let button = |value: &str, label: &str, class: &str| {
        format!(
            "    <button name=\"vote\" value=\"{0}\" class=\"{class}\">{1}</button>\n",
            escape(value),
            escape(label)
        )
    };
    let buttons = [
        button(&app.choices.first, &app.choices.first, "first"),
        button(&app.choices.second, &app.choices.second, "second"),
        button("reset", "Reset", "reset"),
    ]
    .concat();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
         <main class=\"v{}\">\n  <h1>{title}</h1>\n  <form action=\"/\" method=\"post\">\n{buttons}  </form>\n  \
         <div id=\"results\"> {results} </div>\n{}</main>\n</body>\n</html>\n",
        app.version.split('.').next().map(escape).unwrap_or_default(),
        footer(view),
    )
}

/// Who answers, where votes are kept, and the switch of the feature flag.
fn footer(view: &View<'_>) -> String {
    let app = view.app;
    let mut text = String::from("  <footer>\n");
    if app.details {
        // Writing to a String does not fail.
        let _ = writeln!(text, "    host: {}<br>", escape(&app.pod));
        let _ = writeln!(text, "    version: {}<br>", escape(&app.version));
        let _ = writeln!(text, "    store: {}<br>", app.store.name());
    }
    let switch = |action: &str| {
        format!("<form action=\"/featureflag/{action}\" method=\"post\"><button>{action}</button></form>")
    };
    match view.flag {
        Flag::Hidden => {}
        Flag::Set => drop(writeln!(text, "    feature flag: set | {}", switch("clear"))),
        Flag::Clear => drop(writeln!(text, "    feature flag: {} | clear", switch("set"))),
    }
    text.push_str("  </footer>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::super::Choices;
    use super::super::store::Store;
    use super::*;
    use crate::database::Address;

    fn app(title: &str) -> App {
        App {
            version: "1.0".into(),
            title: title.into(),
            choices: Choices::default(),
            store: Store::Redis(Address { host: "redis".into(), port: 6379 }),
            analytics: String::new(),
            details: true,
            feature_flag: true,
            pod: "voting-app-1-0-abc".into(),
        }
    }

    #[test]
    fn results_stand_on_a_line_of_their_own() {
        let app = app("Votes");
        let html = vote(&View { app: &app, results: "Cats: 2 | Dogs: 4", flag: Flag::Clear });
        let line = html.lines().find(|line| line.contains("results")).unwrap();
        assert_eq!(line, "  <div id=\"results\"> Cats: 2 | Dogs: 4 </div>");
        assert!(html.contains("host: voting-app-1-0-abc") && html.contains("store: redis"), "{html}");
        assert!(html.contains("action=\"/featureflag/set\"") && !html.contains("featureflag/clear"));
    }

    #[test]
    fn what_others_say_cannot_become_markup() {
        let app = app("<b>");
        let html = vote(&View { app: &app, results: "<script>alert(1)</script>", flag: Flag::Set });
        assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
    }
}
