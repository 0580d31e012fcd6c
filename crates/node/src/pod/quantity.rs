//! Kubernetes quantities (`500m`, `128Mi`).

/// The number that a quantity stands for, or `None` if it is malformed.
pub(crate) fn parse(text: &str) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let text = text.trim();
    let (number, scale) = SUFFIXES
        .iter()
        .find_map(|(suffix, scale)| Some((text.strip_suffix(suffix)?, *scale)))
        .unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|n| n.is_finite()).map(|n| n * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_scale() {
        for (text, value) in
            [("500m", 0.5), ("2", 2.0), ("1Ki", 1024.0), ("1.5k", 1500.0), ("128974848", 128_974_848.0)]
        {
            assert_eq!(parse(text), Some(value), "{text}");
        }
        assert_eq!(parse("many"), None);
        assert_eq!(parse("infinity"), None);
    }
}
