//! Numbers and tables for people.

pub use mlc::diag::bytes;

/// `1,234,567`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// `850 ms`, `12.3 s`, `4 min 10 s`, `2 h 5 min`.
pub fn seconds(s: f64) -> String {
    let whole = s.max(0.0) as u64;
    match s {
        s if s < 0.9995 => format!("{:.0} ms", s.max(0.0) * 1e3),
        s if s < 99.95 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A loss or metric: about five digits that say something.
pub fn value(v: f64) -> String {
    match v.abs() {
        _ if !v.is_finite() => v.to_string(),
        0.0 => "0".to_string(),
        a if (1e-3..1e5).contains(&a) => {
            let decimals = (4 - a.log10().floor() as i32).clamp(0, 7) as usize;
            let text = format!("{v:.decimals$}");
            match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                false => text,
            }
        }
        _ => format!("{v:.3e}"),
    }
}

/// `1 step`, `2 steps`.
pub fn plural(n: u64, one: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {one}{s}", count(n))
}

/// Rows in aligned columns, two spaces between them, each line indented by two; `right` says which
/// columns hold numbers.
pub fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            let gap = "  ";
            match right.get(c) {
                Some(true) => line += &format!("{gap}{pad}{cell}"),
                _ => line += &format!("{gap}{cell}{pad}"),
            }
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([count(0), count(999), count(1000), count(1_234_567)], ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [seconds(0.0004), seconds(0.25), seconds(1.0), seconds(250.0)],
            ["0 ms", "250 ms", "1.0 s", "4 min 10 s"]
        );
        assert_eq!(
            [value(0.1), value(0.97530001), value(2.345678), value(12345.67)],
            ["0.1", "0.9753", "2.3457", "12346"]
        );
        assert_eq!([value(0.0), value(1e-5), value(f64::NAN), value(100.0)], ["0", "1.000e-5", "NaN", "100"]);
    }

    #[test]
    fn tables_align() {
        let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "200".into()]];
        assert_eq!(table(&rows, &[false, true]), "  a      1\n  bcd  200\n");
    }
}
