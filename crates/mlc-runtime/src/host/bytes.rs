//! A shared, immutable slice of host memory: of a buffer, or of a mapped file.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use super::AlignedBuf;

/// Cloning and slicing share the memory. A mapped file must not be shortened by another program
/// while it is in use (mlc itself replaces files by renaming, which leaves mapped ones whole).
#[derive(Clone)]
pub struct Bytes {
    storage: Arc<Storage>,
    range: Range<usize>,
}

enum Storage {
    Owned(AlignedBuf),
    Mapped(memmap2::Mmap),
}

impl Bytes {
    /// Maps a whole file for reading. An empty file gives empty bytes.
    pub fn map(file: &File) -> std::io::Result<Bytes> {
        Bytes::map_with(file, &memmap2::MmapOptions::new())
    }

    /// As [`Bytes::map`], with all pages brought in at once: for who reads all of it anyway.
    pub fn map_now(file: &File) -> std::io::Result<Bytes> {
        Bytes::map_with(file, memmap2::MmapOptions::new().populate())
    }

    fn map_with(file: &File, options: &memmap2::MmapOptions) -> std::io::Result<Bytes> {
        if file.metadata()?.len() == 0 {
            return Ok(Bytes::from(AlignedBuf::new()));
        }
        // SAFETY: the mapping is private and read-only. That no other program writes into the file
        // meanwhile cannot be enforced; bytes are plain data, so a change cannot break an invariant
        // of a type, and values read from them are checked before they are used as sizes.
        let map = unsafe { options.map_copy_read_only(file)? };
        let range = 0..map.len();
        Ok(Bytes { storage: Arc::new(Storage::Mapped(map)), range })
    }

    /// The part of these bytes in `range`, sharing the memory; `None` where it is out of range.
    pub fn slice(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.range.len() {
            return None;
        }
        let start = self.range.start;
        Some(Bytes { storage: self.storage.clone(), range: start + range.start..start + range.end })
    }

    pub fn is_mapped(&self) -> bool {
        matches!(*self.storage, Storage::Mapped(_))
    }

    /// The bytes for writing, if nobody shares them and they are not a file's.
    pub fn get_mut(&mut self) -> Option<&mut [u8]> {
        match Arc::get_mut(&mut self.storage)? {
            Storage::Owned(buf) => Some(&mut buf[self.range.clone()]),
            Storage::Mapped(_) => None,
        }
    }
}

impl From<AlignedBuf> for Bytes {
    fn from(buf: AlignedBuf) -> Bytes {
        let range = 0..buf.len();
        Bytes { storage: Arc::new(Storage::Owned(buf)), range }
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &*self.storage {
            Storage::Owned(buf) => &buf[self.range.clone()],
            Storage::Mapped(map) => &map[self.range.clone()],
        }
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({} bytes{})", self.len(), if self.is_mapped() { ", mapped" } else { "" })
    }
}
