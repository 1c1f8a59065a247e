//! Reading artifacts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use mlc_cpu::{CpuBackend, CpuOptions};
use mlc_diag::{Diagnostic, Diagnostics};
use mlc_ir::Binding;
use mlc_ir::program::Program as Ir;
use mlc_passes::Place;
use mlc_runtime::files::safetensors::SafetensorsFile;
use mlc_runtime::files::{self, Cache};
use mlc_runtime::host::Bytes;

use super::container::{self, damaged};
use super::folders;
use super::manifest::{BoundRecord, Manifest};
use crate::bound::{BoundEntry, Key};
use crate::compiler::Inner;
use crate::{Compiler, Error, Program};

/// What a program has of the artifact that it came from.
pub(crate) struct Loaded {
    name: String,
    records: BTreeMap<Key, BoundRecord>,
    dims: Binding,
    weights: Bytes,
    rebuild: String,
}

impl Program {
    /// Reads an artifact. Nothing is compiled, neither now nor later: entries run for the bindings that the
    /// artifact has.
    ///
    /// # Errors
    /// What is no artifact, is damaged, or was made by another build or for another machine.
    pub fn load(path: impl AsRef<Path>) -> Result<Program, Error> {
        Compiler::new().load(path)
    }

    /// Was this program read from an artifact?
    pub fn is_loaded(&self) -> bool {
        self.loaded().is_some()
    }
}

impl Compiler {
    /// [`Program::load`] with these options, of which dims and threads count: all else is as it was compiled.
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Program, Error> {
        let path = path.as_ref();
        // Its own bytes are wanted, so there is nothing to keep unpacked.
        let bytes = files::read_bytes(path, &Cache::disabled()).map_err(Error::plain)?;
        let folder = folders::absolute(path.parent().unwrap_or(Path::new("")));
        load(&path.display().to_string(), &bytes, &folder, self).map_err(Error::plain)
    }
}

/// An artifact's program, from its bytes; errors call it `name`, and it lies in `folder`.
pub(super) fn load(
    name: &str,
    bytes: &Bytes,
    folder: &Path,
    options: &Compiler,
) -> Result<Program, Diagnostic> {
    let file = container::read(name, bytes)?;
    let mut manifest: Manifest =
        postcard::from_bytes(&file.manifest).map_err(|e| damaged(name, &format!("its manifest: {e}")))?;
    let cpu = CpuOptions { costs: manifest.costs, ..CpuOptions::new(file.features, manifest.strict) };
    let cpu = options.threads.map_or(cpu, |n| cpu.threads(n));
    let backend = CpuBackend::with_code(cpu, &file.object, &manifest.functions);
    let backend = backend.map_err(|what| damaged(name, &format!("its object code: {what}")))?;
    folders::choose(&mut manifest.trains, &manifest.folder, folder);
    let options = Compiler {
        target: crate::Target::Cpu,
        dims: options.dims.clone(),
        strict: manifest.strict,
        threads: options.threads,
        memory_limit: options.memory_limit,
        ..Compiler::new()
    };
    let records = std::mem::take(&mut manifest.bound);
    let key = |r: &BoundRecord| (r.entry.clone(), r.binding.clone());
    let loaded = Loaded {
        name: name.to_string(),
        records: records.into_iter().map(|r| (key(&r), r)).collect(),
        dims: std::mem::take(&mut manifest.dims),
        weights: file.weights,
        rebuild: file.head.rebuild,
    };
    let ir: Ir = manifest.program();
    Ok(Program::of(Inner {
        sources: ir.sources.clone(),
        ir,
        options,
        device: manifest.device,
        backend: Arc::new(backend),
        layout: manifest.layout,
        place: Place::on(manifest.device),
        warnings: Diagnostics::new(),
        bound: Mutex::default(),
        loaded: Some(loaded),
    }))
}

impl Loaded {
    /// An entry that the artifact has, made runnable.
    pub fn bind(&self, program: &Program, key: &Key) -> Result<BoundEntry, Diagnostics> {
        match self.records.get(key) {
            Some(record) => BoundEntry::of_record(program, record),
            None => Err(self.absent(key).into()),
        }
    }

    /// Sizes of dims that no input binds and of which there is one only.
    pub fn dims(&self) -> &Binding {
        &self.dims
    }

    /// The error for a binding that the artifact does not have.
    fn absent(&self, (entry, binding): &Key) -> Diagnostic {
        let there: Vec<&Binding> =
            self.records.values().filter(|r| r.entry == *entry).map(|r| &r.binding).collect();
        let odd = binding.iter().find(|(dim, n)| there.iter().all(|b| b.get(*dim) != Some(n)));
        let size = match odd {
            Some((dim, n)) => format!("`{dim}` = {n}"),
            None => shown(binding),
        };
        let title = format!("`{}` has no code of `{entry}` for {size}", self.name);
        let mut d = Diagnostic::error("E0744", title);
        for b in there {
            d = d.note(format!("it has {}", shown(b)));
        }
        d.hint(format!("use a size that it has, or make it again with more: `{}`", self.rebuild))
    }

    /// The error for what only a source has.
    pub fn needs_source(&self, what: &str) -> Diagnostic {
        let title = format!("`{}` has no {what}: it is an artifact", self.name);
        Diagnostic::error("E0744", title).hint("use the .mlg file that it was made from")
    }

    /// The weights that were embedded.
    pub fn weights(&self) -> Result<Option<SafetensorsFile>, Diagnostic> {
        let name = format!("{} (embedded weights)", self.name);
        let file = || SafetensorsFile::parse(name, &self.weights);
        (!self.weights.is_empty()).then(file).transpose()
    }
}

/// `batch = 64, n = 5`.
fn shown(binding: &Binding) -> String {
    let dims: Vec<String> = binding.iter().map(|(dim, n)| format!("`{dim}` = {n}")).collect();
    if dims.is_empty() { "no dims".into() } else { dims.join(", ") }
}
