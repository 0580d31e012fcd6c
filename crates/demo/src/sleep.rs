//! Waiting, for clients that are entered by `kubectl exec`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::server;

/// How long to wait.
#[derive(Debug, Args)]
pub struct Sleep {
    /// Seconds, or a number with s, m, h or d; `infinity`
    #[arg(default_value = "infinity")]
    pub time: Vec<String>,
}

/// The time that a word of `sleep`'s means; `None` when it means none.
fn parse(text: &str) -> Option<Duration> {
    if text == "infinity" || text == "inf" {
        return Some(Duration::MAX);
    }
    let (number, unit) = match text.char_indices().last()? {
        (at, 's') => (&text[..at], 1.0),
        (at, 'm') => (&text[..at], 60.0),
        (at, 'h') => (&text[..at], 3_600.0),
        (at, 'd') => (&text[..at], 86_400.0),
        _ => (text, 1.0),
    };
    let seconds: f64 = number.parse().ok()?;
    Duration::try_from_secs_f64(seconds * unit).ok()
}

/// Waits for the sum of the times, or for SIGTERM.
pub async fn run(sleep: &Sleep) -> ExitCode {
    let mut total = Duration::ZERO;
    for text in &sleep.time {
        match parse(text) {
            Some(time) => total = total.saturating_add(time),
            None => {
                eprintln!("sleep: invalid time interval '{text}'");
                return ExitCode::FAILURE;
            }
        }
    }
    let Ok(ended) = server::ended() else { return ExitCode::FAILURE };
    tokio::select! {
        () = ended => ExitCode::from(143),
        () = tokio::time::sleep(total) => ExitCode::SUCCESS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_sleep_command() {
        assert_eq!(parse("3650d"), Some(Duration::from_secs(3650 * 86_400)));
        assert_eq!(parse("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(parse("infinity"), Some(Duration::MAX));
        assert_eq!((parse("x"), parse("-1"), parse("")), (None, None, None));
    }
}
