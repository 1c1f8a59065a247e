//! Dims as far as they are known before anything runs: from the data a train block declares, from
//! the files if they are there, from `--dim`.

use mlc::diag::{Diagnostic, Diagnostics};
use mlc::ir::program::{DataSpec, Entry, EntryKind, FieldDim};
use mlc::ir::{Binding, Symbol};
use mlc::runtime::data::{Dataset, LoadOptions};
use mlc::{Error, Program};

/// The opened data of a train block: `None` where a file is missing or wrong.
pub type Opened = Vec<Option<Dataset>>;

/// Opens the datasets of a specification, in the order of its parts.
pub fn open(spec: &DataSpec, options: &LoadOptions, errors: &mut Diagnostics) -> Opened {
    let mut load = |part: &mlc::ir::program::DataPart| match Dataset::load(&part.dataset, options) {
        Ok(d) => Some(d),
        Err(ds) => {
            errors.extend(ds);
            None
        }
    };
    spec.parts.iter().map(&mut load).collect()
}

/// The data specification that feeds an entry.
pub fn data_of<'p>(program: &'p Program, entry: &Entry) -> Option<&'p DataSpec> {
    let train = program.ir().trains.get(entry.kind.train()?)?;
    match entry.kind {
        EntryKind::Validate { .. } => train.validate.as_ref().or(train.data.as_ref()),
        _ => train.data.as_ref(),
    }
}

/// The dims of an entry: those that its data binds, then those of `--dim`, then defaults of `int`
/// parameters. What no one binds is absent.
pub fn known(program: &Program, entry: &Entry, opened: Option<&Opened>) -> Binding {
    let mut binding = Binding::new();
    if let Some(spec) = data_of(program, entry) {
        let fed = fed(spec, opened);
        for decl in &entry.inputs {
            let Some((_, shape)) = fed.iter().find(|(n, _)| *n == decl.name) else { continue };
            for (dim, size) in decl.ty.shape.iter().zip(shape) {
                if let ([name], Some(n)) = (&dim.symbols()[..], size)
                    && *dim == mlc::ir::Dim::sym(name.clone())
                {
                    binding.entry(name.clone()).or_insert(*n);
                }
            }
        }
    }
    for symbol in &entry.graph.dims.symbols {
        if let Some(n) = program.dims().get(&symbol.name).copied().or(symbol.default) {
            binding.entry(symbol.name.clone()).or_insert(n);
        }
    }
    binding
}

/// The dims of an entry that [`known`] leaves open.
pub fn open_dims(entry: &Entry, binding: &Binding) -> Vec<Symbol> {
    let symbols = entry.graph.dims.symbols.iter().map(|s| s.name.clone());
    symbols.filter(|s| !binding.contains_key(s)).collect()
}

/// Complete dims for an entry, or the usage error that names `--dim`.
pub fn all(program: &Program, entry: &Entry, opened: Option<&Opened>) -> Result<Binding, Error> {
    let binding = known(program, entry, opened);
    let open = open_dims(entry, &binding);
    let Some(first) = open.first() else { return Ok(binding) };
    let names: Vec<String> = open.iter().map(|n| format!("`{n}`")).collect();
    let (dims, are) = if open.len() == 1 { ("dim", "is") } else { ("dims", "are") };
    let mut d = Diagnostic::error(
        "E0910",
        format!("the {dims} {} of `{}` {are} not bound", names.join(", "), entry.name),
    );
    for symbol in entry.graph.dims.symbols.iter().filter(|s| open.contains(&s.name)) {
        d = d.label(symbol.span, "introduced here");
    }
    let example: Vec<String> = open.iter().map(|n| format!("--dim {n}=1")).collect();
    let hint = match data_of(program, entry) {
        Some(_) => format!(
            "its data would bind `{first}`, but the files are not there; or bind it: {}",
            example.join(" ")
        ),
        None => format!("bind it: {}", example.join(" ")),
    };
    Err(Error::new(d.hint(hint), program.sources()))
}

/// Each `--dim` must be one that some entry of `entries` has and that its data does not bind.
pub fn check_options(program: &Program, entries: &[&Entry]) -> Result<(), Error> {
    let mut errors = Diagnostics::new();
    for (name, n) in program.dims() {
        let having: Vec<&&Entry> =
            entries.iter().filter(|e| e.graph.dims.symbols.iter().any(|s| s.name == *name)).collect();
        let by_data = |e: &Entry| {
            let fed = data_of(program, e).map(|spec| fed(spec, None)).unwrap_or_default();
            let mut inputs = e.inputs.iter().filter(|i| fed.iter().any(|(f, _)| *f == i.name));
            inputs.any(|i| i.ty.shape.contains(&mlc::ir::Dim::sym(name.clone())))
        };
        if having.is_empty() {
            let symbols = entries.iter().flat_map(|e| &e.graph.dims.symbols);
            let mut names: Vec<&str> = symbols.map(|s| &*s.name).collect();
            names.sort_unstable();
            names.dedup();
            let whose = if let [one] = entries { one.name.as_str() } else { "the program" };
            errors.push(crate::inputs::unknown_dim(name, whose, &names));
        } else if having.iter().all(|e| by_data(e)) {
            let title = format!("`--dim {name}={n}`: the dim is bound by the data of `{}`", having[0].name);
            errors.push(
                Diagnostic::error("E0909", title)
                    .hint("change `.batch(..)` in the file, or leave the option out"),
            );
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Error::new(errors, program.sources())) }
}

/// Names and shapes of what a specification feeds; `None` for a dim that only the files know.
fn fed(spec: &DataSpec, opened: Option<&Opened>) -> Vec<(Symbol, Vec<Option<i64>>)> {
    let mut out = vec![];
    for (i, part) in spec.parts.iter().enumerate() {
        let dataset = opened.and_then(|o| o.get(i)).and_then(Option::as_ref);
        let pipeline = &part.pipeline;
        let rows = dataset.and_then(Dataset::rows).map(|n| {
            let rest = (n as u64).saturating_sub(pipeline.skip);
            pipeline.take.map_or(rest, |t| t.min(rest))
        });
        let batch = match (pipeline.batch, rows) {
            (Some(b), Some(n)) => Some(b.min(n)),
            (b, n) => b.or(n),
        };
        for field in &part.dataset.fields {
            let size = |d: &FieldDim| match d {
                FieldDim::Known(n) => Some(*n as i64),
                FieldDim::Named(name) => dataset.and_then(|d| d.bindings().get(name)).map(|&n| n as i64),
            };
            let dims = field.dims.iter().map(size);
            let shape = match field.shared {
                true => dims.collect(),
                false => std::iter::once(batch.map(|b| b as i64)).chain(dims).collect(),
            };
            out.push((Symbol::from(field.name.as_str()), shape));
        }
    }
    out
}
