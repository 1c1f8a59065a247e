//! What was declared against what the files hold: dtypes, dims, lengths.

use std::collections::BTreeMap;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::DType;
use mlc_ir::program::{FieldDim, FieldSpec};

use super::source::{Source, describe};

/// Sizes that the data gives to named dims, each with the field that gave it first.
#[derive(Debug, Default)]
pub(super) struct Bindings<'a> {
    pub sizes: BTreeMap<String, (usize, &'a FieldSpec)>,
}

/// Checks a field's dtype and dims; returns the shape of one sample (of all, if shared).
pub(super) fn field<'a>(
    spec: &'a FieldSpec,
    source: &Source,
    bindings: &mut Bindings<'a>,
    problems: &mut Diagnostics,
) -> Option<Vec<usize>> {
    if source.dtype() != spec.dtype {
        problems.push(wrong_dtype(spec, source.dtype()));
        return None;
    }
    let shape = source.shape();
    let sample = if spec.shared { Some(shape.as_slice()) } else { shape.split_first().map(|(_, s)| s) };
    let fits = sample.filter(|s| {
        let same = |(d, &n): (&FieldDim, &usize)| !matches!(d, FieldDim::Known(k) if *k != n as u64);
        s.len() == spec.dims.len() && spec.dims.iter().zip(*s).all(same)
    });
    let Some(sample) = fits else {
        problems.push(wrong_dims(spec, source.dtype(), &shape));
        return None;
    };
    let mut agreed = true;
    for (dim, &n) in spec.dims.iter().zip(sample) {
        if let FieldDim::Named(name) = dim {
            let &mut (bound, by) = bindings.sizes.entry(name.clone()).or_insert((n, spec));
            if bound != n {
                agreed = false;
                problems.push(conflict(name, (bound, by), (n, spec)));
            }
        }
    }
    agreed.then(|| sample.to_vec())
}

/// Checks that all sampled fields are equally long; returns how long, if there are any.
pub(super) fn lengths(fields: &[(&FieldSpec, usize)], problems: &mut Diagnostics) -> Option<usize> {
    let &(first, n) = fields.first()?;
    for &(other, m) in fields.iter().filter(|(_, m)| *m != n) {
        problems.push(
            Diagnostic::error(
                "E0708",
                format!("fields `{}` and `{}` have unequal lengths", first.name, other.name),
            )
            .label(other.span, format!("`{}` has {m} samples", origin(other)))
            .label(first.span, format!("`{}` has {n}", origin(first)))
            .hint("each sample needs a value of every field; give files of the same length"),
        );
    }
    Some(n)
}

fn wrong_dtype(spec: &FieldSpec, found: DType) -> Diagnostic {
    let d = Diagnostic::error(
        "E0706",
        format!("field `{}` is declared {}, but `{}` holds {found}", spec.name, spec.dtype, origin(spec)),
    )
    .label(spec.span, format!("declared {} here", spec.dtype));
    match found {
        DType::U32 | DType::U64 => d.hint("save the file's array as i64"),
        _ => d.hint(format!(
            "declare the field {found}, and cast where it is used: `{}.cast({})`",
            spec.name, spec.dtype
        )),
    }
}

fn wrong_dims(spec: &FieldSpec, dtype: DType, shape: &[usize]) -> Diagnostic {
    let declared = declared(spec);
    let found = list(shape.iter());
    let holds = if spec.shared { "" } else { ", whose first axis is the sample" };
    Diagnostic::error(
        "E0707",
        format!(
            "field `{}` is declared {declared}, but `{}` holds {dtype}[{found}]{holds}",
            spec.name,
            origin(spec)
        ),
    )
    .label(spec.span, format!("declared {declared} here"))
    .hint(match (spec.shared, shape.split_first()) {
        (false, None) => "the array has no axes, so it has no samples".to_string(),
        (false, Some((_, sample))) => format!("one sample of this file is {}", typed(dtype, sample)),
        (true, _) => format!("the whole array is {}", typed(dtype, shape)),
    })
}

fn conflict(name: &str, first: (usize, &FieldSpec), second: (usize, &FieldSpec)) -> Diagnostic {
    let ((n, a), (m, b)) = (first, second);
    Diagnostic::error(
        "E0709",
        format!("dim `{name}` is {n} in field `{}`, but {m} in field `{}`", a.name, b.name),
    )
    .label(b.span, format!("`{}` makes it {m}", origin(b)))
    .label(a.span, format!("`{}` makes it {n}", origin(a)))
    .hint("give the dims two names if they may differ")
}

/// A field's source as messages name it.
pub(super) fn origin(spec: &FieldSpec) -> String {
    spec.source.as_ref().map_or_else(|| format!("the value fed for {}", spec.name), |s| describe(&s.kind))
}

fn declared(spec: &FieldSpec) -> String {
    let dims = spec.dims.iter().map(|d| match d {
        FieldDim::Known(n) => n.to_string(),
        FieldDim::Named(name) => name.clone(),
    });
    match spec.dims.len() {
        0 => spec.dtype.to_string(),
        _ => format!("{}[{}]", spec.dtype, list(dims)),
    }
}

fn typed(dtype: DType, shape: &[usize]) -> String {
    if shape.is_empty() { dtype.to_string() } else { format!("{dtype}[{}]", list(shape.iter())) }
}

fn list(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}
