//! Times, in UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A point in time by the calendar.
struct Civil {
    year: i64,
    month: u32,
    day: u32,
    day_of_year: u32,
    weekday: usize,
    hour: u32,
    minute: u32,
    second: u32,
    nanos: u32,
    unix: u64,
}

impl Civil {
    /// Days to civil date by counting eras of 400 years from March 1st, 0000.
    fn of(time: SystemTime) -> Civil {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = since.as_secs();
        let (days, of_day) = (unix / 86_400, (unix % 86_400) as u32);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * from_march + 2) / 153;
        let day = (from_march - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = (year_of_era + era * 400) as i64 + i64::from(month <= 2);
        let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
        let from_march = from_march as u32;
        let day_of_year =
            if month > 2 { from_march + 60 + u32::from(leap) } else { from_march.saturating_sub(305) };
        Civil {
            year,
            month,
            day,
            day_of_year,
            weekday: ((days + 4) % 7) as usize,
            hour: of_day / 3_600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            nanos: since.subsec_nanos(),
            unix,
        }
    }
}

fn digits(value: u64, width: usize, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    let text = buffer.format(value);
    for _ in text.len()..width {
        out.push(b'0');
    }
    out.extend_from_slice(text.as_bytes());
}

/// `2026-01-31T12:00:00.123Z`, as Envoy's `%START_TIME%` without a format.
pub(crate) fn write_iso(time: SystemTime, out: &mut Vec<u8>) {
    let civil = Civil::of(time);
    date(&civil, out);
    out.push(b'T');
    clock(&civil, out);
    out.push(b'.');
    digits(u64::from(civil.nanos) / 1_000_000, 3, out);
    out.push(b'Z');
}

fn date(civil: &Civil, out: &mut Vec<u8>) {
    digits(civil.year as u64, 4, out);
    out.push(b'-');
    digits(civil.month.into(), 2, out);
    out.push(b'-');
    digits(civil.day.into(), 2, out);
}

fn clock(civil: &Civil, out: &mut Vec<u8>) {
    digits(civil.hour.into(), 2, out);
    out.push(b':');
    digits(civil.minute.into(), 2, out);
    out.push(b':');
    digits(civil.second.into(), 2, out);
}

/// Writes a time by strftime's specifiers and Envoy's `%f`, `%3f`, `%s`; others stay as they are.
pub(super) fn write(format: &str, time: SystemTime, out: &mut Vec<u8>) {
    let civil = Civil::of(time);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match chars.next() {
            Some(width @ '1'..='9') if chars.as_str().starts_with('f') => {
                chars.next();
                let width = width as usize - '0' as usize;
                digits(u64::from(civil.nanos) / 10u64.pow(9 - width as u32), width, out);
            }
            Some(specifier) => one(specifier, &civil, out),
            None => out.push(b'%'),
        }
    }
}

fn one(specifier: char, civil: &Civil, out: &mut Vec<u8>) {
    let month = MONTHS[civil.month as usize - 1];
    let day = DAYS[civil.weekday];
    match specifier {
        'Y' => digits(civil.year as u64, 4, out),
        'y' => digits(civil.year as u64 % 100, 2, out),
        'm' => digits(civil.month.into(), 2, out),
        'd' => digits(civil.day.into(), 2, out),
        'e' if civil.day < 10 => out.extend_from_slice(&[b' ', b'0' + civil.day as u8]),
        'e' => digits(civil.day.into(), 2, out),
        'j' => digits(civil.day_of_year.into(), 3, out),
        'H' => digits(civil.hour.into(), 2, out),
        'I' => digits(u64::from((civil.hour + 11) % 12 + 1), 2, out),
        'p' => out.extend_from_slice(if civil.hour < 12 { b"AM" } else { b"PM" }),
        'M' => digits(civil.minute.into(), 2, out),
        'S' => digits(civil.second.into(), 2, out),
        's' => digits(civil.unix, 1, out),
        'f' => digits(civil.nanos.into(), 9, out),
        'F' => date(civil, out),
        'T' => clock(civil, out),
        'b' | 'h' => out.extend_from_slice(&month.as_bytes()[..3]),
        'B' => out.extend_from_slice(month.as_bytes()),
        'a' => out.extend_from_slice(&day.as_bytes()[..3]),
        'A' => out.extend_from_slice(day.as_bytes()),
        'Z' => out.extend_from_slice(b"UTC"),
        'z' => out.extend_from_slice(b"+0000"),
        '%' => out.push(b'%'),
        other => {
            out.push(b'%');
            out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
}
