//! Diagnostics as text, with the source lines they speak of.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::{Diagnostic, Diagnostics, Severity, SourceId, SourceMap};

/// How to render: for a terminal with colours, or as plain ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    Plain,
    Ansi,
}

/// One diagnostic, without a trailing newline.
pub fn render(d: &Diagnostic, sources: &SourceMap, style: Style) -> String {
    let texts: Vec<(SourceId, std::sync::Arc<str>)> =
        sources_of(d).into_iter().map(|s| (s, sources.text(s))).collect();
    let level = match d.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let mut group = Group::with_title(level.primary_title(d.title.as_str()).id(d.code));
    for (id, text) in &texts {
        let mut snippet = Snippet::source(&**text).path(sources.name(*id));
        for (i, label) in d.labels.iter().enumerate().filter(|(_, l)| l.span.source == *id) {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let range = clamp(label.span.start, label.span.end, text);
            let text = (!label.text.is_empty()).then_some(label.text.as_str());
            snippet = snippet.annotation(kind.span(range).label(text));
        }
        group = group.element(snippet);
    }
    for note in &d.notes {
        group = group.element(Level::NOTE.message(note.as_str()));
    }
    if let Some(hint) = &d.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Ansi => Renderer::styled(),
    };
    renderer.render(&[group])
}

/// All of them, a blank line between, a newline at the end; empty for none.
pub fn render_all(ds: &Diagnostics, sources: &SourceMap, style: Style) -> String {
    let parts: Vec<String> = ds.iter().map(|d| render(d, sources, style)).collect();
    if parts.is_empty() { String::new() } else { parts.join("\n\n") + "\n" }
}

/// The sources that labels point into, the primary label's first.
fn sources_of(d: &Diagnostic) -> Vec<SourceId> {
    let mut ids: Vec<SourceId> = vec![];
    for label in &d.labels {
        if !ids.contains(&label.span.source) {
            ids.push(label.span.source);
        }
    }
    ids
}

/// The renderer panics on ranges outside the text or inside a character.
fn clamp(start: u32, end: u32, text: &str) -> std::ops::Range<usize> {
    let floor = |mut i: usize| {
        i = i.min(text.len());
        while !text.is_char_boundary(i) {
            i -= 1;
        }
        i
    };
    let start = floor(start as usize);
    start..floor(end as usize).max(start)
}
