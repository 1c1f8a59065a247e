//! How evaluation fails.

use mlc_diag::{Diagnostic, Span};

/// An error to report, or the consequence of one that has been.
#[derive(Debug)]
pub enum Fail {
    Error(Box<Diagnostic>),
    Silent,
}

pub type R<T> = Result<T, Fail>;

impl From<Diagnostic> for Fail {
    fn from(d: Diagnostic) -> Fail {
        Fail::Error(Box::new(d))
    }
}

/// An error at `span`.
pub fn error(code: &'static str, span: Span, title: impl Into<String>) -> Diagnostic {
    Diagnostic::error(code, title).label(span, "")
}

/// [`error`], as a result.
pub fn fail<T>(code: &'static str, span: Span, title: impl Into<String>) -> R<T> {
    Err(error(code, span, title).into())
}

/// Adds to an error on its way out.
pub fn map_error<T>(r: R<T>, f: impl FnOnce(Diagnostic) -> Diagnostic) -> R<T> {
    r.map_err(|e| match e {
        Fail::Error(d) => f(*d).into(),
        Fail::Silent => Fail::Silent,
    })
}
