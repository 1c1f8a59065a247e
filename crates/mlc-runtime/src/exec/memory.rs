//! Aligned host memory: the arenas of CPU plans.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use mlc_diag::Diagnostic;

use super::backend::DeviceMemory;

/// The least alignment of an arena, in bytes: a cache line and the widest vector.
pub const ALIGN: usize = 64;

/// A zeroed block of memory of a fixed size, aligned to at least [`ALIGN`].
#[derive(Debug)]
pub struct HostMemory {
    base: NonNull<u8>,
    bytes: usize,
    align: usize,
}

// SAFETY: the block is owned; all access goes through raw pointers whose users state their own rules.
unsafe impl Send for HostMemory {}
// SAFETY: as above; shared references give no access to the bytes except through unsafe functions.
unsafe impl Sync for HostMemory {}

impl HostMemory {
    /// `align` is a power of two.
    pub fn zeroed(bytes: u64, align: usize) -> Result<HostMemory, Diagnostic> {
        let align = align.max(ALIGN);
        let no_memory = || {
            Diagnostic::error("E0802", format!("cannot allocate {bytes} bytes of memory"))
                .hint("lower the batch size, or state a memory limit so that the plan is made to fit")
        };
        // Never empty, so that the base is always a real allocation.
        let size = usize::try_from(bytes).map_err(|_| no_memory())?.max(ALIGN);
        let layout = Layout::from_size_align(size, align).map_err(|_| no_memory())?;
        // SAFETY: the layout's size is not zero.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(no_memory)?;
        Ok(HostMemory { base, bytes: size, align })
    }

    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// The size in bytes; at least what was asked for.
    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The bytes, for a sole owner.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: the block is `bytes` long, initialised, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }

    /// The bytes, for a sole owner.
    pub fn as_slice(&mut self) -> &[u8] {
        self.as_mut_slice()
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with this very layout, which was valid there.
        unsafe { dealloc(self.base.as_ptr(), Layout::from_size_align_unchecked(self.bytes, self.align)) }
    }
}

impl DeviceMemory for HostMemory {
    fn base(&self) -> *mut u8 {
        HostMemory::base(self)
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    unsafe fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(offset.checked_add(out.len()).is_some_and(|end| end <= self.bytes), "read past the arena");
        // SAFETY: in bounds as just checked; the caller holds off writers.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), out.as_mut_ptr(), out.len()) }
    }

    unsafe fn write(&self, offset: usize, from: &[u8]) {
        assert!(offset.checked_add(from.len()).is_some_and(|end| end <= self.bytes), "write past the arena");
        // SAFETY: in bounds as just checked; the caller holds off everyone else.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), self.base.as_ptr().add(offset), from.len()) }
    }
}
