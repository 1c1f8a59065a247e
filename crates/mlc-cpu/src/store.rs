//! Compiled functions, each once: what all entries and bindings of a program share.
//!
//! Input: units. Output: [`Function`]s; those that are not there yet are compiled together, on several threads,
//! into memory that lives as long as one of them does. A store that came from an artifact is complete: it never
//! compiles.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use mlc_diag::Diagnostic;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};

use crate::emit::Needs;
use crate::features::CpuFeatures;
use crate::jit::{self, Compiled, Generator, KernelFn, Unit, UnitKey};
use crate::link::{ADDRESS, CodeMemory, Piece, Reloc, link};
use crate::object;

/// A compiled function in memory.
#[derive(Clone)]
pub struct Function {
    pub code: KernelFn,
    pub needs: Needs,
    at: Range<usize>,
    align: usize,
    /// From the start of the function.
    relocs: Arc<[Reloc]>,
    memory: Arc<CodeMemory>,
}

impl Function {
    fn new(memory: &Arc<CodeMemory>, at: Range<usize>, piece: Piece, needs: Needs) -> Function {
        let address = memory.address(at.start);
        // SAFETY: the bytes are code that was compiled with the signature of `KernelFn`, here or, as the checksum of
        // the artifact says, by the same build of mlc; the function holds the memory.
        let code = unsafe { std::mem::transmute::<*const u8, KernelFn>(address) };
        Function { code, needs, at, align: piece.align, relocs: piece.relocs.into(), memory: memory.clone() }
    }

    pub fn code_bytes(&self) -> usize {
        self.at.len()
    }
}

/// What asking for functions cost.
#[derive(Debug, Default)]
pub struct Made {
    /// Time on a thread of each unit that was compiled, by its place in the list that was asked for.
    pub compiled: Vec<(usize, Duration)>,
    /// Bytes of the code that was compiled.
    pub code_bytes: usize,
}

/// The functions of a program, by their units.
#[derive(Default)]
pub struct CodeStore {
    functions: Mutex<FxHashMap<UnitKey, Function>>,
    /// Nothing may be added.
    complete: bool,
}

/// All code of an artifact.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// A relocatable object file.
    pub object: Vec<u8>,
    /// Its functions `f0`, `f1`, ..
    pub functions: Vec<ExportedFunction>,
}

/// What an object file does not say of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedFunction {
    pub key: UnitKey,
    pub needs: Needs,
    pub size: u32,
}

impl CodeStore {
    /// The functions of these units, in their order.
    ///
    /// # Errors
    /// Where the generator refuses a unit; where a complete store lacks one.
    pub fn functions(
        &self,
        units: &[Unit],
        features: CpuFeatures,
    ) -> Result<(Vec<Function>, Made), Diagnostic> {
        let keys = units.iter().map(Unit::key).collect::<Result<Vec<_>, _>>()?;
        let mut made = Made::default();
        let missing = self.missing(&keys);
        if let (Some(&i), true) = (missing.first(), self.complete) {
            let title = format!("the artifact has no code for kernel @{}", units[i].name);
            return Err(Diagnostic::error("E0741", title).hint("compile it again: `mlc compile FILE -o`"));
        }
        if !missing.is_empty() {
            let wanted: Vec<&Unit> = missing.iter().map(|&i| &units[i]).collect();
            let mut pieces = Vec::with_capacity(wanted.len());
            let mut needs = Vec::with_capacity(wanted.len());
            for (&i, (compiled, time)) in missing.iter().zip(compile_all(&wanted, features)?) {
                made.compiled.push((i, time));
                made.code_bytes += compiled.piece.bytes.len();
                pieces.push(compiled.piece);
                needs.push(compiled.needs);
            }
            let (memory, places) = link(&pieces, features.level).map_err(|e| jit::failed(&e))?;
            let memory = memory.ok_or_else(|| Diagnostic::bug("functions without code"))?;
            let mut known = self.lock();
            for (((i, piece), at), needs) in missing.iter().zip(pieces).zip(places).zip(needs) {
                // Who compiled the same on another thread meanwhile has the same bits.
                known.entry(keys[*i]).or_insert_with(|| Function::new(&memory, at, piece, needs));
            }
        }
        let known = self.lock();
        let find = |key| known.get(key).cloned().ok_or_else(|| Diagnostic::bug("a function was lost"));
        Ok((keys.iter().map(find).collect::<Result<_, _>>()?, made))
    }

