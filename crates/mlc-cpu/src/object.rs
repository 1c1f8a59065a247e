//! Functions as a relocatable object file of the machine's own format, and back.
//!
//! Input of [`write()`]: linked functions. Output: an object with the functions `f0`, `f1`, .. in one section,
//! the symbols of [`crate::symbols`] as undefined ones, and absolute relocations. [`read()`] takes such a file
//! apart again; whatever the bytes, it gives pieces that [`crate::link`] accepts or an error.

use std::ops::Range;

use cranelift::codegen::binemit::Reloc as Kind;
use cranelift::codegen::ir::Signature;
use cranelift::codegen::isa::OwnedTargetIsa;
use cranelift_module::{FuncId, Linkage, Module, ModuleReloc, ModuleRelocTarget, default_libcall_names};
use cranelift_object::{ObjectBuilder, ObjectModule};
use object::{Object, ObjectSection, ObjectSymbol, RelocationKind, RelocationTarget, SymbolIndex};
use rustc_hash::FxHashMap;

use crate::link::{ADDRESS, Piece, Reloc};
use crate::symbols::Symbol;

/// A function to write: its bytes with anything where the addresses stand.
pub struct Code<'a> {
    pub bytes: &'a [u8],
    pub align: usize,
    pub relocs: &'a [Reloc],
}

/// The object file with these functions.
pub fn write(functions: &[Code<'_>], isa: OwnedTargetIsa) -> Result<Vec<u8>, String> {
    let signature = Signature::new(isa.default_call_conv());
    let builder = ObjectBuilder::new(isa, "mlc", default_libcall_names()).map_err(|e| e.to_string())?;
    let mut module = ObjectModule::new(builder);
    let mut imports: Vec<(Symbol, FuncId)> = vec![];
    for (i, f) in functions.iter().enumerate() {
        let mut bytes = f.bytes.to_vec();
        let mut relocs = Vec::with_capacity(f.relocs.len());
        for r in f.relocs {
            // The address of this process is nobody else's business.
            bytes[r.offset..r.offset + ADDRESS].fill(0);
            let known = imports.iter().find(|(s, _)| *s == r.symbol).map(|(_, id)| *id);
            let id = match known {
                Some(id) => id,
                None => declare(&mut module, &r.symbol.name(), Linkage::Import, &signature)?,
            };
            imports.push((r.symbol, id));
            let name = ModuleRelocTarget::user(0, id.as_u32());
            relocs.push(ModuleReloc { offset: r.offset as u32, kind: Kind::Abs8, name, addend: r.addend });
        }
        let id = declare(&mut module, &format!("f{i}"), Linkage::Export, &signature)?;
        module
            .define_function_bytes(id, f.align as u64, &bytes, &relocs)
            .map_err(|e| format!("f{i}: {e:?}"))?;
    }
    module.finish().emit().map_err(|e| e.to_string())
}

fn declare(m: &mut ObjectModule, name: &str, linkage: Linkage, s: &Signature) -> Result<FuncId, String> {
    m.declare_function(name, linkage, s).map_err(|e| e.to_string())
}

/// The code of an object file in one piece, and where in it the functions `f0`, `f1`, .. of these sizes lie. (Not
/// every format keeps the sizes of functions.)
///
/// # Errors
/// Says what is not as [`write()`] makes it.
pub fn read(bytes: &[u8], sizes: &[usize]) -> Result<(Piece, Vec<Range<usize>>), String> {
    let file = object::File::parse(bytes).map_err(|e| format!("not an object file: {e}"))?;
    let mut found: Vec<Option<Range<usize>>> = vec![None; sizes.len()];
    let mut text = None;
    for symbol in file.symbols().filter(|s| s.is_definition()) {
        let Some(number) = symbol.name().ok().and_then(function_number).filter(|n| *n < sizes.len()) else {
            continue;
        };
        let section = symbol.section_index().ok_or("a function without a section")?;
        if *text.get_or_insert(section) != section {
            return Err("functions in several sections".into());
        }
        let start = usize::try_from(symbol.address()).map_err(|e| e.to_string())?;
        found[number] = Some(start..start.checked_add(sizes[number]).ok_or("a function beyond memory")?);
    }
    let functions = found.into_iter().collect::<Option<Vec<_>>>().ok_or("a function is missing")?;
    let Some(text) = text else { return Ok((Piece { align: 1, ..Piece::default() }, functions)) };
    let section = file.section_by_index(text).map_err(|e| e.to_string())?;
    let bytes = section.data().map_err(|e| e.to_string())?.to_vec();
    if functions.iter().any(|f| f.end > bytes.len() || f.is_empty()) {
        return Err("a function outside of its section".into());
    }
    let align = usize::try_from(section.align()).unwrap_or(usize::MAX);
    let mut known = FxHashMap::default();
    let relocs = section.relocations().map(|(at, r)| {
        let index = place_of_address(&r)?;
        let symbol = match known.get(&index) {
            Some(symbol) => *symbol,
            None => *known.entry(index).or_insert(symbol_of(&file, index)?),
        };
        Ok(Reloc { offset: usize::try_from(at).map_err(|e| e.to_string())?, symbol, addend: r.addend() })
    });
    let relocs = relocs.collect::<Result<_, String>>()?;
    Ok((Piece { bytes, align, relocs }, functions))
}

/// `f12`; some formats put an underscore before names.
fn function_number(name: &str) -> Option<usize> {
    name.strip_prefix('_').unwrap_or(name).strip_prefix('f')?.parse().ok()
}

/// The symbol whose address a relocation asks for.
fn place_of_address(r: &object::Relocation) -> Result<SymbolIndex, String> {
    match (r.target(), r.kind(), usize::from(r.size())) {
        (RelocationTarget::Symbol(index), RelocationKind::Absolute, size) if size == 8 * ADDRESS => Ok(index),
        (_, kind, size) => Err(format!("a relocation of kind {kind:?} and {size} bits")),
    }
}

fn symbol_of(file: &object::File<'_>, index: SymbolIndex) -> Result<Symbol, String> {
    let symbol = file.symbol_by_index(index).map_err(|e| e.to_string())?;
    let name = symbol.name().map_err(|e| e.to_string())?;
    let symbol = Symbol::from_name(name).or_else(|| Symbol::from_name(name.strip_prefix('_')?));
    symbol.ok_or_else(|| format!("code that calls `{name}`"))
}
