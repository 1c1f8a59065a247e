//! Exit codes: 0 done, 1 the model, the data or a file is wrong, 2 usage, 3 a device or its
//! libraries are missing or failed, 130 interrupted.

use mlc_diag::Diagnostics;

pub const OK: u8 = 0;
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const DEVICE: u8 = 3;
/// A bug in mlc: what Rust's own panics exit with.
pub const PANIC: u8 = 101;
pub const INTERRUPTED: u8 = 130;

/// The exit code for these errors, by the ranges of the catalogue: usage is E09, missing devices E059.
pub fn code_of(ds: &Diagnostics) -> u8 {
    let errors: Vec<&str> = ds.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
    if errors.is_empty() {
        OK
    } else if errors.contains(&"E9999") {
        PANIC
    } else if errors.iter().any(|c| c.starts_with("E059")) {
        DEVICE
    } else if errors.iter().all(|c| is_usage(c)) {
        USAGE
    } else {
        FAILED
    }
}

/// E0908 speaks of what is in a file that was given: that is data, not usage.
fn is_usage(code: &str) -> bool {
    code.starts_with("E09") && code != "E0908"
}

#[cfg(test)]
mod tests {
    use mlc_diag::Diagnostic;

    use super::*;

    #[test]
    fn codes_follow_the_catalogue() {
        let of = |codes: &[&'static str]| {
            code_of(&Diagnostics(codes.iter().map(|c| Diagnostic::error(c, "x")).collect()))
        };
        assert_eq!(of(&[]), OK);
        assert_eq!(of(&["E0201"]), FAILED);
        assert_eq!(of(&["E0907", "E0910"]), USAGE);
        assert_eq!(of(&["E0907", "E0908"]), FAILED);
        assert_eq!(of(&["E0201", "E0590"]), DEVICE);
        assert_eq!(of(&["E0201", "E9999"]), PANIC);
        assert_eq!(code_of(&Diagnostic::warning("W0701", "x").into()), OK);
    }
}
