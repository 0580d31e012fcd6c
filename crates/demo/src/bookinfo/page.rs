//! The product page's HTML and its static files; all of it is served from here, nothing from elsewhere.

use std::fmt::Write as _;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::html::escape;

/// The style sheet.
pub const STYLE: &str = include_str!("style.css");
/// The picture of a book.
pub const BOOK: &str = include_str!("book.svg");

/// The one product.
pub fn product() -> Value {
    json!({
        "id": 0,
        "title": "The Comedy of Errors",
        "descriptionHtml": "<a href=\"https://en.wikipedia.org/wiki/The_Comedy_of_Errors\">Summary</a>: \
            one of <b>William Shakespeare's</b> first plays and his shortest. Two pairs of twins, parted at birth, come \
            to the same town, and nobody knows any longer whom they are talking to.",
    })
}

/// A value of JSON as text for HTML.
fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => escape(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => escape(&other.to_string()),
    }
}

fn frame(body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Simple Bookstore App</title>\n\
         <link rel=\"stylesheet\" href=\"/static/style.css\">\n\
         <link rel=\"icon\" href=\"/static/book.svg\">\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// The page at `/`.
pub fn index() -> String {
    frame(
        "<header><a class=\"brand\" href=\"/\">BookInfo Sample</a></header>\n<main>\n\
         <h1>A bookstore of four services</h1>\n\
         <p>The product page calls <b>details</b> and <b>reviews</b>; reviews call <b>ratings</b>.</p>\n\
         <ul>\n<li><a href=\"/productpage?u=normal\">As a normal user</a></li>\n\
         <li><a href=\"/productpage?u=test\">As a test user</a></li>\n\
         <li><a href=\"/api/v1/products\">The API</a></li>\n</ul>\n</main>\n",
    )
}

/// The product page.
pub fn front(user: Option<&str>, details: &(StatusCode, Value), reviews: &(StatusCode, Value)) -> String {
    let product = product();
    let title = text(&product, "/title");
    // The description is ours and is HTML already.
    let description = product.get("descriptionHtml").and_then(Value::as_str).unwrap_or_default();
    let body = format!(
        "{}<main>\n<h1>{title}</h1>\n<p>{description}</p>\n<div class=\"columns\">\n{}{}</div>\n</main>\n",
        header(user),
        details_part(details),
        reviews_part(reviews),
    );
    frame(&body)
}

fn header(user: Option<&str>) -> String {
    let session = match user {
        Some(name) => format!("<span class=\"user\">{}</span> (<a href=\"/logout\">sign out</a>)", escape(name)),
        None => "<form method=\"post\" action=\"/login\" name=\"login_form\">\n\
                 <input type=\"text\" name=\"username\" placeholder=\"User Name\" required maxlength=\"64\">\n\
                 <input type=\"password\" name=\"passwd\" placeholder=\"Password\">\n\
                 <button type=\"submit\">Sign in</button>\n</form>"
            .to_owned(),
    };
    format!(
        "<header><a class=\"brand\" href=\"/\">BookInfo Sample</a>\n<div class=\"session\">{session}</div></header>\n"
    )
}

fn details_part((status, details): &(StatusCode, Value)) -> String {
    if *status != StatusCode::OK {
        return failure("details", details);
    }
    let rows = [
        ("Type", "/type"),
        ("Pages", "/pages"),
        ("Publisher", "/publisher"),
        ("Language", "/language"),
        ("Author", "/author"),
        ("Year", "/year"),
        ("ISBN-10", "/ISBN-10"),
        ("ISBN-13", "/ISBN-13"),
    ];
    let mut out = "<section>\n<h4>Book Details</h4>\n<dl>\n".to_owned();
    for (name, pointer) in rows {
        let _ = writeln!(out, "<dt>{name}:</dt><dd>{}</dd>", text(details, pointer));
    }
    out + "</dl>\n</section>\n"
}

fn failure(what: &str, body: &Value) -> String {
    format!(
        "<section>\n<h4>Error fetching product {what}!</h4>\n<p>{}</p>\n</section>\n",
        text(body, "/error")
    )
}

fn reviews_part((status, reviews): &(StatusCode, Value)) -> String {
    if *status != StatusCode::OK {
        return failure("reviews", reviews);
    }
    let mut out = "<section>\n<h4>Book Reviews</h4>\n".to_owned();
    for review in reviews.get("reviews").and_then(Value::as_array).into_iter().flatten() {
        let _ = write!(
            out,
            "<blockquote>\n<p>{}</p>\n<small>{}</small>\n{}</blockquote>\n",
            text(review, "/text"),
            text(review, "/reviewer"),
            rating(review.get("rating")),
        );
    }
    let pod = text(reviews, "/podname");
    if !pod.is_empty() {
        let _ = write!(out, "<dl class=\"served\"><dt>Reviews served by:</dt><dd><u>{pod}</u>");
        let cluster = text(reviews, "/clustername");
        if !cluster.is_empty() && cluster != "null" {
            let _ = write!(out, " on cluster <u>{cluster}</u>");
        }
        out.push_str("</dd></dl>\n");
    }
    out + "</section>\n"
}

/// Full and empty stars in their colour, or why there are none.
fn rating(rating: Option<&Value>) -> String {
    let Some(rating) = rating else { return String::new() };
    let Some(stars) = rating.get("stars").and_then(Value::as_u64) else {
        return format!("<p><i>{}</i></p>\n", text(rating, "/error"));
    };
    let stars = usize::try_from(stars.min(5)).unwrap_or(5);
    let full = "<span class=\"glyphicon glyphicon-star\"></span>\n".repeat(stars);
    let empty = "<span class=\"glyphicon glyphicon-star-empty\"></span>\n".repeat(5 - stars);
    format!(
        "<font color=\"{}\">\n<!-- full stars: -->\n{full}<!-- empty stars: -->\n{empty}</font>\n",
        text(rating, "/color")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(reviews: (StatusCode, Value)) -> String {
        front(None, &(StatusCode::OK, json!({"author": "William Shakespeare"})), &reviews)
    }

    #[test]
    fn stars_have_their_number_and_their_colour() {
        let html = page((
            StatusCode::OK,
            json!({"podname": "reviews-v3-1", "clustername": "null", "reviews": [
                {"reviewer": "Reviewer1", "text": "good", "rating": {"stars": 5, "color": "red"}},
                {"reviewer": "Reviewer2", "text": "fine", "rating": {"stars": 4, "color": "red"}}]}),
        ));
        assert!(html.contains("<title>Simple Bookstore App</title>"));
        assert_eq!(html.matches("<font color=\"red\">").count(), 2);
        assert_eq!(html.matches("glyphicon-star\"").count(), 9);
        assert_eq!(html.matches("glyphicon-star-empty\"").count(), 1);
        assert!(
            html.contains("Sign in") && html.contains("<u>reviews-v3-1</u>") && !html.contains("on cluster")
        );
    }

    #[test]
    fn without_ratings_there_is_no_star() {
        let html = page((StatusCode::OK, json!({"reviews": [{"reviewer": "Reviewer1", "text": "good"}]})));
        assert!(!html.contains("glyphicon") && !html.contains("unavailable"));
    }

    #[test]
    fn failures_are_shown_in_the_samples_words() {
        let unrated = json!({"reviews": [{"rating": {"error": "Ratings service is currently unavailable"}}]});
        assert!(page((StatusCode::OK, unrated)).contains("<i>Ratings service is currently unavailable</i>"));
        let error = json!({"error": "Sorry, product reviews are currently unavailable for this book."});
        let html = page((StatusCode::INTERNAL_SERVER_ERROR, error));
        assert!(html.contains("Error fetching product reviews!"));
        assert!(html.contains("Sorry, product reviews are currently unavailable for this book."));
    }

    #[test]
    fn what_comes_from_outside_cannot_become_markup() {
        let evil = "<script>\"'&";
        let reviews = json!({"podname": evil, "reviews": [{"text": evil, "reviewer": evil, "rating": {"stars": 9, "color": evil}}]});
        let html = front(Some(evil), &(StatusCode::OK, json!({"author": evil})), &(StatusCode::OK, reviews));
        assert!(!html.contains("<script>") && html.contains("&lt;script&gt;&quot;&#39;&amp;"));
    }
}
