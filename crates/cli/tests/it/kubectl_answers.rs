//! What kubectl answers on one machine, held against what it answered on a real cluster when that was recorded.

use std::fmt::Write as _;

use lateen_testkit::kubectl::{self, Verdict};

use crate::harness::{Mesh, User, has_program, missing_peer};

#[test]
fn kubectl_answers_as_on_a_cluster() {
    if !has_program("kubectl") || !has_program("bash") || !has_program("openssl") {
        return missing_peer("kubectl, bash or openssl");
    }
    let record = std::fs::read_to_string(kubectl::file("cluster.txt")).unwrap();
    let (title, expected) = kubectl::read(&record).unwrap();
    let version = kubectl::client_version().unwrap();
    if !title.contains(&format!("kubectl {version}.")) {
        // Versions of kubectl differ in their own words; the record is of one.
        eprintln!("skipped: kubectl is {version}, and the record says: {title}");
        return;
    }
    let mesh = Mesh::up(User::Current, &[]);
    let chapters = kubectl::chapters(&CHAPTERS.map(str::to_owned)).unwrap();
    let answers = kubectl::run(&mesh.kubeconfig(), &chapters, 4).unwrap();
    let meant = kubectl::differences().unwrap();
    let expected: Vec<_> =
        expected.into_iter().filter(|answer| CHAPTERS.contains(&answer.chapter.as_str())).collect();
    assert_eq!(expected.len(), answers.len(), "the record is of other commands: make it anew");
    assert!(answers.len() >= 80);
    let mut report = String::new();
    for (cluster, local) in expected.iter().zip(&answers) {
        assert_eq!(cluster.command, local.command, "the record is of other commands: make it anew");
        if let Verdict::Different(lines) = kubectl::compare(cluster, local, &meant) {
            let _ = writeln!(report, "{}: {}\n{lines}", cluster.chapter, cluster.command);
        }
    }
    assert!(report.is_empty(), "`-` a cluster, `+` this mesh:\n{report}");
}

/// The chapters that wait for little; all of them are compared by `cargo xtask compare`.
const CHAPTERS: [&str; 7] = ["apply", "change", "create", "custom", "delete", "errors", "read"];
