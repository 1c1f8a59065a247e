//! Inputs of an entry: `--input x=FILE`, literals, texts, archives, random values.
//!
//! Input: the entry's declarations and the words of the command line. Output: tensors for all of its
//! inputs, or every mistake in them at once. Nothing is converted but literals, which take the declared
//! dtype.

use std::path::Path;

use mlc::HostTensor;
use mlc::diag::{Diagnostic, Diagnostics};
use mlc::ir::program::{Entry, InputDecl, RandomSpec};
use mlc::ir::types::DTypeKind;
use mlc::ir::{Binding, DType};
use mlc::runtime::files::{self, Cache, FileRef};

use crate::suggest;

/// What is fed, and which dims it leaves to `--dim`.
#[derive(Debug)]
pub struct Inputs {
    pub tensors: Vec<(String, HostTensor)>,
    /// The dims of `--dim` that no given input binds.
    pub dims: Binding,
}

pub struct Options<'a> {
    pub words: &'a [String],
    pub dims: &'a Binding,
    pub random: bool,
    pub seed: u64,
    pub cache: &'a Cache,
}

/// The inputs of `entry`.
pub fn bind(entry: &Entry, o: &Options<'_>) -> Result<Inputs, Diagnostics> {
    let mut errors = Diagnostics::new();
    let mut unused = vec![];
    let mut tensors = given(entry, o, &mut unused, &mut errors);
    errors.extend(unknown_dims(entry, o.dims));
    if !errors.is_empty() {
        return Err(errors);
    }
    let bound = bound_by(&entry.inputs, &tensors);
    for (name, n) in o.dims {
        if let Some((_, input)) = bound.get(name) {
            let title = format!("`--dim {name}={n}`: the dim is bound by the input `{input}`");
            errors.push(Diagnostic::error("E0909", title).hint("leave the option out"));
        }
    }
    let mut sizes: Binding = bound.iter().map(|(name, (n, _))| (name.clone(), *n)).collect();
    sizes.extend(o.dims.clone());
    for symbol in &entry.graph.dims.symbols {
        if let Some(n) = symbol.default {
            sizes.entry(symbol.name.clone()).or_insert(n);
        }
    }
    let mut missing = vec![];
    for decl in &entry.inputs {
        if tensors.iter().any(|(n, _)| *n == *decl.name) {
            continue;
        }
        let made = match decl.default {
            Some(v) => Some(literal_number(decl, v)),
            None if o.random => Some(random(decl, &sizes, o.seed)),
            None => None,
        };
        match made {
            Some(Ok(t)) => tensors.push((decl.name.to_string(), t)),
            Some(Err(d)) => errors.push(d),
            None => missing.push(decl),
        }
    }
    if !missing.is_empty() {
        let d = missing_inputs(entry, &missing);
        errors.push(match unused.first() {
            Some(array) => d
                .note("an archive binds its arrays by their names, and has none called like an input")
                .hint(format!("name one: --input {}={array}", missing[0].name)),
            None => d,
        });
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    // Random inputs have taken their sizes from `--dim`; the dims they bind are then bound by inputs.
    let fed = bound_by(&entry.inputs, &tensors);
    let given = o.dims.iter().filter(|(n, _)| !fed.contains_key(*n));
    let mut dims: Binding = given.map(|(n, v)| (n.clone(), *v)).collect();
    for symbol in entry.graph.dims.symbols.iter().filter(|s| o.random && !fed.contains_key(&s.name)) {
        dims.entry(symbol.name.clone()).or_insert(symbol.default.unwrap_or(1));
    }
    Ok(Inputs { tensors, dims })
}

/// Is one of the inputs written as `name=text:..`?
pub fn gives_text(words: &[String]) -> bool {
    words.iter().any(|w| w.split_once('=').is_some_and(|(_, value)| value.starts_with("text:")))
}

/// Whole arrays for fields that a train block leaves to the caller.
pub fn fields(
    words: &[String],
    known: &[(String, DType)],
    cache: &Cache,
) -> Result<Vec<(String, HostTensor)>, Diagnostics> {
    let mut errors = Diagnostics::new();
    let mut out = vec![];
    for word in words {
        let Some((name, value)) = word.split_once('=').filter(|(n, v)| !n.is_empty() && !v.is_empty()) else {
            errors.push(malformed(word));
            continue;
        };
        match known.iter().find(|(n, _)| n == name) {
            None => {
                let d = Diagnostic::error(
                    "E0904",
                    format!("`--input {word}`: no field `{name}` is fed by the caller"),
                );
                let d = match known.is_empty() {
                    true => d.note("every field of the train block's datasets has a source"),
                    false => d.note(format!(
                        "fields: {}",
                        known.iter().map(|k| k.0.as_str()).collect::<Vec<_>>().join(", ")
                    )),
                };
                errors.push(suggest::hint(d, name, known.iter().map(|k| k.0.as_str())));
            }
            Some(_) => match files::read_one(&FileRef::parse(value), cache) {
                Ok(t) => out.push((name.to_string(), t)),
                Err(d) => errors.push(d),
            },
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// What the options give; `unused` is an array of each archive that has none called like an input.
fn given(
    entry: &Entry,
    o: &Options<'_>,
    unused: &mut Vec<String>,
    errors: &mut Diagnostics,
) -> Vec<(String, HostTensor)> {
    let decls = &entry.inputs;
    let mut tensors: Vec<(String, HostTensor)> = vec![];
    for word in o.words {
        let pair = word.split_once('=');
        let is_archive = |w: &str| w.ends_with(".npz") || w.ends_with(".safetensors");
        if is_archive(word) && pair.is_none_or(|(n, _)| decls.iter().all(|d| *d.name != *n)) {
            match files::read_all(Path::new(word), o.cache) {
                Ok(all) => {
                    let (fit, others): (Vec<_>, Vec<_>) =
                        all.into_iter().partition(|(n, _)| decls.iter().any(|d| *d.name == **n));
                    if let (true, Some((key, _))) = (fit.is_empty(), others.first()) {
                        unused.push(format!("{word}:{key}"));
                    }
                    tensors.extend(fit);
                }
                Err(d) => errors.push(d),
            }
            continue;
        }
        let Some((name, value)) = pair.filter(|(n, v)| !n.is_empty() && !v.is_empty()) else {
            errors.push(malformed(word));
            continue;
        };
        let Some(decl) = decls.iter().find(|d| *d.name == *name) else {
            errors.push(no_input(entry, name, value));
            continue;
        };
        match read(decl, value, o.cache) {
            Ok(t) => {
                if tensors.iter().any(|(n, _)| n == name) {
                    errors.push(Diagnostic::error("E0904", format!("the input `{name}` is given twice")));
                }
                tensors.push((name.to_string(), t));
            }
            Err(d) => errors.push(d),
        }
    }
    tensors
}

fn no_input(entry: &Entry, name: &str, value: &str) -> Diagnostic {
    let names: Vec<&str> = entry.inputs.iter().map(|d| &*d.name).collect();
    let d = Diagnostic::error("E0904", format!("`{}` has no input `{name}`", entry.name));
    if entry.graph.dims.symbols.iter().any(|s| *s.name == *name) {
        return d.hint(format!("`{name}` is a dim: write --dim {name}={value}"));
    }
    let d = match names.is_empty() {
        true => d.note("it has no inputs at all"),
        false => d.note(format!("inputs: {}", names.join(", "))),
    };
    suggest::hint(d, name, names)
}

fn malformed(word: &str) -> Diagnostic {
    Diagnostic::error("E0912", format!("`--input {word}`: expected NAME=VALUE"))
        .hint("write --input x=FILE.npy, x=FILE.npz:key, x=0.5 or x=text:HELLO; a bare .npz or .safetensors binds by name")
}

fn read(decl: &InputDecl, value: &str, cache: &Cache) -> Result<HostTensor, Diagnostic> {
    if let Some(text) = value.strip_prefix("text:") {
        return of_text(decl, text.as_bytes());
    }
    if let Some(number) = number(value) {
        return match decl.ty.rank() {
            0 => match number {
                Number::Int(i) => literal_int(decl, i),
                Number::Float(v) => literal_number(decl, v),
                Number::Bool(b) if decl.ty.dtype == DType::Bool => {
                    Ok(HostTensor::scalar(u8::from(b)).cast(DType::Bool))
                }
                Number::Bool(b) => Err(misfit(decl, &format!("`{b}` is a bool"))),
            },
            _ => {
                Err(misfit(decl, &format!("`{value}` is a single number"))
                    .hint("give the array in a .npy file"))
            }
        };
    }
    let file = FileRef::parse(value);
    if file.key.is_none() && file.path.extension().is_some_and(|e| e == "txt") {
        return of_text(decl, &files::read_bytes(&file.path, cache)?);
    }
    let tensor = files::read_one(&file, cache)?;
    if tensor.dtype() != decl.ty.dtype || tensor.rank() != decl.ty.rank() {
        let d = misfit(decl, &format!("`{value}` holds {}{:?}", tensor.dtype(), tensor.shape()));
        return Err(match tensor.dtype() == decl.ty.dtype {
            true => d,
            false => d.hint(format!(
                "save it as {}: in NumPy, `x.astype(\"{}\")`",
                decl.ty.dtype,
                numpy_name(decl.ty.dtype)
            )),
        });
    }
    Ok(tensor)
}

fn misfit(decl: &InputDecl, what: &str) -> Diagnostic {
    Diagnostic::error("E0908", format!("the input `{}` is {}, but {what}", decl.name, decl.ty))
        .label(decl.span, format!("declared as {}", decl.ty))
}

fn numpy_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F64 => "float64",
        DType::F32 => "float32",
        DType::F16 => "float16",
        DType::BF16 => "bfloat16",
        DType::I64 => "int64",
        DType::I32 => "int32",
        DType::I16 => "int16",
        DType::I8 => "int8",
        DType::U8 => "uint8",
        DType::U32 => "uint32",
        DType::U64 => "uint64",
        DType::Bool => "bool",
    }
}

/// Bytes as u8: `[n]`, or `[1, n]` where a batch is declared.
fn of_text(decl: &InputDecl, bytes: &[u8]) -> Result<HostTensor, Diagnostic> {
    let shape = match decl.ty.rank() {
        1 => vec![bytes.len()],
        2 => vec![1, bytes.len()],
        _ => return Err(misfit(decl, "a text is u8[n] or u8[1, n]")),
    };
    if decl.ty.dtype != DType::U8 {
        return Err(misfit(decl, "a text is u8"));
    }
    HostTensor::from_slice(&shape, bytes).map_err(|e| Diagnostic::bug(e.to_string()))
}

enum Number {
    Int(i64),
    Float(f64),
    Bool(bool),
}

fn number(text: &str) -> Option<Number> {
    match text {
        "true" | "True" => Some(Number::Bool(true)),
        "false" | "False" => Some(Number::Bool(false)),
        _ => match text.parse::<i64>() {
            Ok(i) => Some(Number::Int(i)),
            Err(_) => text.parse::<f64>().ok().map(Number::Float),
        },
    }
}

fn literal_int(decl: &InputDecl, value: i64) -> Result<HostTensor, Diagnostic> {
    let dtype = decl.ty.dtype;
    match dtype.kind() {
        DTypeKind::Float => literal_number(decl, value as f64),
        DTypeKind::Bool => Err(misfit(decl, &format!("`{value}` is a number")).hint("write true or false")),
        DTypeKind::Int => {
            let t = HostTensor::scalar(value).cast(dtype);
            match t.to_vec::<i64>()[..] {
                [back] if back == value => Ok(t),
                _ => Err(misfit(decl, &format!("{value} does not fit into {dtype}"))),
            }
        }
    }
}

fn literal_number(decl: &InputDecl, value: f64) -> Result<HostTensor, Diagnostic> {
    let dtype = decl.ty.dtype;
    match dtype.kind() {
        DTypeKind::Float => Ok(HostTensor::scalar(value).cast(dtype)),
        DTypeKind::Int if value.fract() == 0.0 && value.abs() < 9e15 => literal_int(decl, value as i64),
        DTypeKind::Bool if value == 0.0 || value == 1.0 => {
            Ok(HostTensor::scalar(u8::from(value == 1.0)).cast(dtype))
        }
        _ => Err(misfit(decl, &format!("`{value}` is not a {dtype}"))),
    }
}

/// The sizes that tensors give to dims that are names, each with the input that gives it.
fn bound_by(
    decls: &[InputDecl],
    tensors: &[(String, HostTensor)],
) -> std::collections::BTreeMap<mlc::ir::Symbol, (i64, String)> {
    let mut bound = std::collections::BTreeMap::new();
    for (name, t) in tensors {
        let Some(decl) = decls.iter().find(|d| *d.name == **name) else { continue };
        for (dim, &n) in decl.ty.shape.iter().zip(t.shape()) {
            if let [symbol] = &dim.symbols()[..]
                && *dim == mlc::ir::Dim::sym(symbol.clone())
            {
                bound.entry(symbol.clone()).or_insert((n as i64, name.clone()));
            }
        }
    }
    bound
}

fn random(decl: &InputDecl, sizes: &Binding, seed: u64) -> Result<HostTensor, Diagnostic> {
    let mut all = sizes.clone();
    for dim in &decl.ty.shape {
        for symbol in dim.symbols() {
            all.entry(symbol).or_insert(1);
        }
    }
    let sizes = decl.ty.shape.iter().map(|d| d.eval(&all).and_then(|n| usize::try_from(n).ok()));
    let Some(shape) = sizes.collect::<Option<Vec<usize>>>() else {
        return Err(misfit(decl, "a dim has no value there").hint("bind its dims with --dim"));
    };
    if !decl.ty.dtype.is_float() {
        return HostTensor::zeros(decl.ty.dtype, &shape).map_err(|e| misfit(decl, &e.to_string()));
    }
    let spec = RandomSpec { rows: 0, low: None, high: None, seed: Some(seed) };
    mlc::runtime::data::random_tensor(&spec, &decl.name, decl.ty.dtype, &shape, seed)
}

fn unknown_dims(entry: &Entry, dims: &Binding) -> Vec<Diagnostic> {
    let names: Vec<&str> = entry.graph.dims.symbols.iter().map(|s| &*s.name).collect();
    let unknown = dims.keys().filter(|n| !names.contains(&&***n));
    unknown.map(|n| unknown_dim(n, &entry.name, &names)).collect()
}

/// The error for a `--dim` that nothing has.
pub fn unknown_dim(name: &str, entry: &str, names: &[&str]) -> Diagnostic {
    let d = Diagnostic::error("E0914", format!("`{entry}` has no dim `{name}`"));
    let d = match names.is_empty() {
        true => d.note("all of its dims are numbers"),
        false => d.note(format!("dims: {}", names.join(", "))),
    };
    suggest::hint(d, name, names.iter().copied())
}

fn missing_inputs(entry: &Entry, missing: &[&InputDecl]) -> Diagnostic {
    let names: Vec<String> = missing.iter().map(|d| format!("`{}`", d.name)).collect();
    let s = if names.len() == 1 { "" } else { "s" };
    let are = if names.len() == 1 { "is" } else { "are" };
    let title = format!("the input{s} {} of `{}` {are} missing", names.join(", "), entry.name);
    let mut d = Diagnostic::error("E0907", title);
    for decl in missing {
        d = d.label(decl.span, format!("declared as {}", decl.ty));
    }
    let text = missing[0].ty.dtype == DType::U8;
    let or_text = if text { format!(", --input \"{}=text:HELLO\"", missing[0].name) } else { String::new() };
    d.hint(format!("give --input {}=FILE.npy{or_text}, or --random-inputs to try it out", missing[0].name))
}
