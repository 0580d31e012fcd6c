//! Hides what differs between two runs on one and the same cluster: names that are made, times, addresses.

use anyhow::Result;
use regex::Regex;

/// What is replaced, in this order; `$a` and `$z` are what stands around it.
const PATTERNS: [(&str, &str); 29] = [
    // Log lines of kubectl itself.
    (r"(?m)^[EIW]\d{4} .*\n?", ""),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4} UTC", "<time>"),
    (r"\bv1\.\d+\.\d+\S*", "<kubernetes>"),
    // Lists of events: how often and when is a matter of luck.
    // Kubelets that look for a Secret or ConfigMap too soon after its creation.
    (r"(?m)^.* FailedMount .*\n?", ""),
    (r"<invalid>", "<age>"),
    (r" \(x\d+ over \S+\)", ""),
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uid>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "<time>"),
    (r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", "<time>"),
    (r#"(?P<a>resourceVersion"?: )"\d+""#, "$a<version>"),
    (r"(?P<a>[Rr]esource ?[Vv]ersion:\s+)\d+", "$a<version>"),
    (r#"(?P<a>resource-version"?: )"\d+""#, "$a<version>"),
    (r"(?P<a>metadata\.resourceVersion: Invalid value: )\S+:", "$a<version>:"),
    (r"-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----\s*", "<certificate>\n"),
    (r"\b(containerd|cri-o|docker|lateen)://[0-9a-f]{64}\b", "<container>"),
    (r"\b[0-9a-f]{64}\b", "<digest>"),
    (r"\S*sha256:<digest>", "<digest>"),
    (r"https://[0-9a-z.]+:\d+", "<server>"),
    (r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(/\d+)?\b", "<address>"),
    (r"\b3[0-2]\d{3}\b", "<node-port>"),
    // Template hashes and made names: letters and digits as Kubernetes picks them.
    (r"-[bcdf-hj-np-tv-z2456789]{7,10}-[bcdf-hj-np-tv-z2456789]{5}\b", "-<hash>-<made>"),
    (r"-[bcdf-hj-np-tv-z2456789]{8,10}\b", "-<hash>"),
    (
        r#"(?P<a>(pod-template-hash|controller-revision-hash)["=: ]+(\w+-)?)[bcdf-hj-np-tv-z2456789]{6,10}\b"#,
        "$a<hash>",
    ),
    (r"-[bcdf-hj-np-tv-z2456789]{5}\b", "-<made>"),
    (r"-\d{8}\b", "-<minute>"),
    (r"kube-api-access-<made>", "kube-api-access"),
    (r"(?m)(?P<a>^|[\s(])(\d+[dhms]){1,2}(?P<z>$|[\s)])", "$a<age>$z"),
    (r" \(<age> ago\)", ""),
    (r"/tmp/\S+", "<file>"),
];

/// Hides what differs.
pub(super) struct Mask {
    patterns: Vec<(Regex, &'static str)>,
}

impl Mask {
    /// Hides the names that a cluster has for its node and its user, too.
    pub(super) fn new(node: &str, user: &str) -> Result<Mask> {
        let mut patterns = Vec::new();
        let names = [(node, r#"[\s"'/=(]"#, "$a<node>$z"), (user, r"\s", "$a<user>$z")];
        for (name, before, replacement) in names.into_iter().filter(|(name, ..)| !name.is_empty()) {
            // Not where the word is part of an image's or a label's name.
            let word = format!(r#"(?m)(?P<a>^|{before})({})(?P<z>$|[\s"',)]|/<|/\d)"#, regex::escape(name));
            patterns.push((Regex::new(&word)?, replacement));
        }
        for (pattern, replacement) in PATTERNS {
            patterns.push((Regex::new(pattern)?, replacement));
        }
        Ok(Mask { patterns })
    }

    /// The text with all of it hidden, and columns set apart by two spaces, whatever their width was.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut text = text.replace('\t', "  ");
        for (pattern, replacement) in &self.patterns {
            // Twice: what stands around two neighbours is one character.
            for _ in 0..2 {
                text = pattern.replace_all(&text, *replacement).into_owned();
            }
        }
        let lines: Vec<String> = text.lines().map(narrow).collect();
        sort_events(lines).join("\n").trim_end().to_owned()
    }
}

/// Events of one second have no order: they are sorted, below the heading of each list.
fn sort_events(mut lines: Vec<String>) -> Vec<String> {
    let mut start = 0;
    while let Some(found) =
        lines[start..].iter().position(|line| line.trim_start().starts_with("----  ------  ----"))
    {
        let first = start + found + 1;
        let last =
            lines[first..].iter().position(|line| !line.starts_with(' ')).map_or(lines.len(), |n| first + n);
        lines[first..last].sort();
        start = last;
    }
    lines
}

/// Runs of spaces within a line become two; those in front stay.
fn narrow(line: &str) -> String {
    let rest = line.trim_start();
    if rest.is_empty() {
        return String::new();
    }
    let mut narrow = line[..line.len() - rest.len()].to_owned();
    let mut spaces = 0;
    for character in rest.trim_end().chars() {
        spaces = if character == ' ' { spaces + 1 } else { 0 };
        if spaces <= 2 {
            narrow.push(character);
        }
    }
    narrow
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_luck_decides_is_hidden_and_the_rest_stays() {
        let mask = Mask::new("kind-node", "me").unwrap();
        for (text, masked) in [
            ("web-5d4f8c7b9d-x2vbn   1/1   Running   0   3m12s", "web-<hash>-<made>  1/1  Running  0  <age>"),
            ("a (x4 over 2m) on kind-node", "a on <node>"),
            ("  resourceVersion: \"812\"", "  resourceVersion: <version>"),
            ("image: example.com/kind-node:1.2.3", "image: example.com/kind-node:1.2.3"),
            ("80:31234/TCP at 10.96.0.7, delay=0s", "80:<node-port>/TCP at <address>, delay=0s"),
            ("at 2026-01-02T03:04:05.678Z", "at <time>"),
            ("Node: kind-node/10.0.0.1", "Node: <node>/<address>"),
            (
                "Type  Reason\n----  ------  ----\n  b\n  a\nEnd",
                "Type  Reason\n----  ------  ----\n  a\n  b\nEnd",
            ),
        ] {
            assert_eq!(mask.apply(text), masked);
        }
    }
}
