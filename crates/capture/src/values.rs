//! What stands behind a flag: durations, modes, lists.

use std::time::Duration;

use lateen_netfilter::Prefix;

use crate::{Error, Mode};

/// A duration as Go's programs write it: `500ms`, `5s`, `1m`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time such as 500ms, 5s or 1m"))?;
    match unit {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        _ => Err(format!("{text:?} is no time such as 500ms, 5s or 1m")),
    }
}

pub(crate) fn mode(text: &str) -> Result<Mode, Error> {
    match text.to_ascii_uppercase().as_str() {
        "" | "REDIRECT" => Ok(Mode::Redirect),
        "TPROXY" => Ok(Mode::Tproxy),
        _ => Err(Error::Argument {
            flag: "--istio-inbound-interception-mode",
            value: text.to_owned(),
            reason: "must be REDIRECT or TPROXY".into(),
        }),
    }
}

pub(crate) fn items(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|item| !item.is_empty())
}

pub(crate) fn numbers<T: std::str::FromStr>(flag: &'static str, list: &str) -> Result<Vec<T>, Error> {
    let bits = 8 * size_of::<T>();
    items(list)
        .map(|item| {
            item.parse().map_err(|_| Error::Argument {
                flag,
                value: item.to_owned(),
                reason: format!("must be numbers below 2^{bits}, separated by commas"),
            })
        })
        .collect()
}

pub(crate) fn prefixes(flag: &'static str, list: &str) -> Result<Vec<Prefix>, Error> {
    items(list)
        .map(|item| item.parse().map_err(|reason| Error::Argument { flag, value: item.to_owned(), reason }))
        .collect()
}
