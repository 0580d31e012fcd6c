//! Path templates (Envoy's `envoy.path.match.uri_template.uri_template_matcher`), compiled into expressions.

use super::matcher::Regex;

/// One segment. Envoy leaves characters out that may well stand in a path (`=` among them), which would let a request
/// slip past a DENY rule; Istio documents any segment.
const SEGMENT: &str = "(?s-u:[^/])+";
/// Any number of segments.
const SEGMENTS: &str = "(?s-u:.)*";
/// Most variables in one template.
const MAX_VARIABLES: usize = 5;
/// Longest name of a variable.
const MAX_NAME: usize = 16;

/// Compiles a template: `*` is one segment, `**` any number (after which no other wildcard may stand), `{name}` and
/// `{name=pattern}` are variables.
///
/// # Errors
/// Why it is no template.
pub fn compile(template: &str) -> Result<Regex, String> {
    let rest = template.strip_prefix('/').ok_or("must begin with `/`")?;
    if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("holds a character that cannot stand in a path".to_owned());
    }
    let mut parser = Parser { pattern: String::from("/"), names: Vec::new(), open: false };
    let mut rest = rest;
    while !rest.is_empty() {
        rest = parser.segment(rest)?;
    }
    Regex::full(&parser.pattern).map_err(|error| error.to_string())
}

struct Parser<'a> {
    pattern: String,
    names: Vec<&'a str>,
    /// `**` was seen.
    open: bool,
}

impl<'a> Parser<'a> {
    /// One segment and the slash behind it; what remains.
    fn segment(&mut self, text: &'a str) -> Result<&'a str, String> {
        let rest = match text.as_bytes()[0] {
            b'*' => self.wildcard(text)?,
            b'{' => self.variable(text)?,
            _ => self.literal(text)?,
        };
        match rest.strip_prefix('/') {
            Some(rest) => {
                self.pattern.push('/');
                Ok(rest)
            }
            None if rest.is_empty() => Ok(rest),
            // A suffix such as `.html`, which ends the template.
            None => match self.literal(rest)? {
                "" => Ok(""),
                _ => Err(format!("`{rest}` may only follow a wildcard at the template's end")),
            },
        }
    }

    fn literal(&mut self, text: &'a str) -> Result<&'a str, String> {
        let (literal, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@".contains(&byte);
        if literal.is_empty() || !literal.bytes().all(legal) {
            return Err(format!("`{literal}` cannot stand in a path template"));
        }
        self.pattern.push_str(&regex::escape(literal));
        Ok(rest)
    }

    fn wildcard(&mut self, text: &'a str) -> Result<&'a str, String> {
        if self.open {
            return Err("no wildcard may follow `**`".to_owned());
        }
        match text.strip_prefix("**") {
            Some(rest) => {
                self.open = true;
                self.pattern.push_str(SEGMENTS);
                Ok(rest)
            }
            None => {
                self.pattern.push_str(SEGMENT);
                Ok(&text[1..])
            }
        }
    }

    fn variable(&mut self, text: &'a str) -> Result<&'a str, String> {
        let end = text.find('}').ok_or_else(|| format!("`{text}` has no closing brace"))?;
        let (name, pattern) = match text[1..end].split_once('=') {
            Some((name, pattern)) => (name, pattern),
            None => (&text[1..end], "*"),
        };
        self.name(name)?;
        let mut rest = pattern;
        if rest.is_empty() {
            return Err(format!("the variable `{name}` has an empty pattern"));
        }
        while !rest.is_empty() {
            rest = if rest.starts_with('*') { self.wildcard(rest)? } else { self.literal(rest)? };
            if let Some(more) = rest.strip_prefix('/').filter(|more| !more.is_empty()) {
                self.pattern.push('/');
                rest = more;
            } else if !rest.is_empty() {
                return Err(format!("the pattern of variable `{name}` is not one of segments"));
            }
        }
        Ok(&text[end + 1..])
    }

    fn name(&mut self, name: &'a str) -> Result<(), String> {
        let mut bytes = name.bytes();
        let legal = bytes.next().is_some_and(|first| first.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.len() <= MAX_NAME;
        if !legal {
            return Err(format!("`{name}` is no name of a variable"));
        }
        if self.names.contains(&name) {
            return Err(format!("the variable `{name}` stands twice"));
        }
        self.names.push(name);
        if self.names.len() > MAX_VARIABLES {
            return Err(format!("more than {MAX_VARIABLES} variables"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(template: &str, path: &str) -> bool {
        compile(template).unwrap().is_match(path.as_bytes())
    }

    #[test]
    fn a_star_is_one_segment_and_two_are_any_number() {
        assert!(matches("/a/*/c", "/a/b/c"));
        assert!(!matches("/a/*/c", "/a//c"));
        assert!(!matches("/a/*/c", "/a/b/b/c"));
        assert!(matches("/a/**", "/a/"));
        assert!(matches("/a/**", "/a/b/c"));
        assert!(!matches("/a/**", "/a"));
        assert!(matches("/a/**/c", "/a/x/y/c"));
        assert!(matches("/a/*.html", "/a/x.html"));
        assert!(matches("/{tenant}/v", "/t/v"));
        assert!(matches("/a/*", "/a/x=1*"));
        assert!(compile("/a/**").unwrap().is_match(b"/a/\xff\n"));
        assert!(matches("/{rest=x/**}", "/x/y/z"));
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for bad in
            ["a", "/a b", "/**/*", "/**/**", "/{a", "/{1}", "/{a}/{a}", "/{a=}", "/a*b/c", "/*x/y", "/a=b"]
        {
            assert!(compile(bad).is_err(), "{bad}");
        }
    }
}