    /// The first place of each key that is not known.
    fn missing(&self, keys: &[UnitKey]) -> Vec<usize> {
        let known = self.lock();
        let mut seen = FxHashSet::default();
        let new = |i: &usize| !known.contains_key(&keys[*i]) && seen.insert(keys[*i]);
        (0..keys.len()).filter(new).collect()
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> Vec<std::sync::Weak<CodeMemory>> {
        self.lock().values().map(|f| Arc::downgrade(&f.memory)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<UnitKey, Function>> {
        // Functions are only ever added: a panic elsewhere cannot have left the map half changed.
        self.functions.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The functions of these units as an object file.
    ///
    /// # Errors
    /// As [`CodeStore::functions`]; where no object can be written for this machine.
    pub fn export(&self, units: &[Unit], features: CpuFeatures) -> Result<Exported, Diagnostic> {
        let (all, _) = self.functions(units, features)?;
        let mut seen = FxHashSet::default();
        let (mut codes, mut functions) = (vec![], vec![]);
        for (unit, f) in units.iter().zip(&all) {
            let key = unit.key()?;
            if seen.insert(key) {
                let bytes = f.memory.bytes(&f.at);
                codes.push(object::Code { bytes, align: f.align, relocs: &f.relocs });
                functions.push(ExportedFunction { key, needs: f.needs, size: bytes.len() as u32 });
            }
        }
        let object = object::write(&codes, jit::isa(features)?).map_err(|e| jit::failed(&e))?;
        Ok(Exported { object, functions })
    }

    /// A complete store of exported functions.
    ///
    /// # Errors
    /// Says what of the object is not as [`CodeStore::export`] makes it.
    pub fn import(object: &[u8], index: &[ExportedFunction], features: CpuFeatures) -> Result<Self, String> {
        let sizes: Vec<usize> = index.iter().map(|f| f.size as usize).collect();
        let (piece, places) = object::read(object, &sizes)?;
        let relocs = piece.relocs.clone();
        let align = piece.align;
        let (memory, _) = link(&[piece], features.level)?;
        let mut functions = FxHashMap::default();
        for (f, at) in index.iter().zip(places) {
            let memory = memory.as_ref().ok_or("functions without code")?;
            let inside = |r: &&Reloc| at.start <= r.offset && r.offset + ADDRESS <= at.end;
            let own = relocs.iter().filter(inside);
            let own = own.map(|r| Reloc { offset: r.offset - at.start, ..*r }).collect();
            let piece = Piece { bytes: vec![], align, relocs: own };
            functions.insert(f.key, Function::new(memory, at, piece, f.needs));
        }
        Ok(CodeStore { functions: Mutex::new(functions), complete: true })
    }
}

/// Fewer units than this are not worth another thread's start.
const UNITS_A_THREAD: usize = 4;

/// Compiles units, on as many threads as there are cores; results are in the units' order, with their times.
fn compile_all(units: &[&Unit], features: CpuFeatures) -> Result<Vec<(Compiled, Duration)>, Diagnostic> {
    let isa = jit::isa(features)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(units.len().div_ceil(UNITS_A_THREAD)).max(1);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut generator = Generator::new(isa.clone(), features);
        let mut done = vec![];
        while let Some((i, unit)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            units.get(i).map(|u| (i, u))
        } {
            let start = Instant::now();
            done.push((i, generator.compile(unit)?, start.elapsed()));
        }
        Ok::<_, Diagnostic>(done)
    };
    let mut all: Vec<Option<(Compiled, Duration)>> = units.iter().map(|_| None).collect();
    std::thread::scope(|scope| {
        // Where the system gives no more threads, this one does it all.
        let spawn = |_| std::thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let panicked = |_| Err(Diagnostic::bug("generating code panicked"));
        let parts = [work()].into_iter().chain(others.into_iter().map(|t| t.join().unwrap_or_else(panicked)));
        for part in parts.collect::<Vec<_>>() {
            part?.into_iter().for_each(|(i, compiled, time)| all[i] = Some((compiled, time)));
        }
        Ok::<_, Diagnostic>(())
    })?;
    all.into_iter().collect::<Option<_>>().ok_or_else(|| Diagnostic::bug("a unit was not compiled"))
}
