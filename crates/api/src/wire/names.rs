//! Field names: protobuf's `snake_case` and the JSON mapping's `lowerCamelCase`.

/// The JSON name of a protobuf field (`exact_balance` -> `exactBalance`); `r#` of Rust keywords is dropped.
pub fn json_name(field: &str) -> String {
    let field = field.strip_prefix("r#").unwrap_or(field);
    let mut out = String::with_capacity(field.len());
    let mut upper = false;
    for c in field.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether `key` names the field: by its JSON name or by its protobuf name, both of which parsers must accept.
pub fn names(field: &str, key: &str) -> bool {
    let field = field.strip_prefix("r#").unwrap_or(field);
    if field == key {
        return true;
    }
    let mut rest = key.bytes();
    let mut upper = false;
    for f in field.bytes() {
        if f == b'_' {
            upper = true;
            continue;
        }
        let want = if upper { f.to_ascii_uppercase() } else { f };
        upper = false;
        if rest.next() != Some(want) {
            return false;
        }
    }
    rest.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_follow_protobufs_lower_camel_case() {
        assert_eq!(json_name("consecutive_5xx_errors"), "consecutive5xxErrors");
        assert_eq!(json_name("r#match"), "match");
        assert_eq!(json_name("http1_max_pending_requests"), "http1MaxPendingRequests");
    }

    #[test]
    fn a_field_answers_to_both_of_its_names_and_no_other() {
        assert!(names("r#type", "type"));
        assert!(names("export_to", "exportTo"));
        assert!(names("export_to", "export_to"));
        assert!(!names("export_to", "exportto"));
        assert!(!names("export_to", "exportToo"));
        assert!(!names("export_to", "export"));
    }
}
