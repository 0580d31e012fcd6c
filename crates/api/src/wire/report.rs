//! Findings with field paths: what decoding and validation say about a resource.

use std::fmt;

/// The longest message, in characters.
const MAX_MESSAGE: usize = 500;

/// One thing wrong with a resource, said of one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Where: `spec.http[0].route[1].weight`.
    pub path: String,
    /// What is wrong, in words that name the value.
    pub message: String,
    /// What to write instead, where that can be said.
    pub mend: Option<String>,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message)?,
            path => write!(f, "{path}: {}", self.message)?,
        }
        match &self.mend {
            Some(mend) => write!(f, " ({mend})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FieldError {}

/// Collects findings while a resource is walked; keeps the path of the field that is being looked at.
#[derive(Debug, Default)]
pub struct Report {
    path: String,
    /// What makes the resource unusable.
    pub errors: Vec<FieldError>,
    /// What is accepted but probably not meant.
    pub warnings: Vec<FieldError>,
    /// Fields that the type does not have; strict readers make errors of them, lenient ones ignore them.
    pub unknown: Vec<FieldError>,
}

impl Report {
    /// A report whose paths start at `root` (`spec`, or empty).
    pub fn at(root: &str) -> Self {
        Self { path: root.to_owned(), ..Self::default() }
    }

    /// The path of the field that is being looked at.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Runs `walk` one field further down.
    pub fn field<T>(&mut self, name: &str, walk: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.path.len();
        if parent > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        let out = walk(self);
        self.path.truncate(parent);
        out
    }

    /// Runs `walk` at element `index` of a list.
    pub fn index<T>(&mut self, index: usize, walk: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.path.len();
        self.path.push_str(&format!("[{index}]"));
        let out = walk(self);
        self.path.truncate(parent);
        out
    }

    /// Runs `walk` at the value of map key `key`.
    pub fn key<T>(&mut self, key: &str, walk: impl FnOnce(&mut Self) -> T) -> T {
        let parent = self.path.len();
        self.path.push_str(&format!("[{key:?}]"));
        let out = walk(self);
        self.path.truncate(parent);
        out
    }

    /// Walks every element of a list that stands in field `name`.
    pub fn each<'a, T>(&mut self, name: &str, list: &'a [T], mut walk: impl FnMut(&mut Self, &'a T)) {
        self.field(name, |r| {
            for (index, item) in list.iter().enumerate() {
                r.index(index, |r| walk(r, item));
            }
        });
    }

    /// Records an error at the current field.
    pub fn error(&mut self, message: impl Into<String>) {
        let finding = self.finding(message.into(), None);
        self.errors.push(finding);
    }

    /// Records an error at the current field, with what to do about it.
    pub fn error_with(&mut self, message: impl Into<String>, mend: impl Into<String>) {
        let finding = self.finding(message.into(), Some(mend.into()));
        self.errors.push(finding);
    }

    /// Records the error of a check, if it found one.
    pub fn check(&mut self, result: Result<(), String>) {
        if let Err(message) = result {
            self.error(message);
        }
    }

    /// Records the error of a check of field `name` below the current one, if it found one.
    pub fn check_at(&mut self, name: &str, result: Result<(), String>) {
        self.field(name, |r| r.check(result));
    }

    /// Records an error at field `name` below the current one.
    pub fn error_at(&mut self, name: &str, message: impl Into<String>) {
        self.field(name, |r| r.error(message));
    }

    /// Records an error at field `name` below the current one, with what to do about it.
    pub fn error_with_at(&mut self, name: &str, message: impl Into<String>, mend: impl Into<String>) {
        self.field(name, |r| r.error_with(message, mend));
    }

    /// Records a warning at the current field.
    pub fn warn(&mut self, message: impl Into<String>) {
        let finding = self.finding(message.into(), None);
        self.warnings.push(finding);
    }

    /// Records a warning at field `name` below the current one.
    pub fn warn_at(&mut self, name: &str, message: impl Into<String>) {
        self.field(name, |r| r.warn(message));
    }

    /// Records that the message at the current field has no field `key`; `known` are the names it does have.
    pub fn unknown_field(&mut self, key: &str, known: &[&str]) {
        let near = known.iter().map(|k| (distance(key, k), k)).filter(|(d, _)| *d <= 2).min();
        let mend = near.map(|(_, name)| format!("did you mean {:?}?", super::names::json_name(name)));
        self.field(key, |r| {
            let finding = r.finding("unknown field".to_owned(), mend);
            r.unknown.push(finding);
        });
    }

    fn finding(&self, mut message: String, mend: Option<String>) -> FieldError {
        // Messages quote what was given, which may be of any length.
        if let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE) {
            message.truncate(end);
            message.push_str("...");
        }
        FieldError { path: self.path.clone(), message, mend }
    }
}

/// Edit distance (insert, delete, replace), case and underscores ignored: for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let plain = |s: &str| -> Vec<char> {
        s.trim_start_matches("r#")
            .chars()
            .filter(|c| *c != '_')
            .map(|c| c.to_ascii_lowercase())
            .take(64)
            .collect()
    };
    let (a, b) = (plain(a), plain(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
