//! idx: the format of MNIST. `00 00`, a type byte, the rank, the dims as big-endian u32, the elements
//! in big-endian row-major order, and nothing after them.

use std::fmt::Display;
use std::path::Path;

use mlc_diag::Diagnostic;
use mlc_ir::DType;

use super::layout::{Layout, Stored};
use super::{Cache, error, open};
use crate::host::{Bytes, HostTensor};

const FORMAT: &str = "idx";

struct Header {
    stored: Stored,
    shape: Vec<usize>,
    /// Where the elements start, and the length that the file must have.
    start: usize,
    end: usize,
}

pub fn read(path: &Path, cache: &Cache) -> Result<HostTensor, Diagnostic> {
    let name = path.display();
    let bytes = open::read(path, cache, |prefix| Ok(Some(header(&name, prefix)?.end as u64)))?;
    parse(&name, &bytes)
}

pub(super) fn parse(name: &dyn Display, bytes: &Bytes) -> Result<HostTensor, Diagnostic> {
    let h = header(name, bytes)?;
    if bytes.len() > h.end {
        return Err(error::trailing(name, FORMAT, h.end as u64, Some(bytes.len() as u64)));
    }
    let Some(data) = bytes.slice(h.start..h.end) else {
        return Err(error::truncated(name, FORMAT, h.end as u64, bytes.len() as u64));
    };
    Layout { stored: h.stored, big_endian: true, column_major: false }.tensor(name, &h.shape, data)
}

fn header(name: &dyn Display, bytes: &[u8]) -> Result<Header, Diagnostic> {
    let malformed = |what: String| error::malformed(name, FORMAT, what);
    let Some(&[zero0, zero1, code, rank]) = bytes.first_chunk::<4>() else {
        return Err(malformed(format!("it has only {} bytes", bytes.len())));
    };
    if (zero0, zero1) != (0, 0) {
        return Err(malformed(format!("it starts with the bytes {zero0:02x} {zero1:02x}, not 00 00")));
    }
    let stored = match code {
        0x08 => DType::U8,
        0x09 => DType::I8,
        0x0b => DType::I16,
        0x0c => DType::I32,
        0x0d => DType::F32,
        0x0e => DType::F64,
        _ => return Err(malformed(format!("0x{code:02x} is no element type"))),
    };
    let start = 4 + 4 * usize::from(rank);
    let Some(dims) = bytes.get(4..start) else {
        return Err(malformed(format!("it ends within the {rank} dims of its header")));
    };
    let dims = dims.as_chunks::<4>().0.iter();
    let shape: Vec<usize> = dims.map(|d| u32::from_be_bytes(*d) as usize).collect();
    let stored = Stored::Is(stored);
    let end = stored.bytes(&shape).and_then(|n| n.checked_add(start));
    let absurd = || {
        // A damaged header may claim 255 of them.
        let first = &shape[..shape.len().min(4)];
        malformed(format!("its {rank} dims are absurd; they begin with {first:?}"))
    };
    let end = end.ok_or_else(absurd)?;
    Ok(Header { stored, shape, start, end })
}
