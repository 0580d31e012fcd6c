//! `lateen validate`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::args::Validate;

/// Checks every resource of every file; fails if one is invalid.
pub fn run(arguments: &Validate) -> Result<ExitCode> {
    let mut files = Vec::new();
    for path in &arguments.files {
        collect(path, &mut files)?;
    }
    let mut invalid = 0;
    let mut checked = 0;
    for file in &files {
        for document in super::resources::documents(file)? {
            checked += usize::from(document.get("apiVersion").is_some());
            invalid += usize::from(!check(file, &document));
        }
    }
    println!("{checked} resources in {} files: {invalid} invalid", files.len());
    Ok(if invalid == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what is wrong with one resource; tells whether it is valid.
fn check(file: &Path, document: &Value) -> bool {
    let Some(verdict) = lateen_api::validate_value(document) else { return true };
    let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap_or("?");
    let what = format!("{}: {} {}", file.display(), text("/kind"), text("/metadata/name"));
    for warning in &verdict.warnings {
        println!("{what}: warning: {warning}");
    }
    for error in &verdict.errors {
        println!("{what}: {error}");
    }
    verdict.errors.is_empty()
}

/// The files of a folder and its folders that hold YAML or JSON.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.path())).collect())
        .with_context(|| path.display().to_string())?;
    entries.sort();
    for entry in entries {
        let manifest = entry.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if entry.is_dir() || manifest {
            collect(&entry, files)?;
        }
    }
    Ok(())
}

/// The text of a file; `-` is standard input.
pub fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file).with_context(|| file.display().to_string())
}
