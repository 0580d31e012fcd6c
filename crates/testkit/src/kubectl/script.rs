//! The commands: chapters of lines, each with a word in front that says what is done with it.

use anyhow::{Context, Result, bail};

use super::file;

/// Commands that share a namespace of their own, one after another.
#[derive(Debug)]
pub struct Chapter {
    /// Its name, which its namespace bears, too.
    pub name: String,
    /// Whether it changes what other chapters see, such as the node.
    pub alone: bool,
    pub(super) steps: Vec<Step>,
}

/// One line of a chapter, for a shell.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// `!`: repeated until it succeeds; what it prints is of no interest.
    Until(String),
    /// `$`, or `~` where the order of the lines is of no interest.
    Command { line: String, sorted: bool },
}

impl Chapter {
    /// How many commands are compared.
    pub fn len(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Command { .. })).count()
    }

    /// Whether nothing is compared.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// All chapters, or those with these names.
///
/// # Errors
/// A chapter that does not exist or cannot be read.
pub fn chapters(names: &[String]) -> Result<Vec<Chapter>> {
    let folder = file("commands");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        found.push(parse(name, &text)?);
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = names.iter().find(|name| !found.iter().any(|chapter| chapter.name == **name)) {
        bail!("there is no chapter {unknown:?} in {}", folder.display());
    }
    found.retain(|chapter| names.is_empty() || names.contains(&chapter.name));
    Ok(found)
}

fn parse(name: String, text: &str) -> Result<Chapter> {
    let mut chapter = Chapter { name, alone: false, steps: Vec::new() };
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let step = match line.split_once(' ') {
            Some(("!", line)) => Step::Until(line.to_owned()),
            Some(("$", line)) => Step::Command { line: line.to_owned(), sorted: false },
            Some(("~", line)) => Step::Command { line: line.to_owned(), sorted: true },
            Some(("@", "alone")) => {
                chapter.alone = true;
                continue;
            }
            _ => bail!("chapter {}: a line begins with none of `$ ~ ! @ #`: {line}", chapter.name),
        };
        chapter.steps.push(step);
    }
    Ok(chapter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chapters_can_be_read_and_are_many_commands() {
        let all = chapters(&[]).unwrap();
        assert!(all.iter().map(Chapter::len).sum::<usize>() >= 80);
        assert!(chapters(&["nothing".to_owned()]).unwrap_err().to_string().contains("nothing"));
    }

    #[test]
    fn a_line_says_what_is_done_with_it() {
        let chapter = parse("a".into(), "# words\n@ alone\n! true\n~ ls\n").unwrap();
        assert!(chapter.alone);
        assert_eq!(
            chapter.steps,
            [Step::Until("true".into()), Step::Command { line: "ls".into(), sorted: true }]
        );
        assert!(parse("a".into(), "ls").is_err());
    }
}
