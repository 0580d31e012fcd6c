//! Resource quantities: `250m`, `64Mi`, `2`, `1e3`.

/// What Kubernetes says of a text that is none.
pub const FORM: &str = "quantities must match the regular expression \
    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// The amount, in units; None where the text is no quantity.
pub fn parse(text: &str) -> Option<f64> {
    let digits = text.trim_start_matches(['+', '-']);
    let suffix = digits.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = digits[..digits.len() - suffix.len()].parse().ok()?;
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0_f64.powi(3),
        "Ti" => 1024.0_f64.powi(4),
        "Pi" => 1024.0_f64.powi(5),
        "Ei" => 1024.0_f64.powi(6),
        exponent => 10.0_f64.powi(exponent.strip_prefix(['e', 'E'])?.parse().ok()?),
    };
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    Some(sign * number * factor)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn quantities_are_compared_by_amount() {
        assert_eq!(parse("1000m"), parse("1"));
        assert_eq!(parse("1Ki"), parse("1024"));
        assert_eq!(parse("1e3"), parse("1k"));
        assert!(parse("250m") < parse("0.3"));
        for text in ["", "much", "1x", "1.2.3", "e3"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
