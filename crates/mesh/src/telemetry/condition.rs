//! The part of CEL that access log filters are commonly written in, as a tree that proxies can check without CEL.
//!
//! Source: Istio, "Access log filtering" and the attributes of Envoy's CEL (`response.code`, `request.headers[...]`).

/// A condition on a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The response's code lies between these, inclusively, or outside of them.
    Code {
        /// The least code.
        from: u32,
        /// The greatest code.
        to: u32,
        /// Whether it must lie outside.
        outside: bool,
    },
    /// A header of the request passes a test, or does not.
    Header {
        /// Its name, such as `:path`.
        name: String,
        /// The test.
        test: Test,
        /// Whether it must fail.
        negate: bool,
    },
    /// The response has a flag (`response.flags != 0`).
    Flagged,
    /// All hold.
    All(Vec<Condition>),
    /// One holds.
    Any(Vec<Condition>),
}

/// What is tested of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// It is there.
    Present,
    /// It is this.
    Exact(String),
    /// It starts with this.
    Prefix(String),
    /// It ends with this.
    Suffix(String),
    /// It contains this.
    Contains(String),
    /// The whole of it matches this RE2 expression.
    Regex(String),
}

/// How deeply an expression may be nested.
const MAX_DEPTH: usize = 32;

impl Condition {
    /// Reads an expression; `None` when it uses what cannot be told without CEL.
    pub fn parse(expression: &str) -> Option<Condition> {
        let mut parser = Parser { rest: expression, depth: 0 };
        let condition = parser.any(false)?;
        parser.rest.trim().is_empty().then_some(condition)
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// `a || b`; negated, both must fail.
    fn any(&mut self, negate: bool) -> Option<Condition> {
        let mut parts = vec![self.all(negate)?];
        while self.eat("||") {
            parts.push(self.all(negate)?);
        }
        Some(join(parts, negate))
    }

    fn all(&mut self, negate: bool) -> Option<Condition> {
        let mut parts = vec![self.one(negate)?];
        while self.eat("&&") {
            parts.push(self.one(negate)?);
        }
        Some(join(parts, !negate))
    }

    fn one(&mut self, negate: bool) -> Option<Condition> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let condition = if self.eat("!") {
            self.one(!negate)
        } else if self.eat("(") {
            let inner = self.any(negate)?;
            self.eat(")").then_some(inner)
        } else if self.eat("has(") {
            let name = self.header()?;
            self.eat(")").then_some(Condition::Header { name, test: Test::Present, negate })
        } else if self.eat("response.code") {
            self.code(negate)
        } else if self.eat("response.flags") {
            (!negate && self.eat("!=") && self.number()? == 0).then_some(Condition::Flagged)
        } else if self.rest.trim_start().starts_with(['"', '\'']) {
            let name = self.text()?;
            (self.eat("in ") && self.eat("request.headers")).then_some(Condition::Header {
                name: name.to_ascii_lowercase(),
                test: Test::Present,
                negate,
            })
        } else {
            self.of_header(negate)
        };
        self.depth -= 1;
        condition
    }

    fn code(&mut self, negate: bool) -> Option<Condition> {
        let operators: [&str; 6] = ["==", "!=", ">=", "<=", ">", "<"];
        let operator = operators.into_iter().find(|op| self.eat(op))?;
        let value = self.number()?;
        let (from, to, outside) = match operator {
            "==" => (value, value, false),
            "!=" => (value, value, true),
            ">=" => (value, u32::MAX, false),
            "<=" => (0, value, false),
            ">" => (value.checked_add(1)?, u32::MAX, false),
            _ => (0, value.checked_sub(1)?, false),
        };
        Some(Condition::Code { from, to, outside: outside != negate })
    }

