//! One thing to tell the user.

use crate::Span;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
    Note,
}

/// A span with what to say about it. The first label of a diagnostic is the primary one.
#[derive(Debug, Clone, PartialEq)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

/// A message with its code, the places it speaks of, and what to do about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    pub severity: Severity,
    /// A code of the [catalogue](crate::catalogue): `E0203`, `W0101`.
    pub code: &'static str,
    /// One sentence, lower case, no full stop, naming the things concerned.
    pub title: String,
    /// Primary first. Empty for what has no source text (a command-line argument, a file).
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    /// What the user can do: an imperative sentence.
    pub hint: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, title)
    }

    pub fn warning(code: &'static str, title: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, title)
    }

    /// A fault of mlc itself: says so and what to report.
    pub fn bug(title: impl Into<String>) -> Self {
        Self::error("E9999", format!("internal compiler error: {}", title.into())).hint(
            "this is a bug in mlc, not in your model; please report it with the .mlg file and this message",
        )
    }

    fn new(severity: Severity, code: &'static str, title: impl Into<String>) -> Self {
        Diagnostic { severity, code, title: title.into(), labels: vec![], notes: vec![], hint: None }
    }

    /// Adds a label; labels without a place (`Span::NONE`) become notes.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        if span.is_none() {
            let text = text.into();
            if !text.is_empty() {
                self.notes.push(text);
            }
        } else {
            self.labels.push(Label { span, text: text.into() });
        }
        self
    }

    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    pub fn hint(mut self, text: impl Into<String>) -> Self {
        self.hint = Some(text.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Where the primary label points.
    pub fn span(&self) -> Span {
        self.labels.first().map_or(Span::NONE, |l| l.span)
    }
}

/// A list of diagnostics; the error type of whole phases, which report as many errors as they can.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    pub fn new() -> Self {
        Diagnostics::default()
    }

    pub fn push(&mut self, d: Diagnostic) {
        self.0.push(d);
    }

    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(other);
    }

    pub fn has_errors(&self) -> bool {
        self.0.iter().any(Diagnostic::is_error)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// By source and position, errors before warnings at one place, repeated ones dropped.
    pub fn sort(&mut self) {
        self.0.sort_by_key(|d| (d.span(), d.severity));
        self.0.dedup();
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(d: Diagnostic) -> Self {
        Diagnostics(vec![d])
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl std::fmt::Display for Diagnostics {
    /// One line each, without source; use [`crate::render_all`] for people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, d) in self.0.iter().enumerate() {
            let sep = if i > 0 { "\n" } else { "" };
            write!(f, "{sep}{}[{}]: {}", d.severity.word(), d.code, d.title)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

impl Severity {
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}
