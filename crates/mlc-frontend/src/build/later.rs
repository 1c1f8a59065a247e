//! Names that the language has and this version does not build yet: they are not mistakes.

use mlc_diag::{Diagnostic, Span};

use super::fail::error;

const LATER: &[&str] = &[
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "max_pool2d",
    "avg_pool2d",
    "adaptive_avg_pool2d",
    "interpolate",
    "batch_norm",
    "group_norm",
    "topk",
    "sort",
    "cumsum",
    "cumprod",
    "solve",
    "cholesky",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "GroupNorm",
    "MaxPool2d",
    "AvgPool2d",
    "AdaptiveAvgPool2d",
    "MultiheadAttention",
    "TransformerEncoderLayer",
    "RNN",
    "LSTM",
    "GRU",
];

/// Is it a name of the standard library that comes later?
pub fn is_later(name: &str) -> bool {
    LATER.contains(&name)
}

/// The error for a name that comes later.
pub fn not_built(name: &str, span: Span) -> Option<Diagnostic> {
    is_later(name).then(|| {
        error("E0499", span, format!("`{name}` is not built yet"))
            .note("it is part of the language and will come with a later version of mlc")
    })
}

/// The error for a construct that comes later.
pub fn construct(what: &str, span: Span) -> Diagnostic {
    error("E0499", span, format!("{what} is not built yet"))
        .note("it is part of the language and will come with a later version of mlc")
}
