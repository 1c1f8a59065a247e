//! Zeroed blocks of memory, which tensors and arenas are made of.
//!
//! A large block asks the system for huge pages: with pages of 4 KiB a pass over a matrix of some MiB misses the
//! buffers of page addresses at each row. docs/performance.md has what that takes.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// A huge page of the usual systems, in bytes.
const HUGE: usize = 2 << 20;
/// What is smaller comes from the allocator, which gives its pages to others afterwards.
const LARGE: usize = 2 * HUGE;

/// An owned, zeroed block of a fixed size. Its bytes are reached through [`base`](Block::base) alone.
#[derive(Debug)]
pub struct Block {
    base: NonNull<u8>,
    bytes: usize,
    home: Home,
}

#[derive(Debug)]
enum Home {
    /// Without memory; the base dangles, as aligned as any other.
    Nowhere,
    Allocated(Layout),
    /// The block lies inside.
    #[cfg(target_os = "linux")]
    Mapped {
        _map: memmap2::MmapMut,
    },
}

// SAFETY: the block owns its memory alone; all access goes through raw pointers whose users state their own rules.
unsafe impl Send for Block {}
// SAFETY: as above; a shared reference gives no access to the bytes but through unsafe code.
unsafe impl Sync for Block {}

impl Block {
    /// No bytes; the base is aligned to `align`, a power of two.
    pub const fn empty(align: usize) -> Block {
        let base = NonNull::without_provenance(std::num::NonZero::new(align).expect("a power of two"));
        Block { base, bytes: 0, home: Home::Nowhere }
    }

    /// `bytes` zeros from a multiple of `align`, a power of two; `None` where the system has not so much memory.
    pub fn zeroed(bytes: usize, align: usize) -> Option<Block> {
        if bytes == 0 {
            return Some(Block::empty(align));
        }
        #[cfg(target_os = "linux")]
        if bytes >= LARGE && align <= HUGE {
            return Block::mapped(bytes);
        }
        let layout = Layout::from_size_align(bytes, align).ok()?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Block { base, bytes, home: Home::Allocated(layout) })
    }

    /// From the start of a huge page. What is left over at the end stays in small pages, so that no memory is lost.
    #[cfg(target_os = "linux")]
    fn mapped(bytes: usize) -> Option<Block> {
        isize::try_from(bytes).ok()?;
        let mut map = memmap2::MmapMut::map_anon(bytes.checked_add(HUGE)?).ok()?;
        let skipped = map.as_ptr().align_offset(HUGE);
        // The system may have no huge pages to give: then small ones do.
        let _ = map.advise_range(memmap2::Advice::HugePage, skipped, bytes / HUGE * HUGE);
        // SAFETY: `skipped` is less than a huge page, which the map has beyond `bytes`.
        let base = NonNull::new(unsafe { map.as_mut_ptr().add(skipped) })?;
        Some(Block { base, bytes, home: Home::Mapped { _map: map } })
    }

    pub const fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The size in bytes.
    pub const fn size(&self) -> usize {
        self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Home::Allocated(layout) = self.home {
            // SAFETY: allocated in `zeroed` with this very layout.
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(block: &Block) -> &[u8] {
        // SAFETY: the block is that long and zeroed; nobody writes.
        unsafe { std::slice::from_raw_parts(block.base(), block.size()) }
    }

    #[test]
    fn blocks_are_zeroed_and_aligned() {
        for len in [0, 1, 63, 4097, LARGE - 1, LARGE, LARGE + 1, 2 * LARGE + HUGE + 17] {
            for align in [64, 4096, HUGE, 2 * HUGE] {
                let block = Block::zeroed(len, align).unwrap();
                assert_eq!((block.size(), block.base() as usize % align), (len, 0));
                assert!(bytes(&block).iter().all(|&b| b == 0));
                // SAFETY: as in `bytes`, and this is the owner.
                unsafe { std::slice::from_raw_parts_mut(block.base(), len) }.fill(7);
            }
        }
    }

    #[test]
    fn large_blocks_begin_at_a_huge_page() {
        let block = Block::zeroed(LARGE + 5, 64).unwrap();
        if cfg!(target_os = "linux") {
            assert_eq!(block.base() as usize % HUGE, 0);
        }
    }

    #[test]
    fn absurd_sizes_are_refused() {
        for len in [usize::MAX, usize::MAX - HUGE, isize::MAX as usize, isize::MAX as usize + 1] {
            assert!(Block::zeroed(len, 64).is_none(), "{len}");
        }
    }
}
