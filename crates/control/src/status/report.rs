//! A resource's status, from what is known about it.

use std::fmt::Write as _;

use lateen_analysis::{Finding, Severity};
use lateen_api::status::{AnalysisLevel, AnalysisMessage, AnalysisType, IstioCondition, IstioStatus};

use super::Note;

/// Whether proxies have applied a resource.
pub(super) const RECONCILED: &str = "Reconciled";
/// Whether anything is wrong with a resource.
pub(super) const PASSED: &str = "PassedValidation";

/// Findings of one resource that are written down: what is behind them is told by the first.
const MAX_MESSAGES: usize = 32;

/// Octets of a condition's message.
const MAX_TEXT: usize = 4 << 10;

/// How many proxies have applied what a publication brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    pub applied: usize,
    pub all: usize,
}

/// The status that a resource should have; `None` when it has it. `now` is the time as RFC 3339.
pub(super) fn status(
    note: &Note,
    findings: &[Finding],
    progress: Progress,
    now: &str,
) -> Option<IstioStatus> {
    let before = note.status.clone().unwrap_or_default();
    let mut messages: Vec<AnalysisMessage> = note.problems.iter().map(|p| invalid(&p.to_string())).collect();
    messages.extend(findings.iter().map(found));
    messages.truncate(MAX_MESSAGES);
    let mut status = before.clone();
    put(&mut status, passed(&messages, note.refused), note.generation, now);
    if !is_reconciled(&before, note.generation) {
        put(&mut status, reconciled(progress, note.refused), note.generation, now);
    }
    status.validation_messages = messages;
    status.observed_generation = note.generation;
    (status != before).then_some(status)
}

/// Whether every proxy had applied this generation at some time: whoever connects later starts with it.
pub(super) fn is_reconciled(status: &IstioStatus, generation: i64) -> bool {
    let is = |c: &IstioCondition| {
        c.r#type == RECONCILED && c.status == "True" && c.observed_generation == generation
    };
    status.conditions.iter().any(is)
}

fn condition(kind: &str, holds: bool, reason: &str, message: String) -> IstioCondition {
    IstioCondition {
        r#type: kind.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message,
        ..IstioCondition::default()
    }
}

fn reconciled(progress: Progress, refused: bool) -> IstioCondition {
    if refused {
        return condition(
            RECONCILED,
            false,
            "refused",
            "It cannot be read; the last good one stays.".to_owned(),
        );
    }
    let Progress { applied, all } = progress;
    condition(RECONCILED, applied == all, "", format!("{applied}/{all} proxies up to date."))
}

fn passed(messages: &[AnalysisMessage], refused: bool) -> IstioCondition {
    let errors = refused || messages.iter().any(|m| m.level == AnalysisLevel::Error);
    let mut text = String::new();
    for message in messages {
        let code = message.r#type.as_ref().map_or("", |t| t.code.as_str());
        let separator = if text.is_empty() { "" } else { "; " };
        // Writing to a String does not fail.
        let _ = write!(text, "{separator}[{code}] {}", message.message);
    }
    if text.is_empty() {
        "No errors found.".clone_into(&mut text);
    }
    text.truncate(text.floor_char_boundary(MAX_TEXT));
    let reason = match (errors, messages.is_empty()) {
        (true, _) => "errorsFound",
        (false, false) => "warningsFound",
        (false, true) => "noErrorsFound",
    };
    condition(PASSED, !errors, reason, text)
}

