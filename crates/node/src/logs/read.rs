//! Reading logs back: tail, since, timestamps, follow.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::write::rotated;

/// What of a log is wanted (`PodLogOptions`).
#[derive(Debug, Clone, Default)]
pub(crate) struct LogOptions {
    /// The last lines only.
    pub tail_lines: Option<usize>,
    /// Lines since then only.
    pub since: Option<Timestamp>,
    /// Each line with its time.
    pub timestamps: bool,
    /// At most so many bytes.
    pub limit_bytes: Option<usize>,
}

/// Longest line that is read as one.
const MAX_PENDING: usize = 1 << 20;

/// Sends a log's text to `out`; with `written`, goes on as it grows, until the container's run ends or nobody reads.
pub(crate) async fn follow(
    path: PathBuf,
    options: LogOptions,
    written: Option<watch::Receiver<u64>>,
    out: mpsc::Sender<Bytes>,
) -> io::Result<()> {
    let mut text = Vec::new();
    if let Ok(mut old) = File::open(rotated(&path)) {
        old.read_to_end(&mut text)?;
    }
    let mut file = File::open(&path)?;
    file.read_to_end(&mut text)?;
    let mut left = options.limit_bytes.unwrap_or(usize::MAX);
    let first = select(&text, &options);
    if !emit(first, &mut left, &out).await {
        return Ok(());
    }
    let Some(mut written) = written else { return Ok(()) };
    let mut pending = Vec::new();
    loop {
        let ended = written.changed().await.is_err();
        read_on(&mut file, &path, &mut pending)?;
        let complete = pending.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let lines: Vec<u8> = pending.drain(..complete).collect();
        let lines = select(&lines, &LogOptions { tail_lines: None, since: None, ..options.clone() });
        if !emit(lines, &mut left, &out).await || ended || pending.len() > MAX_PENDING {
            return Ok(());
        }
    }
}

/// Reads what was added; after a rotation, the rest of the old file and then the new one.
fn read_on(file: &mut File, path: &Path, pending: &mut Vec<u8>) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    file.read_to_end(pending)?;
    let replaced =
        std::fs::metadata(path).is_ok_and(|now| file.metadata().is_ok_and(|then| then.ino() != now.ino()));
    if replaced {
        *file = File::open(path)?;
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(pending)?;
    }
    Ok(())
}

async fn emit(mut text: Vec<u8>, left: &mut usize, out: &mpsc::Sender<Bytes>) -> bool {
    text.truncate(*left);
    *left -= text.len();
    if !text.is_empty() && out.send(text.into()).await.is_err() {
        return false;
    }
    *left > 0
}

/// Records to text.
fn select(records: &[u8], options: &LogOptions) -> Vec<u8> {
    let mut lines: Vec<(&[u8], bool, &[u8])> = records.split(|b| *b == b'\n').filter_map(parse).collect();
    if let Some(since) = options.since {
        lines.retain(|(time, ..)| {
            std::str::from_utf8(time)
                .ok()
                .and_then(|t| t.parse::<Timestamp>().ok())
                .is_none_or(|t| t >= since)
        });
    }
    if let Some(tail) = options.tail_lines {
        let mut complete = 0;
        let from = lines.iter().rposition(|(_, partial, _)| {
            complete += usize::from(!partial);
            complete > tail
        });
        lines.drain(..from.map_or(0, |i| i + 1));
    }
    let mut text = Vec::new();
    let mut fresh = true;
    for (time, partial, line) in lines {
        if options.timestamps && fresh {
            text.extend_from_slice(time);
            text.push(b' ');
        }
        text.extend_from_slice(line);
        if !partial {
            text.push(b'\n');
        }
        fresh = !partial;
    }
    text
}

/// Time, whether the line goes on in the next record, text.
fn parse(record: &[u8]) -> Option<(&[u8], bool, &[u8])> {
    let mut fields = record.splitn(4, |b| *b == b' ');
    let (time, _stream, tag, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((time, tag == b"P", text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDS: &[u8] = b"2026-01-01T00:00:00.000000000Z stdout F one\n\
        2026-01-01T00:00:01.000000000Z stderr P tw\n\
        2026-01-01T00:00:01.000000000Z stderr F o\n\
        2026-01-01T00:00:02.000000000Z stdout F three and more\n";

    fn text(options: LogOptions) -> String {
        String::from_utf8(select(RECORDS, &options)).unwrap()
    }

    #[test]
    fn partial_records_are_one_line() {
        assert_eq!(text(LogOptions::default()), "one\ntwo\nthree and more\n");
        let dated = text(LogOptions { timestamps: true, ..Default::default() });
        assert_eq!(dated.lines().nth(1), Some("2026-01-01T00:00:01.000000000Z two"));
    }

    #[test]
    fn tail_and_since_select_whole_lines() {
        assert_eq!(text(LogOptions { tail_lines: Some(2), ..Default::default() }), "two\nthree and more\n");
        assert_eq!(text(LogOptions { tail_lines: Some(0), ..Default::default() }), "");
        assert_eq!(
            text(LogOptions { tail_lines: Some(9), ..Default::default() }),
            "one\ntwo\nthree and more\n"
        );
        let since = Some("2026-01-01T00:00:02Z".parse().unwrap());
        assert_eq!(text(LogOptions { since, ..Default::default() }), "three and more\n");
    }
}
