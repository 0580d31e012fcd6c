//! Cron schedules as Kubernetes reads them: five fields, names, steps and `@daily` and its like.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// How far ahead a time is looked for: long enough for 29 February.
const YEARS: i64 = 9;

/// A schedule, as sets of bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A day must match both fields if one of them is `*`, else either.
    either_day: bool,
}

impl Schedule {
    /// Reads a schedule; the error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.trim() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other => other,
        };
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(format!("schedule {text:?} has {} fields instead of five", fields.len()));
        };
        let any = |field: &str| field.starts_with(['*', '?']);
        let mut week = parse_field(weekdays, "day of week", 0, 7, &DAYS, 0)?;
        // Sunday is 0 and 7.
        week |= week >> 7 & 1;
        Ok(Self {
            minutes: parse_field(minutes, "minute", 0, 59, &[], 0)?,
            hours: parse_field(hours, "hour", 0, 23, &[], 0)?,
            days: parse_field(days, "day of month", 1, 31, &[], 0)?,
            months: parse_field(months, "month", 1, 12, &MONTHS, 1)?,
            weekdays: week,
            either_day: !any(days) && !any(weekdays),
        })
    }

    /// The first time after `after`; none if the schedule never comes (30 February).
    pub(super) fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let start = after.to_zoned(zone.clone()).datetime();
        let mut time = start
            .with()
            .second(0)
            .subsec_nanosecond(0)
            .build()
            .ok()?
            .checked_add(Span::new().minutes(1))
            .ok()?;
        let end = time.checked_add(Span::new().years(YEARS)).ok()?;
        while time < end {
            time = match self.skip(time)? {
                Some(later) => later,
                None => {
                    // A time that a change of clocks leaves out comes after the gap.
                    let found = time.to_zoned(zone.clone()).ok()?.timestamp();
                    if found > after {
                        return Some(found);
                    }
                    time.checked_add(Span::new().minutes(1)).ok()?
                }
            };
        }
        None
    }

    /// The next time worth a look, if this one does not match.
    fn skip(&self, time: DateTime) -> Option<Option<DateTime>> {
        let has = |set: u64, value: i8| set >> value & 1 == 1;
        let midnight = |date: jiff::civil::Date| date.at(0, 0, 0, 0);
        if !has(self.months, time.month()) {
            let first = time.date().first_of_month().checked_add(Span::new().months(1)).ok()?;
            return Some(Some(midnight(first)));
        }
        let month_day = has(self.days, time.day());
        let week_day = has(self.weekdays, time.weekday().to_sunday_zero_offset());
        let day = if self.either_day { month_day || week_day } else { month_day && week_day };
        if !day {
            return Some(Some(midnight(time.date().tomorrow().ok()?)));
        }
        if !has(self.hours, time.hour()) {
            let hour = time.date().at(time.hour(), 0, 0, 0);
            return Some(Some(hour.checked_add(Span::new().hours(1)).ok()?));
        }
        if !has(self.minutes, time.minute()) {
            return Some(Some(time.checked_add(Span::new().minutes(1)).ok()?));
        }
        Some(None)
    }
}

/// Reads `*`, `5`, `1-5`, `*/2`, `1-30/3`, `MON-FRI` and lists of these.
fn parse_field(field: &str, what: &str, low: u8, high: u8, names: &[&str], first: u8) -> Result<u64, String> {
    let bad = |part: &str| format!("{part:?} is no {what} from {low} to {high}");
    let number = |text: &str, part: &str| -> Result<u8, String> {
        let name = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let value = match name {
            Some(position) => u8::try_from(position).ok().map(|position| position + first),
            None => text.parse().ok(),
        };
        value.filter(|value| (low..=high).contains(value)).ok_or_else(|| bad(part))
    };
    let mut bits = 0_u64;
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                (range, Some(step.parse::<u8>().ok().filter(|s| *s > 0).ok_or_else(|| bad(part))?))
            }
            None => (part, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (low, high),
            (_, Some((from, to))) => (number(from, part)?, number(to, part)?),
            // "5/10" counts on from 5.
            (single, None) => {
                (number(single, part)?, if step.is_some() { high } else { number(single, part)? })
            }
        };
        if from > to {
            return Err(bad(part));
        }
        for value in (from..=to).step_by(usize::from(step.unwrap_or(1))) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(schedule: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(schedule).unwrap();
        let first: Timestamp = after.parse().unwrap();
        std::iter::successors(Some(first), |time| schedule.next(*time, &TimeZone::UTC))
            .skip(1)
            .take(count)
            .map(|time| time.to_string())
            .collect()
    }

    #[test]
    fn times_follow_the_fields() {
        assert_eq!(
            times("*/20 * * * *", "2024-01-01T00:05:30Z", 3),
            ["2024-01-01T00:20:00Z", "2024-01-01T00:40:00Z", "2024-01-01T01:00:00Z",]
        );
        assert_eq!(times("30 2 * * MON-FRI", "2024-01-05T03:00:00Z", 1), ["2024-01-08T02:30:00Z"]);
        assert_eq!(times("0 0 29 2 *", "2024-03-01T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
        assert_eq!(times("@weekly", "2024-01-01T00:00:00Z", 1), ["2024-01-07T00:00:00Z"]);
        assert_eq!(times("0 12 * * 7", "2024-01-01T00:00:00Z", 1), ["2024-01-07T12:00:00Z"]);
        assert_eq!(
            times("5/30 1,3 * jan *", "2024-01-01T01:10:00Z", 2),
            ["2024-01-01T01:35:00Z", "2024-01-01T03:05:00Z"]
        );
    }

    #[test]
    fn two_given_days_match_either_and_one_matches_alone() {
        assert_eq!(
            times("0 0 13 * FRI", "2024-09-06T12:00:00Z", 2),
            ["2024-09-13T00:00:00Z", "2024-09-20T00:00:00Z"]
        );
        assert_eq!(
            times("0 0 13 * *", "2024-09-06T12:00:00Z", 2),
            ["2024-09-13T00:00:00Z", "2024-10-13T00:00:00Z"]
        );
    }

    #[test]
    fn a_time_that_never_comes_is_none() {
        assert!(times("0 0 30 2 *", "2024-01-01T00:00:00Z", 1).is_empty());
    }

    #[test]
    fn bad_schedules_say_what_is_wrong() {
        for (text, expected) in [
            ("* * * *", "4 fields"),
            ("60 * * * *", "minute"),
            ("* * 0 * *", "day of month"),
            ("*/0 * * * *", "minute"),
            ("* * * foo *", "month"),
            ("5-1 * * * *", "minute"),
            ("* * * * 8", "day of week"),
        ] {
            let error = Schedule::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
