//! Unpacked copies of compressed files, so that a second run maps them instead of unpacking again.
//!
//! An entry is found by the BLAKE3 hash of the compressed bytes, so that it is right wherever the file
//! lies and whenever it was changed. It is a file of 64 bytes of header (magic, length, checksum) and the
//! content. The checksum finds accidents (what the disk lost in a crash), not forgery; it is all sums, so
//! that checking 47 MB takes a few milliseconds of a start that should take less than a hundred. Entries are written under another name and renamed, never changed,
//! and may be deleted at any time. One that is damaged counts as absent and is replaced. A cache that
//! cannot be written is no error: the next run unpacks again.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::atomic;
use crate::host::Bytes;

const MAGIC: &[u8; 16] = b"mlc unpacked v1\n";
const HEADER: usize = 64;

/// A folder of unpacked copies, or none.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// The folder `MLC_CACHE_DIR` names, else mlc's in the user's cache folder; none where there is
    /// neither.
    pub fn user() -> Cache {
        let from_env = std::env::var_os("MLC_CACHE_DIR").filter(|d| !d.is_empty()).map(PathBuf::from);
        let of_user = || Some(directories::ProjectDirs::from("", "", "mlc")?.cache_dir().to_path_buf());
        Cache { folder: from_env.or_else(of_user) }
    }

    pub fn at(folder: impl Into<PathBuf>) -> Cache {
        Cache { folder: Some(folder.into()) }
    }

    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// Keeps nothing and finds nothing.
    pub fn disabled() -> Cache {
        Cache { folder: None }
    }

    pub fn is_disabled(&self) -> bool {
        self.folder.is_none()
    }

    pub(super) fn key(compressed: &[u8]) -> String {
        blake3::hash(compressed).to_hex().to_string()
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join("unpacked").join(key))
    }

    /// The content of a whole and undamaged entry.
    pub(super) fn get(&self, key: &str) -> Option<Bytes> {
        let file = Bytes::map_now(&File::open(self.path(key)?).ok()?).ok()?;
        let content = file.slice(HEADER..file.len())?;
        (file[..HEADER] == header(&content)).then_some(content)
    }

    /// Adds an entry; returns whether that could be done.
    pub(super) fn put(&self, key: &str, content: &[u8]) -> bool {
        let Some(path) = self.path(key) else { return false };
        let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        // Not synced: the checksum tells an entry that the disk lost half of.
        folder.is_ok()
            && atomic::replace(&path, false, |w| {
                w.write_all(&header(content))?;
                w.write_all(content)
            })
            .is_ok()
    }
}

fn header(content: &[u8]) -> [u8; HEADER] {
    let mut h = [0; HEADER];
    h[..16].copy_from_slice(MAGIC);
    h[16..24].copy_from_slice(&(content.len() as u64).to_le_bytes());
    h[24..56].copy_from_slice(blake3::hash(&sums(content)).as_bytes());
    h
}

/// Eight lanes of 64 bits, each with the sum of its words and the sum of those sums; any one changed
/// word, and any two that change places within a lane, change them. Then the bytes that are left over.
fn sums(content: &[u8]) -> Vec<u8> {
    let (mut sum, mut sum_of_sums) = ([0u64; 8], [0u64; 8]);
    let (blocks, rest) = content.as_chunks::<64>();
    for block in blocks {
        for (lane, word) in block.as_chunks::<8>().0.iter().enumerate() {
            sum[lane] = sum[lane].wrapping_add(u64::from_le_bytes(*word));
            sum_of_sums[lane] = sum_of_sums[lane].wrapping_add(sum[lane]);
        }
    }
    sum.iter().chain(&sum_of_sums).flat_map(|s| s.to_le_bytes()).chain(rest.iter().copied()).collect()
}
