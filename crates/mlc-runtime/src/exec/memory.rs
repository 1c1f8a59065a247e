//! Aligned host memory: the arenas of CPU plans.

use mlc_diag::Diagnostic;

use super::backend::DeviceMemory;
use crate::host::Block;

/// The least alignment of an arena, in bytes: a cache line and the widest vector.
pub const ALIGN: usize = 64;

/// A zeroed block of memory of a fixed size, aligned to at least [`ALIGN`].
#[derive(Debug)]
pub struct HostMemory {
    block: Block,
}

impl HostMemory {
    /// `align` is a power of two.
    pub fn zeroed(bytes: u64, align: usize) -> Result<HostMemory, Diagnostic> {
        let no_memory = || {
            Diagnostic::error("E0802", format!("cannot allocate {bytes} bytes of memory"))
                .hint("lower the batch size, or state a memory limit so that the plan is made to fit")
        };
        // Never empty, so that the base is always a real allocation.
        let size = usize::try_from(bytes).map_err(|_| no_memory())?.max(ALIGN);
        let block = Block::zeroed(size, align.max(ALIGN)).ok_or_else(no_memory)?;
        Ok(HostMemory { block })
    }

    pub fn base(&self) -> *mut u8 {
        self.block.base()
    }

    /// The size in bytes; at least what was asked for.
    pub fn len(&self) -> usize {
        self.block.size()
    }

    pub fn is_empty(&self) -> bool {
        self.block.size() == 0
    }

    /// The bytes, for a sole owner.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the block is that long, initialised, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.len()) }
    }

    /// The bytes, for a sole owner.
    pub fn as_slice(&mut self) -> &[u8] {
        self.as_mut_slice()
    }
}

impl DeviceMemory for HostMemory {
    fn base(&self) -> *mut u8 {
        HostMemory::base(self)
    }

    fn bytes(&self) -> usize {
        self.len()
    }

    unsafe fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset.checked_add(out.len()).is_some_and(|end| end <= self.len()), "read past the arena");
        // SAFETY: in bounds as just checked; the caller holds off writers.
        unsafe { std::ptr::copy_nonoverlapping(self.base().add(offset), out.as_mut_ptr(), out.len()) }
    }

    unsafe fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset.checked_add(from.len()).is_some_and(|end| end <= self.len()), "write past the arena");
        // SAFETY: in bounds as just checked; the caller holds off everyone else.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.base().add(offset), from.len()) }
    }
}
