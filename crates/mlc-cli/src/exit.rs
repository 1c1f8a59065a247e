//! Exit codes: 0 done, 1 the model, the data or a file is wrong, 2 usage, 3 a device or its
//! libraries are missing or failed, 130 interrupted.

use mlc_diag::Diagnostics;

pub const OK: u8 = 0;
pub const FAILED: u8 = 1;
pub const USAGE: u8 = 2;
pub const DEVICE: u8 = 3;
pub const INTERRUPTED: u8 = 130;

/// The exit code for these errors, by the ranges of the catalogue: usage is E09, missing devices E059.
pub fn code_of(ds: &Diagnostics) -> u8 {
    let errors: Vec<&str> = ds.iter().filter(|d| d.is_error()).map(|d| d.code).collect();
    if errors.is_empty() {
        OK
    } else if errors.iter().any(|c| c.starts_with("E059")) {
        DEVICE
    } else if errors.iter().all(|c| c.starts_with("E09")) {
        USAGE
    } else {
        FAILED
    }
}
