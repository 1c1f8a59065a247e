//! npy: one NumPy array. `\x93NUMPY`, a version, the length of the header, the header (a Python literal
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }`), the elements, and nothing after them.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use mlc_diag::Diagnostic;
use mlc_ir::DType;

use super::layout::{Layout, Stored};
use super::{Cache, atomic_write, error, open};
use crate::host::{Bytes, HostTensor, TensorView};

mod literal;

const FORMAT: &str = "npy";
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// NumPy itself refuses more than 10,000 bytes. Small enough to lie within [`open::PREFIX`].
const MAX_HEADER: usize = 32 << 10;
const MAX_RANK: usize = 64;

pub(super) struct Header {
    layout: Layout,
    shape: Vec<usize>,
    start: usize,
    /// The length that the file must have.
    pub end: usize,
}

pub fn read(path: &Path, cache: &Cache) -> Result<HostTensor, Diagnostic> {
    let name = path.display();
    let bytes = open::read(path, cache, |prefix| Ok(Some(header(&name, prefix)?.end as u64)))?;
    parse(&name, &bytes)
}

pub fn write(path: &Path, tensor: TensorView<'_>) -> Result<(), Diagnostic> {
    let header = header_for(&path.display(), tensor)?;
    atomic_write(path, |w| write_to(w, &header, tensor))
}

pub(super) fn write_to(w: &mut impl Write, header: &[u8], tensor: TensorView<'_>) -> io::Result<()> {
    w.write_all(header)?;
    w.write_all(tensor.bytes)
}

pub(super) fn parse(name: &dyn Display, bytes: &Bytes) -> Result<HostTensor, Diagnostic> {
    let h = header(name, bytes)?;
    if bytes.len() > h.end {
        return Err(error::trailing(name, FORMAT, h.end as u64, Some(bytes.len() as u64)));
    }
    let Some(data) = bytes.slice(h.start..h.end) else {
        return Err(error::truncated(name, FORMAT, h.end as u64, bytes.len() as u64));
    };
    h.layout.tensor(name, &h.shape, data)
}

/// Reads the header from a file's first bytes.
pub(super) fn header(name: &dyn Display, bytes: &[u8]) -> Result<Header, Diagnostic> {
    let malformed = |what: &dyn Display| error::malformed(name, FORMAT, what);
    let Some((magic, rest)) = bytes.split_first_chunk::<6>() else {
        return Err(malformed(&format!("it has only {} bytes", bytes.len())));
    };
    if magic != MAGIC {
        return Err(malformed(&"it does not start with \\x93NUMPY"));
    }
    let (len, start) = match *rest {
        [1, _, a, b, ..] => (usize::from(u16::from_le_bytes([a, b])), 10),
        [2 | 3, _, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 12),
        [version, ..] if !(1..=3).contains(&version) => {
            return Err(malformed(&format!("version {version} is not known")));
        }
        _ => return Err(malformed(&"it ends within its header")),
    };
    if len > MAX_HEADER {
        return Err(malformed(&format!("its header claims {len} bytes, more than any array needs")));
    }
    let text = bytes.get(start..start + len).ok_or_else(|| malformed(&"it ends within its header"))?;
    let fields = literal::parse(text).map_err(|what| malformed(&what))?;
    if fields.shape.len() > MAX_RANK {
        return Err(malformed(&format!("it claims {} dims", fields.shape.len())));
    }
    let (stored, big_endian) = element(name, &fields.descr)?;
    let start = start + len;
    let end = stored.bytes(&fields.shape).and_then(|n| n.checked_add(start));
    let end = end.ok_or_else(|| malformed(&format!("its shape {:?} is absurd", fields.shape)))?;
    let layout = Layout { stored, big_endian, column_major: fields.fortran_order };
    Ok(Header { layout, shape: fields.shape, start, end })
}

/// `<f4`: byte order, kind, size.
fn element(name: &dyn Display, descr: &str) -> Result<(Stored, bool), Diagnostic> {
    let (order, kind) = match descr.as_bytes().first() {
        Some(b'<' | b'>' | b'|' | b'=') => descr.split_at(1),
        _ => ("=", descr),
    };
    let stored = match kind {
        "f2" => Stored::Is(DType::F16),
        "f4" => Stored::Is(DType::F32),
        "f8" => Stored::Is(DType::F64),
        "i1" => Stored::Is(DType::I8),
        "i2" => Stored::Is(DType::I16),
        "i4" => Stored::Is(DType::I32),
        "i8" => Stored::Is(DType::I64),
        "u1" => Stored::Is(DType::U8),
        "u2" => Stored::U16,
        "u4" => Stored::Is(DType::U32),
        "u8" => Stored::Is(DType::U64),
        "b1" => Stored::Is(DType::Bool),
        _ => return Err(error::no_dtype(name, format!("`{descr}`"))),
    };
    Ok((stored, order == ">" || (order == "=" && cfg!(target_endian = "big"))))
}

/// The header that NumPy would write, padded so that the elements start at a multiple of 64.
pub(super) fn header_for(name: &dyn Display, tensor: TensorView<'_>) -> Result<Vec<u8>, Diagnostic> {
    let kind = match tensor.dtype {
        DType::F64 => "f8",
        DType::F32 => "f4",
        DType::F16 => "f2",
        DType::I64 => "i8",
        DType::I32 => "i4",
        DType::I16 => "i2",
        DType::I8 => "i1",
        DType::U8 => "u1",
        DType::U32 => "u4",
        DType::U64 => "u8",
        DType::Bool => "b1",
        DType::BF16 => {
            return Err(Diagnostic::error("E0704", format!("`{name}`: NumPy files cannot hold bf16"))
                .hint("write a .safetensors file, or cast to f32 first"));
        }
    };
    let order = match (tensor.dtype.size(), cfg!(target_endian = "big")) {
        (1, _) => '|',
        (_, false) => '<',
        (_, true) => '>',
    };
    let dims: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
    let comma = if dims.len() == 1 { "," } else { "" };
    let shape = dims.join(", ") + comma;
    let mut text = format!("{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({shape}), }}");
    let unpadded = MAGIC.len() + 4 + text.len() + 1;
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text.push('\n');
    let len = u16::try_from(text.len())
        .map_err(|_| Diagnostic::error("E0704", format!("`{name}`: NumPy files cannot hold so many dims")))?;
    Ok([MAGIC, &[1u8, 0][..], &len.to_le_bytes(), text.as_bytes()].concat())
}

/// What [`atomic_write`] writes through.
pub(super) type Out = BufWriter<File>;