/// Sets a condition. One that says the same keeps its times.
fn put(status: &mut IstioStatus, mut new: IstioCondition, generation: i64, now: &str) {
    new.observed_generation = generation;
    let at = status.conditions.iter().position(|c| c.r#type == new.r#type);
    if let Some(old) = at.map(|at| &status.conditions[at]) {
        let same_words = old.reason == new.reason && old.message == new.message;
        if old.status == new.status && same_words && old.observed_generation == generation {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    now.clone_into(&mut new.last_probe_time);
    if new.last_transition_time.is_empty() {
        now.clone_into(&mut new.last_transition_time);
    }
    match at {
        Some(at) => status.conditions[at] = new,
        None => status.conditions.push(new),
    }
}

fn invalid(problem: &str) -> AnalysisMessage {
    message("SchemaValidationError", "IST0106", AnalysisLevel::Error, problem.to_owned())
}

fn found(finding: &Finding) -> AnalysisMessage {
    let level = match finding.severity {
        Severity::Error => AnalysisLevel::Error,
        Severity::Warning => AnalysisLevel::Warning,
        Severity::Info => AnalysisLevel::Info,
    };
    let place = if finding.field.is_empty() { String::new() } else { format!("{}: ", finding.field) };
    let text = format!("{place}{}; {}", finding.message, finding.mend);
    message(finding.code.name(), finding.code.code(), level, text)
}

fn message(name: &str, code: &str, level: AnalysisLevel, message: String) -> AnalysisMessage {
    AnalysisMessage {
        r#type: Some(AnalysisType { name: name.to_owned(), code: code.to_owned() }),
        level,
        documentation_url: format!(
            "https://istio.io/latest/docs/reference/config/analysis/{}/",
            code.to_ascii_lowercase()
        ),
        message,
    }
}

#[cfg(test)]
mod tests {
    use lateen_analysis::Code;
    use lateen_mesh::{ConfigKey, Kind};

    use super::*;

    const ALL: Progress = Progress { applied: 2, all: 2 };

    fn note(generation: i64, status: Option<IstioStatus>) -> Note {
        let key = ConfigKey::new(Kind::Gateway, "default", "edge");
        Note { key, generation, status, problems: Vec::new(), refused: false }
    }

    fn of<'a>(status: &'a IstioStatus, kind: &str) -> &'a IstioCondition {
        status.conditions.iter().find(|c| c.r#type == kind).unwrap()
    }

    #[test]
    fn progress_is_told_until_every_proxy_has_applied_the_generation() {
        let first = status(&note(1, None), &[], Progress { applied: 1, all: 2 }, "a").unwrap();
        assert_eq!(of(&first, RECONCILED).message, "1/2 proxies up to date.");
        assert_eq!((of(&first, RECONCILED).status.as_str(), first.observed_generation), ("False", 1));
        let second = status(&note(1, Some(first)), &[], ALL, "b").unwrap();
        assert_eq!(of(&second, RECONCILED).status, "True");
        assert_eq!(of(&second, RECONCILED).last_transition_time, "b");
        // Whoever comes and goes later changes nothing.
        assert_eq!(status(&note(1, Some(second.clone())), &[], Progress { applied: 2, all: 5 }, "c"), None);
        let next = status(&note(2, Some(second)), &[], Progress { applied: 0, all: 5 }, "d").unwrap();
        assert_eq!((of(&next, RECONCILED).status.as_str(), next.observed_generation), ("False", 2));
    }

    #[test]
    fn findings_are_messages_and_go_when_they_are_mended() {
        let finding = Finding {
            severity: Severity::Error,
            resource: ConfigKey::new(Kind::Gateway, "default", "edge"),
            field: "spec.servers[0].tls.credentialName".to_owned(),
            code: Code::CredentialNotUsable,
            message: "there is no Secret".to_owned(),
            mend: "create it".to_owned(),
        };
        let told = status(&note(1, None), &[finding], ALL, "a").unwrap();
        assert_eq!(of(&told, PASSED).status, "False");
        let message = &told.validation_messages[0];
        assert_eq!(message.level, AnalysisLevel::Error);
        assert_eq!(message.message, "spec.servers[0].tls.credentialName: there is no Secret; create it");
        assert!(of(&told, PASSED).message.contains("[IST0101] spec.servers[0]"));
        let mended = status(&note(1, Some(told)), &[], ALL, "b").unwrap();
        assert!(mended.validation_messages.is_empty() && of(&mended, PASSED).status == "True");
    }

    #[test]
    fn what_others_say_about_the_resource_stays() {
        let other = condition("Programmed", true, "", "by somebody else".to_owned());
        let before = IstioStatus { conditions: vec![other.clone()], ..IstioStatus::default() };
        let after = status(&note(1, Some(before)), &[], ALL, "a").unwrap();
        assert!(after.conditions.contains(&other) && after.conditions.len() == 3);
    }

    #[test]
    fn a_resource_that_cannot_be_read_is_refused_in_words() {
        let mut refused = note(3, None);
        refused.refused = true;
        let told = status(&refused, &[], ALL, "a").unwrap();
        assert_eq!(
            (of(&told, RECONCILED).status.as_str(), of(&told, PASSED).status.as_str()),
            ("False", "False")
        );
    }
}
