//! Every diagnostic code with its meaning; the only list of codes. A test greps the sources and
//! holds that each code used is here and each code here is used.
//!
//! Ranges: E01 syntax, E02 types and shapes, E03 names and calls, E04 models, training and tests,
//! E05 devices and transfers, E06 autodiff and precision, E07 data and files, E08 run time, E09 usage,
//! E9999 a bug in mlc; W the same for warnings.

/// A code and what `mlc explain` says about it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    pub code: &'static str,
    /// A short noun phrase.
    pub title: &'static str,
    /// Plain Markdown: what it means, a smallest example, what to do.
    pub text: &'static str,
}

/// All entries, sorted by code.
pub const ENTRIES: &[Entry] = &[Entry {
    code: "E9999",
    title: "internal compiler error",
    text: "mlc found that it broke one of its own rules. Your model may be fine. Please report the message, the .mlg file and `mlc --version`.",
}];

/// Looks a code up, in any letter case.
pub fn find(code: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|e| e.code.eq_ignore_ascii_case(code))
}
