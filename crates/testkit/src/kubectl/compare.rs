//! Answer against answer.

use anyhow::{Context, Result, ensure};
use regex::Regex;

use super::{Answer, file};

/// More differences than this are no likeness.
const MOST: usize = 10;

/// A difference that is meant: lines that one side prints and the other need not.
#[derive(Debug)]
pub struct Difference {
    /// Why it is meant.
    pub reason: String,
    commands: Regex,
    lines: Regex,
}

/// What came of one command.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Both said the same.
    Same,
    /// They differ as is meant, for these reasons.
    Meant(Vec<String>),
    /// They differ: `-` only the cluster says, `+` only the other.
    Different(String),
}

/// The meant differences: paragraphs of `reason:`, `commands:` and `lines:`, the latter two regular expressions.
///
/// # Errors
/// The file is malformed, or has too many.
pub fn differences() -> Result<Vec<Difference>> {
    let path = file("differences.txt");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let paragraphs =
        text.split("\n\n").filter(|p| p.lines().any(|line| !line.starts_with('#') && !line.is_empty()));
    let all: Vec<Difference> = paragraphs.map(parse).collect::<Result<_>>()?;
    ensure!(all.len() <= MOST, "{}: {} differences; at most {MOST}", path.display(), all.len());
    Ok(all)
}

fn parse(paragraph: &str) -> Result<Difference> {
    let field = |name: &str| {
        let found = paragraph.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        found.with_context(|| format!("a difference has no {name}: {paragraph}"))
    };
    Ok(Difference {
        reason: field("reason")?.to_owned(),
        commands: Regex::new(field("commands")?)?,
        lines: Regex::new(field("lines")?)?,
    })
}

/// Compares what a cluster answered with what another did.
pub fn compare(cluster: &Answer, other: &Answer, meant: &[Difference]) -> Verdict {
    if cluster.output == other.output {
        return Verdict::Same;
    }
    let mut reasons = Vec::new();
    let (mut left, mut right) = (cluster.output.clone(), other.output.clone());
    for difference in meant.iter().filter(|d| d.commands.is_match(&cluster.command)) {
        let without = |text: &str| -> String {
            let lines: Vec<&str> = text.lines().filter(|line| !difference.lines.is_match(line)).collect();
            lines.join("\n")
        };
        let before = changes(&left, &right);
        (left, right) = (without(&left), without(&right));
        if changes(&left, &right) != before {
            reasons.push(difference.reason.clone());
        }
        if left == right {
            return Verdict::Meant(reasons);
        }
    }
    Verdict::Different(changes(&left, &right))
}

/// The lines that differ, after the longest common subsequence.
fn changes(left: &str, right: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) = (left.lines().collect(), right.lines().collect());
    let mut common = vec![vec![0_usize; right.len() + 1]; left.len() + 1];
    for (l, line) in left.iter().enumerate().rev() {
        for (r, other) in right.iter().enumerate().rev() {
            common[l][r] =
                if line == other { common[l + 1][r + 1] + 1 } else { common[l + 1][r].max(common[l][r + 1]) };
        }
    }
    let (mut l, mut r, mut text) = (0, 0, String::new());
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() && left[l] == right[r] {
            (l, r) = (l + 1, r + 1);
        } else if r == right.len() || (l < left.len() && common[l + 1][r] >= common[l][r + 1]) {
            text += &format!("- {}\n", left[l]);
            l += 1;
        } else {
            text += &format!("+ {}\n", right[r]);
            r += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(output: &str) -> Answer {
        Answer { chapter: "a".into(), command: "kubectl get x".into(), output: output.into() }
    }

    #[test]
    fn the_file_of_differences_can_be_read() {
        assert!(differences().unwrap().iter().all(|d| d.reason.len() > 20));
    }

    #[test]
    fn a_difference_shows_the_lines_of_both_sides() {
        let verdict = compare(&answer("a\nb\nc"), &answer("a\nB\nc"), &[]);
        assert_eq!(verdict, Verdict::Different("- b\n+ B\n".into()));
        assert_eq!(compare(&answer("a"), &answer("a"), &[]), Verdict::Same);
    }

    #[test]
    fn meant_lines_do_not_count_and_others_still_do() {
        let meant = [parse("reason: why\ncommands: get x\nlines: ^b").unwrap()];
        assert_eq!(compare(&answer("a\nb1"), &answer("a\nb2"), &meant), Verdict::Meant(vec!["why".into()]));
        assert_eq!(
            compare(&answer("a\nb1\nc"), &answer("a\nd"), &meant),
            Verdict::Different("- c\n+ d\n".into())
        );
    }
}
