//! Machine code in memory: pieces laid one after another, the addresses of symbols filled in, then made
//! executable.
//!
//! Input: [`Piece`]s, from the generator or from a file. Output: [`CodeMemory`] and where each piece lies in it.
//! Invariants: memory is writable or executable, never both; nothing is written outside of a piece, whatever
//! its relocations say.

use std::ops::Range;
use std::sync::Arc;

use memmap2::{Mmap, MmapMut};

use crate::features::Level;
use crate::symbols::Symbol;

/// Machine code that may be put anywhere.
#[derive(Debug, Clone, Default)]
pub struct Piece {
    pub bytes: Vec<u8>,
    /// A power of two, at most [`MAX_ALIGN`].
    pub align: usize,
    pub relocs: Vec<Reloc>,
}

/// A place for an address of eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reloc {
    /// From the start of the piece.
    pub offset: usize,
    pub symbol: Symbol,
    pub addend: i64,
}

/// The largest alignment of code; less than any page.
pub const MAX_ALIGN: usize = 4096;

/// Bytes of an address.
pub const ADDRESS: usize = 8;

/// Code that can be run. Freed when dropped.
#[derive(Debug)]
pub struct CodeMemory(Mmap);

impl CodeMemory {
    /// The bytes of a piece.
    pub fn bytes(&self, at: &Range<usize>) -> &[u8] {
        &self.0[at.clone()]
    }

    /// The address of a byte that [`link`] has told of.
    pub fn address(&self, at: usize) -> *const u8 {
        self.0[at..].as_ptr()
    }
}

/// Puts pieces into memory of their own. `None` for no pieces.
///
/// # Errors
/// A symbol that the level lacks, a relocation or an alignment that is out of range, no memory.
pub fn link(pieces: &[Piece], level: Level) -> Result<(Option<Arc<CodeMemory>>, Vec<Range<usize>>), String> {
    let mut places = Vec::with_capacity(pieces.len());
    let mut end = 0usize;
    for p in pieces {
        if !p.align.is_power_of_two() || p.align > MAX_ALIGN {
            return Err(format!("code aligned to {} bytes", p.align));
        }
        let start = end.next_multiple_of(p.align);
        end = start.checked_add(p.bytes.len()).ok_or("code larger than memory")?;
        places.push(start..end);
    }
    if end == 0 {
        return Ok((None, places));
    }
    let mut map = MmapMut::map_anon(end).map_err(|e| format!("no memory for {end} bytes of code: {e}"))?;
    for (p, at) in pieces.iter().zip(&places) {
        let to = &mut map[at.clone()];
        to.copy_from_slice(&p.bytes);
        p.relocs.iter().try_for_each(|r| relocate(to, r, level))?;
    }
    let map = map.make_exec().map_err(|e| format!("memory cannot be made executable: {e}"))?;
    flush(&map);
    Ok((Some(Arc::new(CodeMemory(map))), places))
}

fn relocate(piece: &mut [u8], r: &Reloc, level: Level) -> Result<(), String> {
    let address = r.symbol.address(level).ok_or_else(|| format!("no {} for {level}", r.symbol.name()))?;
    let value = (address as u64).wrapping_add_signed(r.addend);
    let place = r.offset.checked_add(ADDRESS).and_then(|end| piece.get_mut(r.offset..end));
    place.ok_or_else(|| format!("a relocation at byte {}", r.offset))?.copy_from_slice(&value.to_ne_bytes());
    Ok(())
}

/// Makes what was written visible to the instruction fetch; x86 does so by itself.
#[cfg(target_arch = "x86_64")]
fn flush(_: &Mmap) {}

#[cfg(not(target_arch = "x86_64"))]
fn flush(map: &Mmap) {
    use wasmtime_internal_jit_icache_coherence as coherence;
    // SAFETY: the range is the whole of a live mapping.
    let _ = unsafe { coherence::clear_cache(map.as_ptr().cast(), map.len()) };
    let _ = coherence::pipeline_flush_mt();
}

#[cfg(test)]
mod tests {
    use mlc_ir::loops::Func;

    use super::*;

    #[test]
    fn addresses_are_put_where_asked_and_nowhere_else() {
        let symbol = Symbol::from_name("fmaf").unwrap();
        let piece = |offset| Piece {
            bytes: vec![7; 24],
            align: 16,
            relocs: vec![Reloc { offset, symbol, addend: 2 }],
        };
        let (memory, places) = link(&[piece(0), piece(16)], Level::Portable).unwrap();
        let memory = memory.unwrap();
        assert_eq!(places, [0..24, 32..56]);
        let want = (symbol.address(Level::Portable).unwrap() as u64 + 2).to_ne_bytes();
        let bytes = memory.bytes(&places[1]);
        assert_eq!((&bytes[..16], &bytes[16..]), (&[7; 16][..], &want[..]));
        for offset in [17, 24, usize::MAX] {
            assert!(link(&[piece(offset)], Level::Portable).is_err());
        }
    }

    #[test]
    fn what_cannot_be_linked_is_refused() {
        let exp = Reloc { offset: 0, symbol: Symbol::Tile(Func::Exp), addend: 0 };
        let piece = Piece { bytes: vec![0; 8], align: 1, relocs: vec![exp] };
        assert!(link(&[piece], Level::Portable).unwrap_err().contains("mlc_tile_exp"));
        for align in [0, 3, 8192] {
            let piece = Piece { bytes: vec![0; 8], align, relocs: vec![] };
            assert!(link(&[piece], Level::Portable).is_err());
        }
        assert!(link(&[], Level::Portable).unwrap().0.is_none());
    }
}
