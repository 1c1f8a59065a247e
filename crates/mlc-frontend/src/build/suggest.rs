//! "Did you mean": the nearest known name.

use mlc_diag::Diagnostic;

use super::foreign;

/// The candidate nearest to `name`, if one is near enough to be a slip.
pub fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let limit = match name.chars().count() {
        0..=4 => 1,
        5..=7 => 2,
        _ => 3,
    };
    candidates
        .into_iter()
        .filter(|c| *c != name)
        .map(|c| (distance(name, c), c))
        .filter(|(d, c)| *d <= limit && *d < c.chars().count())
        .min()
        .map(|(_, c)| c)
}

/// For a name that is unknown: what stands for it here if it is PyTorch's, else "did you mean".
pub fn unknown<'n>(d: Diagnostic, name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Diagnostic {
    match foreign::name(name) {
        Some(instead) => d.hint(instead),
        None => hint(d, name, candidates, ""),
    }
}

/// Adds "did you mean" to an error, or else `fallback`.
pub fn hint<'n>(
    d: Diagnostic,
    name: &str,
    candidates: impl IntoIterator<Item = &'n str>,
    fallback: &str,
) -> Diagnostic {
    match nearest(name, candidates) {
        Some(c) => d.hint(format!("did you mean `{c}`?")),
        None if fallback.is_empty() => d,
        None => d.hint(fallback),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) between two names; a change of case alone is 1.
fn distance(a: &str, b: &str) -> usize {
    if a.eq_ignore_ascii_case(b) {
        return 1;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().take(64).collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_far() {
        let names = ["relu", "softmax", "Linear", "cross_entropy"];
        assert_eq!(nearest("rleu", names), Some("relu"));
        assert_eq!(nearest("linear", names), Some("Linear"));
        assert_eq!(nearest("croos_entropy", names), Some("cross_entropy"));
        assert_eq!(nearest("banana", names), None);
        assert_eq!(nearest("loss", ["cos", "floor"]), None);
    }
}
