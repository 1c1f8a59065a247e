//! "Did you mean", with the front end's measure of nearness.

use mlc::diag::Diagnostic;
use mlc::frontend::suggest::nearest;

/// Adds the candidate nearest to `name` as a hint, if one is near.
pub fn hint<'n>(d: Diagnostic, name: &str, candidates: impl IntoIterator<Item = &'n str>) -> Diagnostic {
    match nearest(name, candidates) {
        Some(near) => d.hint(format!("did you mean `{near}`?")),
        None => d,
    }
}
