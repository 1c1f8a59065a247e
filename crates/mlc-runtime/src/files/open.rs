//! A file's bytes: read or mapped, unpacked if they are gzip.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mlc_diag::Diagnostic;

use super::{Cache, error, gzip};
use crate::host::{AlignedBuf, Bytes};

/// From this size on, files are mapped instead of read.
const MAP_FROM: u64 = 1 << 20;

/// Compressed files below this size are unpacked again each time.
const CACHE_FROM: usize = 1 << 16;

/// As many first bytes as any header needs; what a `plan` gets to see.
pub(super) const PREFIX: usize = 1 << 16;

/// The bytes of a file. Of a gzip file, they are the unpacked ones: `plan` then tells from the first
/// bytes how many there must be in all, if the format says so, or finds the header at fault.
pub(super) fn read(
    path: &Path,
    cache: &Cache,
    plan: impl Fn(&[u8]) -> Result<Option<u64>, Diagnostic>,
) -> Result<Bytes, Diagnostic> {
    let raw = read_raw(path)?;
    if !gzip::is_gzip(&raw) {
        return Ok(raw);
    }
    if raw.len() < CACHE_FROM || cache.is_disabled() {
        return gzip::unpack(&path.display(), &raw, plan).map(Bytes::from);
    }
    let key = Cache::key(&raw);
    if let Some(unpacked) = cache.get(&key) {
        return Ok(unpacked);
    }
    let unpacked = gzip::unpack(&path.display(), &raw, plan)?;
    cache.put(&key, &unpacked);
    Ok(unpacked.into())
}

/// The bytes of a file of no known format: unpacked if its name ends in `.gz`, for any bytes may look
/// like gzip.
pub(super) fn read_any(path: &Path, cache: &Cache) -> Result<Bytes, Diagnostic> {
    match path.extension() {
        Some(e) if e.eq_ignore_ascii_case("gz") => read(path, cache, |_| Ok(None)),
        _ => read_raw(path),
    }
}

fn read_raw(path: &Path) -> Result<Bytes, Diagnostic> {
    let unreadable = |e| error::unreadable(path, &e);
    let mut file = File::open(path).map_err(unreadable)?;
    let meta = file.metadata().map_err(unreadable)?;
    if meta.is_dir() {
        return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
    }
    if meta.is_file() && meta.len() >= MAP_FROM {
        return Bytes::map(&file).map_err(unreadable);
    }
    // Small, or a pipe whose length nobody knows.
    let mut bytes = vec![];
    file.read_to_end(&mut bytes).map_err(unreadable)?;
    let buf = AlignedBuf::copy_of(&bytes);
    buf.map(Bytes::from).ok_or_else(|| error::too_large(&path.display(), bytes.len()))
}
