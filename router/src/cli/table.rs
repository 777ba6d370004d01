//! Columns for people: as wide as their longest cell, two spaces apart, nothing else.

/// Writes rows under a head. Columns whose name begins with `#` are numbers: the mark is not written, and
/// they stand to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let names: Vec<&str> = head.iter().map(|h| h.trim_start_matches('#')).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(names.get(column).map(|n| n.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let padded = cells.iter().zip(&widths).zip(head).map(|((cell, width), head)| match head.starts_with('#') {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        format!("{}\n", padded.collect::<Vec<_>>().join("  ").trim_end())
    };
    let mut out = line(&names.iter().map(ToString::to_string).collect::<Vec<_>>());
    out.extend(rows.iter().map(|row| line(row)));
    out
}

/// A number with a comma at each thousand.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && i % 3 == first {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How long ago an RFC 3339 time was, in its two largest units: `3d 4h`, `12m 5s`.
pub fn ago(time: &str, now: jiff::Timestamp) -> String {
    let Ok(then) = time.parse::<jiff::Timestamp>() else { return time.into() };
    let seconds = now.duration_since(then).as_secs().max(0);
    let (d, h, m, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    match (d, h, m) {
        (0, 0, 0) => format!("{s}s"),
        (0, 0, _) => format!("{m}m {s}s"),
        (0, _, _) => format!("{h}h {m}m"),
        _ => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let rows = vec![vec!["orders".into(), "1,200".into()], vec!["ä".into(), "7".into()]];
        assert_eq!(table(&["ROUTE", "#WAITING"], &rows), "ROUTE   WAITING\norders    1,200\nä             7\n");
    }

    #[test]
    fn counts_and_ages_read_well() {
        assert_eq!([count(0), count(999), count(1_000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let ages = ["2026-01-02T00:00:00Z", "2026-01-01T23:47:55.5Z", "2025-12-29T20:00:00Z", "2026-01-02T09:00:00Z"];
        assert_eq!(ages.map(|t| ago(t, now)), ["0s", "12m 4s", "3d 4h", "0s"]);
    }
}
