//! `cargo xtask compare`: the one-machine mode held against a cluster, `kubectl` command by command.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lateen_testkit::kubectl::{self, Answer, Verdict};

/// Which two are compared.
#[derive(Args)]
pub struct Options {
    /// Chapters of the commands [default: all]
    chapters: Vec<String>,
    /// The kubeconfig of a real cluster; without it, what one answered when it was recorded.
    #[arg(long, value_name = "KUBECONFIG")]
    cluster: Option<PathBuf>,
    /// The kubeconfig of `lateen up`.
    #[arg(long, value_name = "KUBECONFIG", required_unless_present = "record")]
    local: Option<PathBuf>,
    /// Keep what the cluster answers as the record that tests use.
    #[arg(long, requires = "cluster")]
    record: bool,
    /// Chapters that run at a time.
    #[arg(long, default_value_t = 3)]
    workers: usize,
}

/// Compares, and prints a table.
pub fn run(options: &Options) -> Result<()> {
    let chapters = kubectl::chapters(&options.chapters)?;
    let record = kubectl::file("cluster.txt");
    let expected = match &options.cluster {
        Some(cluster) => kubectl::run(cluster, &chapters, options.workers).context("on the cluster")?,
        None => {
            let (_, mut all) = kubectl::read(&std::fs::read_to_string(&record)?)?;
            all.retain(|answer| chapters.iter().any(|chapter| chapter.name == answer.chapter));
            all
        }
    };
    if options.record {
        ensure!(options.chapters.is_empty(), "a record is of all chapters");
        let title = format!("# What a cluster answers to kubectl {}.", kubectl::client_version()?);
        std::fs::write(&record, kubectl::write(&title, &expected))?;
        println!("{}: {} commands", record.display(), expected.len());
    }
    let Some(local) = &options.local else { return Ok(()) };
    let answers = kubectl::run(local, &chapters, options.workers).context("on `lateen up`")?;
    table(&expected, &answers)
}

fn table(expected: &[Answer], answers: &[Answer]) -> Result<()> {
    let commands = |answers: &[Answer]| answers.iter().map(|a| a.command.clone()).collect::<Vec<_>>();
    ensure!(commands(expected) == commands(answers), "the record is of other commands: make it anew");
    let meant = kubectl::differences()?;
    let (mut same, mut known, mut different) = (0, 0, 0);
    for (cluster, local) in expected.iter().zip(answers) {
        let (word, more) = match kubectl::compare(cluster, local, &meant) {
            Verdict::Same => ("same", String::new()),
            Verdict::Meant(reasons) => ("meant", format!("    {}\n", reasons.join("; "))),
            Verdict::Different(lines) => ("DIFFERENT", indent(&lines)),
        };
        match word {
            "same" => same += 1,
            "meant" => known += 1,
            _ => different += 1,
        }
        print!("{word:<10} {:<9} {}\n{more}", cluster.chapter, cluster.command);
    }
    println!("{} commands: {same} same, {known} meant, {different} different", expected.len());
    ensure!(different == 0, "{different} commands answer differently");
    Ok(())
}

fn indent(lines: &str) -> String {
    lines.lines().map(|line| format!("    {line}\n")).collect()
}
