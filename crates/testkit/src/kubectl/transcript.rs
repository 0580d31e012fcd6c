//! What was printed, as text that people can read and compare.

use anyhow::{Context, Result, bail};

/// A command and its answer, masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The chapter in which it stands.
    pub chapter: String,
    /// The command as it stands there.
    pub command: String,
    /// What it printed, stdout before stderr, and `[exit N]` where it failed.
    pub output: String,
}

const CHAPTER: &str = "=== ";
const COMMAND: &str = "$ ";
/// Stands before each line that was printed, so that none can look like a command.
const PRINTED: &str = "  ";

/// As a text; `title` is its first line.
pub fn write(title: &str, answers: &[Answer]) -> String {
    let mut text = format!("{title}\n");
    let mut chapter = "";
    for answer in answers {
        if answer.chapter != chapter {
            chapter = &answer.chapter;
            text += &format!("\n{CHAPTER}{chapter}\n");
        }
        text += &format!("{COMMAND}{}\n", answer.command);
        for line in answer.output.lines() {
            text += format!("{PRINTED}{line}").trim_end();
            text.push('\n');
        }
    }
    text
}

/// Title and answers of a text that `write` made.
///
/// # Errors
/// A line that is none of those.
pub fn read(text: &str) -> Result<(String, Vec<Answer>)> {
    let mut lines = text.lines();
    let title = lines.next().context("the transcript is empty")?.to_owned();
    let mut answers: Vec<Answer> = Vec::new();
    let mut chapter = String::new();
    for line in lines {
        if let Some(name) = line.strip_prefix(CHAPTER) {
            chapter = name.to_owned();
        } else if let Some(command) = line.strip_prefix(COMMAND) {
            let (chapter, command) = (chapter.clone(), command.to_owned());
            answers.push(Answer { chapter, command, output: String::new() });
        } else if let (Some(answer), true) =
            (answers.last_mut(), line.is_empty() || line.starts_with(PRINTED))
        {
            answer.output += line.strip_prefix(PRINTED).unwrap_or_default();
            answer.output.push('\n');
        } else if !line.is_empty() {
            bail!("the transcript has a line that belongs to no command: {line}");
        }
    }
    for answer in &mut answers {
        answer.output.truncate(answer.output.trim_end().len());
    }
    Ok((title, answers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let answer = |chapter: &str, command: &str, output: &str| Answer {
            chapter: chapter.into(),
            command: command.into(),
            output: output.into(),
        };
        let answers = [
            answer("a", "kubectl get pods", "NAME\n\n$ no command"),
            answer("a", "kubectl nothing", ""),
            answer("b", "kubectl version", "v1\n[exit 1]"),
        ];
        let text = write("title", &answers);
        assert_eq!(read(&text).unwrap(), ("title".to_owned(), answers.to_vec()));
    }
}
