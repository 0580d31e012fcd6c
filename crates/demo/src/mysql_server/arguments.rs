//! A container's arguments for MySQL as MariaDB takes them.

use std::path::PathBuf;

/// The data directory, if the options name one, and the other options: as `--loose-NAME=VALUE`, of which MariaDB warns
/// where it does not know them (MariaDB: "loose" prefix), since manifests hold options that only MySQL has.
pub(super) fn translate(options: &[String]) -> (Option<PathBuf>, Vec<String>) {
    let mut data = None;
    let mut out: Vec<String> = Vec::new();
    let mut rest = options.iter().map(String::as_str).peekable();
    while let Some(option) = rest.next() {
        let Some(name) = option.strip_prefix("--") else {
            // `mysqld` before its options, or a short option.
            if option.starts_with('-') {
                out.push(option.to_owned());
            }
            continue;
        };
        let (name, value) = match name.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (name, rest.next_if(|next| !next.starts_with('-'))),
        };
        match (name, value) {
            ("datadir", Some(value)) => data = Some(PathBuf::from(value)),
            (name, Some(value)) => out.push(format!("--loose-{name}={value}")),
            (name, None) => out.push(format!("--loose-{name}")),
        }
    }
    (data, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(text: &str) -> (Option<PathBuf>, String) {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let (data, options) = translate(&words);
        (data, options.join(" "))
    }

    #[test]
    fn options_that_only_mysql_has_do_not_stop_mariadb() {
        let (_, options) = translated("--default-authentication-plugin mysql_native_password");
        assert_eq!(options, "--loose-default-authentication-plugin=mysql_native_password");
        assert_eq!(translated("--ignore-db-dir=lost+found").1, "--loose-ignore-db-dir=lost+found");
        assert_eq!(translated("mysqld --skip-log-bin -v").1, "--loose-skip-log-bin -v");
    }

    #[test]
    fn the_data_directory_is_taken_out() {
        assert_eq!(translated("--datadir=/data"), (Some(PathBuf::from("/data")), String::new()));
        assert_eq!(translated("--datadir /data --x").0, Some(PathBuf::from("/data")));
    }
}