    fn of_header(&mut self, negate: bool) -> Option<Condition> {
        let path_alone = self.rest.trim_start().starts_with("request.url_path");
        let name = self.header()?;
        for (call, test) in [
            (".startsWith(", Test::Prefix as fn(String) -> Test),
            (".endsWith(", Test::Suffix),
            (".contains(", Test::Contains),
        ] {
            if self.eat(call) {
                // Behind the path there may be a query, which these two would see.
                let exact = !path_alone || call == ".startsWith(";
                let test = test(self.text()?);
                return (self.eat(")") && exact).then_some(Condition::Header { name, test, negate });
            }
        }
        let differs = self.eat("!=");
        if !differs && !self.eat("==") {
            return None;
        }
        let text = self.text()?;
        let test =
            if path_alone { Test::Regex(format!("{}(\\?.*)?", quote(&text))) } else { Test::Exact(text) };
        Some(Condition::Header { name, test, negate: differs != negate })
    }

    /// An attribute that is a header.
    fn header(&mut self) -> Option<String> {
        for (attribute, name) in [
            ("request.method", ":method"),
            ("request.url_path", ":path"),
            ("request.path", ":path"),
            ("request.host", ":authority"),
            ("request.useragent", "user-agent"),
            ("request.referer", "referer"),
            ("request.id", "x-request-id"),
        ] {
            if self.eat(attribute) {
                return Some(name.to_owned());
            }
        }
        if !self.eat("request.headers") {
            return None;
        }
        if self.eat("[") {
            let name = self.text()?;
            return self.eat("]").then(|| name.to_ascii_lowercase());
        }
        None
    }

    fn number(&mut self) -> Option<u32> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        digits.parse().ok()
    }

    /// A text without escapes, in either kind of quotes.
    fn text(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let mark = self.rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let (text, rest) = self.rest[1..].split_once(mark)?;
        self.rest = rest;
        (!text.contains('\\')).then(|| text.to_owned())
    }
}

fn join(mut parts: Vec<Condition>, all: bool) -> Condition {
    match (parts.len(), all) {
        (1, _) => parts.remove(0),
        (_, true) => Condition::All(parts),
        (_, false) => Condition::Any(parts),
    }
}

/// A text as an expression that matches it alone.
fn quote(text: &str) -> String {
    let special = |c: char| "\\.+*?()|[]{}^$".contains(c);
    text.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(from: u32, to: u32) -> Condition {
        Condition::Code { from, to, outside: false }
    }

    #[test]
    fn comparisons_of_codes_are_ranges() {
        assert_eq!(Condition::parse("response.code >= 400"), Some(code(400, u32::MAX)));
        assert_eq!(
            Condition::parse("!(response.code < 400)"),
            Some(Condition::Code { from: 0, to: 399, outside: true })
        );
        assert_eq!(Condition::parse("response.code == 503 "), Some(code(503, 503)));
    }

    #[test]
    fn and_binds_tighter_than_or_and_negation_turns_them_round() {
        let header =
            |negate| Condition::Header { name: "x-debug".into(), test: Test::Exact("on".into()), negate };
        let text = "response.code >= 500 || request.headers['X-Debug'] == 'on' && response.code == 200";
        let expected =
            Condition::Any(vec![code(500, u32::MAX), Condition::All(vec![header(false), code(200, 200)])]);
        assert_eq!(Condition::parse(text), Some(expected));
        let text = "!(response.code == 200 || request.headers['x-debug'] == \"on\")";
        let not_ok = Condition::Code { from: 200, to: 200, outside: true };
        assert_eq!(Condition::parse(text), Some(Condition::All(vec![not_ok, header(true)])));
    }

    #[test]
    fn paths_are_compared_without_their_query() {
        let Some(Condition::Header { name, test, .. }) = Condition::parse("request.url_path == \"/a.b\"")
        else {
            panic!("not read")
        };
        assert_eq!((name.as_str(), test), (":path", Test::Regex("/a\\.b(\\?.*)?".into())));
    }

    #[test]
    fn what_needs_cel_is_left_to_it() {
        for text in
            ["connection.mtls", "response.code >=", "xds.route_name == 'a'", "response.code == 200)", ""]
        {
            assert_eq!(Condition::parse(text), None, "{text}");
        }
        assert_eq!(Condition::parse(&"(".repeat(100_000)), None);
    }
}
