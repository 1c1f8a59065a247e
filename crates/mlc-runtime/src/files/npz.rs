//! npz: a zip archive of npy files, one an array; the key `x` is the file `x.npy`.

use std::io::{Cursor, Read, Write};
use std::path::Path;

use mlc_diag::Diagnostic;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::gzip::MAX_RATIO;
use super::{Cache, atomic_write, error, npy, open};
use crate::host::{AlignedBuf, Bytes, HostTensor, TensorView};

const FORMAT: &str = "npz";

/// An open archive. Its arrays are unpacked when asked for.
pub struct Npz {
    name: String,
    packed: u64,
    archive: ZipArchive<Cursor<Bytes>>,
}

impl Npz {
    pub fn open(path: &Path, cache: &Cache) -> Result<Npz, Diagnostic> {
        Npz::parse(path.display().to_string(), open::read(path, cache, |_| Ok(None))?)
    }

    pub(super) fn parse(name: String, bytes: Bytes) -> Result<Npz, Diagnostic> {
        let packed = bytes.len() as u64;
        let archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| zip_error(&name, &e))?;
        Ok(Npz { name, packed, archive })
    }

    /// The arrays' names, sorted.
    pub fn keys(&self) -> Vec<String> {
        let names = self.archive.file_names();
        let mut keys: Vec<String> = names.filter_map(|n| n.strip_suffix(".npy")).map(String::from).collect();
        keys.sort();
        keys
    }

    /// The array of a key; without one, the only array.
    pub fn tensor(&mut self, key: Option<&str>) -> Result<HostTensor, Diagnostic> {
        let keys = self.keys();
        let key = super::named::choose(&self.name, "array", key, &keys)?;
        let name = format!("{}:{key}", self.name);
        let mut entry = self.archive.by_name(&format!("{key}.npy")).map_err(|e| zip_error(&name, &e))?;
        let corrupt = |e: std::io::Error| error::malformed(&name, FORMAT, e);
        let claimed = entry.size();
        if claimed > self.packed.saturating_mul(MAX_RATIO) {
            return Err(error::truncated(&name, FORMAT, claimed, self.packed));
        }
        // The header must agree with the directory's claim before anything that large is reserved.
        let mut prefix = vec![];
        (&mut entry).take(open::PREFIX as u64).read_to_end(&mut prefix).map_err(corrupt)?;
        let expected = npy::header(&name, &prefix)?.end as u64;
        if claimed > expected {
            return Err(error::trailing(&name, FORMAT, expected, Some(claimed)));
        }
        if claimed < expected || (prefix.len() as u64) > expected {
            return Err(error::truncated(&name, FORMAT, expected, claimed));
        }
        let mut out =
            AlignedBuf::zeroed(expected as usize).ok_or_else(|| error::too_large(&name, expected))?;
        out[..prefix.len()].copy_from_slice(&prefix);
        entry.read_exact(&mut out[prefix.len()..]).map_err(corrupt)?;
        // Reading on to the end is what verifies the checksum.
        if entry.read(&mut [0]).map_err(corrupt)? > 0 {
            return Err(error::trailing(&name, FORMAT, expected, None));
        }
        npy::parse(&name, &out.into())
    }
}

/// Writes an archive, uncompressed as `numpy.savez` does. The same arrays give the same bytes.
pub fn write(path: &Path, tensors: &[(&str, TensorView<'_>)]) -> Result<(), Diagnostic> {
    let name = path.display();
    let headers: Vec<Vec<u8>> =
        tensors.iter().map(|(k, t)| npy::header_for(&format!("{name}:{k}"), *t)).collect::<Result<_, _>>()?;
    atomic_write(path, |out: &mut npy::Out| {
        let mut zip = ZipWriter::new(out);
        for ((key, tensor), header) in tensors.iter().zip(&headers) {
            let large = tensor.bytes.len() + header.len() > 0xffff_0000;
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .last_modified_time(zip::DateTime::default())
                .large_file(large);
            zip.start_file(format!("{key}.npy"), options)?;
            npy::write_to(&mut zip, header, *tensor)?;
        }
        zip.finish()?.flush()
    })
}

fn zip_error(name: &str, error: &ZipError) -> Diagnostic {
    match error {
        ZipError::UnsupportedArchive(what) => {
            error::malformed(&name, FORMAT, format!("{what} is not supported"))
        }
        e => error::malformed(&name, FORMAT, e),
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}
