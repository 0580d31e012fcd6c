//! `-w`: what is written after a transfer.

use std::time::Duration;

/// What is known of a transfer.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The status; 0 when there was no answer.
    pub status: u16,
    /// The bytes of the body.
    pub size: usize,
    /// All of it.
    pub total: Duration,
    /// Until the connection stood.
    pub connect: Duration,
    /// Until the answer began.
    pub first_byte: Duration,
    /// The last URL.
    pub url: String,
    /// Where a redirect leads.
    pub redirect: String,
    /// The kind of the body.
    pub content_type: String,
    /// The address that was spoken to.
    pub remote_ip: String,
    /// How many redirects were followed.
    pub redirects: u32,
}

/// Fills a format: `%{name}`, `%%`, and the escapes `\n`, `\t`, `\r`.
pub fn render(format: &str, facts: &Facts) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '%' if rest.starts_with('%') => {
                out.push('%');
                rest = &rest[1..];
            }
            '%' if rest.starts_with('{') => match rest.split_once('}') {
                Some((name, after)) => {
                    out.push_str(&value(&name[1..], facts));
                    rest = after;
                }
                None => out.push('%'),
            },
            '\\' => {
                let escaped = rest.chars().next();
                match escaped {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some('r') => out.push('\r'),
                    Some(other) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
                rest = &rest[escaped.map_or(0, char::len_utf8)..];
            }
            c => out.push(c),
        }
    }
    out
}

fn value(name: &str, facts: &Facts) -> String {
    let seconds = |time: Duration| format!("{:.6}", time.as_secs_f64());
    match name {
        "http_code" | "response_code" => format!("{:03}", facts.status),
        "size_download" => facts.size.to_string(),
        "time_total" => seconds(facts.total),
        "time_connect" | "time_namelookup" | "time_pretransfer" | "time_appconnect" => seconds(facts.connect),
        "time_starttransfer" => seconds(facts.first_byte),
        "url_effective" | "url" => facts.url.clone(),
        "redirect_url" => facts.redirect.clone(),
        "content_type" => facts.content_type.clone(),
        "remote_ip" => facts.remote_ip.clone(),
        "num_redirects" => facts.redirects.to_string(),
        "http_version" => "1.1".to_owned(),
        "scheme" => "http".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_curls() {
        let facts = Facts { status: 200, total: Duration::from_millis(1500), ..Facts::default() };
        assert_eq!(render("%{http_code}\\n", &facts), "200\n");
        assert_eq!(render("%{time_total}s 100%% %{nonsense}|%{", &facts), "1.500000s 100% |%{");
        assert_eq!(render("%{http_code}", &Facts::default()), "000");
        assert_eq!(render("\\", &facts), "\\");
    }
}
