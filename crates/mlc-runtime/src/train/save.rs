//! Weights in and out: safetensors under PyTorch's names.

use std::collections::BTreeMap;
use std::path::Path;

use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::Symbol;
use mlc_ir::program::{StateDecl, StateKind};

use super::engine::Engine;
use crate::HostTensor;
use crate::files::{Cache, safetensors};

fn is_weight(s: &StateDecl) -> bool {
    matches!(s.kind, StateKind::Param | StateKind::Buffer)
}

/// Writes the parameters and buffers that `wanted` accepts; returns how many.
///
/// # Errors
/// Where the file cannot be written; an older file is then intact.
pub fn save_weights<E: Engine>(
    engine: &E,
    path: &Path,
    wanted: &dyn Fn(&StateDecl) -> bool,
) -> Result<usize, Diagnostics> {
    let weights = weights(engine, wanted)?;
    let named: Vec<_> = weights.iter().map(|(name, t)| (&**name, t.view())).collect();
    safetensors::write(path, &named, &metadata())?;
    Ok(weights.len())
}

/// All parameters and buffers, as the content of a safetensors file.
///
/// # Errors
/// Where a state cannot be read.
pub fn weights_file<E: Engine>(engine: &E) -> Result<Vec<u8>, Diagnostics> {
    let weights = weights(engine, &|_| true)?;
    let named: Vec<_> = weights.iter().map(|(name, t)| (&**name, t.view())).collect();
    let mut bytes = vec![];
    let written = safetensors::write_to(&mut bytes, &named, &metadata());
    written.map_err(|e| Diagnostic::bug(format!("weights in memory: {e}")))?;
    Ok(bytes)
}

fn weights<E: Engine>(
    engine: &E,
    wanted: &dyn Fn(&StateDecl) -> bool,
) -> Result<Vec<(Symbol, HostTensor)>, Diagnostics> {
    let states = engine.states().into_iter().filter(|s| is_weight(s) && wanted(s));
    states.map(|s| Ok((s.path.clone(), engine.read_state(&s.path)?))).collect()
}

fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_string(), "pt".to_string())])
}

/// Gives the parameters and buffers that `wanted` accepts the values of a safetensors file. A tied
/// weight accepts any of its paths if their values agree; `num_batches_tracked` is ignored; float
/// dtypes convert. Returns notes about conversions.
///
/// # Errors
/// Lists every missing, extra and misshapen tensor at once; nothing was changed then.
pub fn load_weights<E: Engine>(
    engine: &mut E,
    path: &Path,
    cache: &Cache,
    wanted: &dyn Fn(&StateDecl) -> bool,
    all: bool,
) -> Result<Vec<String>, Diagnostics> {
    let file = safetensors::SafetensorsFile::open(path, cache)?;
    load_weights_from(engine, &file, &path.display().to_string(), wanted, all)
}

/// [`load_weights`] from an open file, which errors call `name`.
///
/// # Errors
/// As [`load_weights`].
pub fn load_weights_from<E: Engine>(
    engine: &mut E,
    file: &safetensors::SafetensorsFile,
    name: &str,
    wanted: &dyn Fn(&StateDecl) -> bool,
    all: bool,
) -> Result<Vec<String>, Diagnostics> {
    let keys = file.keys();
    let states: Vec<StateDecl> = engine.states().into_iter().filter(is_weight).collect();
    let (mut problems, mut notes, mut found) = (vec![], vec![], vec![]);
    for s in states.iter().filter(|s| wanted(s)) {
        let names = std::iter::once(&s.path).chain(&s.aliases);
        let present: Vec<&String> = names.filter_map(|n| keys.iter().find(|k| **k == **n)).collect();
        let Some(first) = present.first() else {
            problems.push(format!("missing: {} ({})", s.path, s.ty));
            continue;
        };
        let tensor = file.tensor(Some(first))?;
        for other in &present[1..] {
            if file.tensor(Some(other))?.bytes() != tensor.bytes() {
                problems.push(format!("tied weights differ: {first} and {other}"));
            }
        }
        if Some(tensor.shape().to_vec()) != s.ty.bound_shape() {
            problems.push(format!("shape: {first} is {:?}, the model has {}", tensor.shape(), s.ty));
        } else if tensor.dtype() == s.ty.dtype {
            found.push((s.path.clone(), tensor));
        } else if tensor.dtype().is_float() && s.ty.dtype.is_float() {
            notes.push(format!("{first} converted from {} to {}", tensor.dtype(), s.ty.dtype));
            found.push((s.path.clone(), tensor.cast(s.ty.dtype)));
        } else {
            problems.push(format!("dtype: {first} is {}, the model has {}", tensor.dtype(), s.ty.dtype));
        }
    }
    let known = |k: &str| states.iter().any(|s| *s.path == *k || s.aliases.iter().any(|a| **a == *k));
    let ignored = |k: &str| k == "num_batches_tracked" || k.ends_with(".num_batches_tracked");
    if all {
        problems.extend(keys.iter().filter(|k| !known(k) && !ignored(k)).map(|k| {
            let shape = file.info(k).map_or(String::new(), |(dtype, shape)| format!(" ({dtype} {shape:?})"));
            format!("extra: {k}{shape}")
        }));
    }
    if !problems.is_empty() {
        let n = problems.len();
        let title = format!("`{name}` does not fit the model: {n} problem{}", if n == 1 { "" } else { "s" });
        let mut d = Diagnostic::error("E0724", title);
        d.notes = problems;
        return Err(d.hint("names are paths as `mlc check` lists them; nothing was loaded").into());
    }
    for (name, tensor) in &found {
        engine.write_state(name, tensor)?;
    }
    Ok(notes)
}
