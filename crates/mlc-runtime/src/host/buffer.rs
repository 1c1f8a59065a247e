//! A growable allocation aligned to 64 bytes, zeroed, that keeps its memory when it shrinks.

use super::{ALIGN, Block};

/// Bytes aligned to [`ALIGN`]. Invariant: `len` is at most the block's, all of which is initialised.
pub struct AlignedBuf {
    block: Block,
    len: usize,
}

impl AlignedBuf {
    pub fn new() -> AlignedBuf {
        AlignedBuf { block: Block::empty(ALIGN), len: 0 }
    }

    /// `len` zero bytes; `None` where the system has not so much memory.
    pub fn zeroed(len: usize) -> Option<AlignedBuf> {
        let block = Block::zeroed(len.checked_next_multiple_of(ALIGN)?, ALIGN)?;
        Some(AlignedBuf { block, len })
    }

    /// A copy of `bytes`; `None` where memory is short.
    pub fn copy_of(bytes: &[u8]) -> Option<AlignedBuf> {
        let mut buf = AlignedBuf::zeroed(bytes.len())?;
        buf.copy_from_slice(bytes);
        Some(buf)
    }

    /// Sets the length. Within the capacity nothing is allocated and what was there stays; beyond it
    /// the buffer moves, and new bytes are zero. `false` (and no change) where memory is short.
    #[must_use]
    pub fn resize(&mut self, len: usize) -> bool {
        if len <= self.capacity() {
            self.len = len;
            return true;
        }
        let Some(mut grown) = AlignedBuf::zeroed(len) else { return false };
        grown[..self.len].copy_from_slice(self);
        *self = grown;
        true
    }

    pub fn capacity(&self) -> usize {
        self.block.size()
    }
}

impl Default for AlignedBuf {
    fn default() -> Self {
        AlignedBuf::new()
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` bytes start at the base, which is never null; the buffer is
        // the block's only user.
        unsafe { std::slice::from_raw_parts(self.block.base(), self.len) }
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.block.base(), self.len) }
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AlignedBuf({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_and_zeroed() {
        for len in [0, 1, 63, 64, 65, 4097] {
            let buf = AlignedBuf::zeroed(len).unwrap();
            assert_eq!((buf.len(), buf.as_ptr() as usize % ALIGN), (len, 0));
            assert!(buf.iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn resizing_keeps_the_bytes_and_the_memory() {
        let mut buf = AlignedBuf::copy_of(&[1, 2, 3]).unwrap();
        assert!(buf.resize(1000));
        assert_eq!(&buf[..4], [1, 2, 3, 0]);
        let (at, capacity) = (buf.as_ptr(), buf.capacity());
        assert!(buf.resize(2) && buf.resize(900));
        assert_eq!((buf.as_ptr(), buf.capacity()), (at, capacity));
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(AlignedBuf::zeroed(usize::MAX).is_none());
        assert!(AlignedBuf::zeroed(isize::MAX as usize).is_none());
        let mut buf = AlignedBuf::copy_of(&[7]).unwrap();
        assert!(!buf.resize(usize::MAX - 5));
        assert_eq!(*buf, [7]);
    }
}
