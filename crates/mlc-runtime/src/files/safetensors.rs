//! safetensors: the length of the header (u64, little-endian), the header (JSON: name -> dtype, shape,
//! offsets, and `__metadata__`, strings by name), then the elements of all tensors without gaps.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::fmt;
use std::io::Write;
use std::path::Path;

use mlc_diag::Diagnostic;
use mlc_ir::DType;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::layout::{Layout, Stored};
use super::{Cache, atomic_write, error, open};
use crate::host::{Bytes, HostTensor, TensorView};

const FORMAT: &str = "safetensors";
const METADATA: &str = "__metadata__";
/// What the format's own library allows.
const MAX_HEADER: u64 = 100_000_000;

/// An open file, its header checked. Its tensors share memory with it.
pub struct SafetensorsFile {
    name: String,
    header: Header,
    data: Bytes,
}

#[derive(Debug, Default)]
struct Header {
    tensors: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (usize, usize),
}

impl SafetensorsFile {
    pub fn open(path: &Path, cache: &Cache) -> Result<SafetensorsFile, Diagnostic> {
        let bytes = open::read(path, cache, |_| Ok(None))?;
        Self::parse(path.display().to_string(), &bytes)
    }

    /// A file's content; errors call it `name`.
    pub fn parse(name: String, bytes: &Bytes) -> Result<SafetensorsFile, Diagnostic> {
        let malformed = |what: &dyn fmt::Display| error::malformed(&name, FORMAT, what);
        let Some(len) = bytes.first_chunk::<8>() else {
            return Err(malformed(&format!("it has only {} bytes", bytes.len())));
        };
        let len = u64::from_le_bytes(*len);
        if len > MAX_HEADER {
            return Err(malformed(&format!("its header claims {len} bytes")));
        }
        let start = 8 + len as usize;
        let Some(text) = bytes.get(8..start) else {
            return Err(error::truncated(&name, FORMAT, start as u64, bytes.len() as u64));
        };
        let header: Header =
            serde_json::from_slice(text).map_err(|e| malformed(&format!("its header: {e}")))?;
        let data = bytes.slice(start..bytes.len()).ok_or_else(|| malformed(&"it ends early"))?;
        check_offsets(&name, &header, start, data.len())?;
        Ok(SafetensorsFile { name, header, data })
    }

    /// The tensors' names, sorted.
    pub fn keys(&self) -> Vec<String> {
        self.header.tensors.keys().cloned().collect()
    }

    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.header.metadata
    }

    /// Shape and the format's own name of the dtype, without reading the tensor.
    pub fn info(&self, key: &str) -> Option<(&str, &[usize])> {
        self.header.tensors.get(key).map(|e| (e.dtype.as_str(), e.shape.as_slice()))
    }

    /// The tensor of a key; without one, the only tensor.
    pub fn tensor(&self, key: Option<&str>) -> Result<HostTensor, Diagnostic> {
        let key = super::named::choose(&self.name, "tensor", key, &self.keys())?;
        let name = format!("{}:{key}", self.name);
        let lost = || error::no_key(&self.name, "tensor", &key, &[]);
        let entry = self.header.tensors.get(&key).ok_or_else(lost)?;
        let stored = stored(&entry.dtype).ok_or_else(|| error::no_dtype(&name, &entry.dtype))?;
        let (start, end) = entry.data_offsets;
        let data = self.data.slice(start..end).ok_or_else(lost)?;
        Layout { stored, big_endian: false, column_major: false }.tensor(&name, &entry.shape, data)
    }
}

/// The tensors lie one after another, each as long as its shape says, up to the end of the file.
fn check_offsets(name: &str, header: &Header, start: usize, len: usize) -> Result<(), Diagnostic> {
    let mut entries: Vec<(&String, &Entry)> = header.tensors.iter().collect();
    entries.sort_by_key(|(_, e)| e.data_offsets);
    let mut at = 0;
    for (key, e) in entries {
        let malformed = |what: String| error::malformed(&format!("{name}:{key}"), FORMAT, what);
        let (from, to) = e.data_offsets;
        if from != at || to < from {
            return Err(malformed(format!(
                "its bytes {from}..{to} do not follow those before it, which end at {at}"
            )));
        }
        if let Some(stored) = stored(&e.dtype)
            && stored.bytes(&e.shape) != Some(to - from)
        {
            return Err(malformed(format!("{}{:?} does not take {} bytes", e.dtype, e.shape, to - from)));
        }
        at = to;
    }
    let (expected, found) = ((start as u64).saturating_add(at as u64), (start + len) as u64);
    match expected.cmp(&found) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(error::truncated(&name, FORMAT, expected, found)),
        std::cmp::Ordering::Less => Err(error::trailing(&name, FORMAT, expected, Some(found))),
    }
}

fn stored(dtype: &str) -> Option<Stored> {
    let dtype = match dtype {
        "U16" => return Some(Stored::U16),
        "F64" => DType::F64,
        "F32" => DType::F32,
        "F16" => DType::F16,
        "BF16" => DType::BF16,
        "I64" => DType::I64,
        "I32" => DType::I32,
        "I16" => DType::I16,
        "I8" => DType::I8,
        "U8" => DType::U8,
        "U32" => DType::U32,
        "U64" => DType::U64,
        "BOOL" => DType::Bool,
        _ => return None,
    };
    Some(Stored::Is(dtype))
}

fn name_of(dtype: DType) -> String {
    dtype.name().to_ascii_uppercase()
}

/// Writes a file: widest dtypes first so that every tensor is aligned, then by name. The same tensors
/// and metadata give the same bytes. Names are distinct.
pub fn write(
    path: &Path,
    tensors: &[(&str, TensorView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<(), Diagnostic> {
    atomic_write(path, |out| write_to(out, tensors, metadata))
}

/// What [`write()`] puts into a file.
pub fn write_to(
    out: &mut impl Write,
    tensors: &[(&str, TensorView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> std::io::Result<()> {
    let mut order: Vec<&(&str, TensorView<'_>)> = tensors.iter().collect();
    order.sort_by_key(|(key, t)| (std::cmp::Reverse(t.dtype.size()), *key));
    let header = header_text(&order, metadata);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    order.iter().try_for_each(|(_, t)| out.write_all(t.bytes))
}

/// Padded so that the elements start at a multiple of 64.
fn header_text(order: &[&(&str, TensorView<'_>)], metadata: &BTreeMap<String, String>) -> String {
    let mut object = serde_json::Map::new();
    if !metadata.is_empty() {
        object.insert(METADATA.to_string(), serde_json::json!(metadata));
    }
    let mut at = 0;
    for (key, t) in order {
        let end = at + t.bytes.len();
        let entry =
            serde_json::json!({"dtype": name_of(t.dtype), "shape": t.shape, "data_offsets": [at, end]});
        object.insert((*key).to_string(), entry);
        at = end;
    }
    let mut text = serde_json::Value::Object(object).to_string();
    let unpadded = 8 + text.len();
    text.extend(std::iter::repeat_n(' ', unpadded.next_multiple_of(64) - unpadded));
    text
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Header, D::Error> {
        d.deserialize_map(HeaderVisitor)
    }
}

/// Reads the header's object; a name given twice is an error, not the last one's win.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Header, M::Error> {
        let mut header = Header::default();
        while let Some(key) = map.next_key::<String>()? {
            if key == METADATA {
                header.metadata = map.next_value()?;
                continue;
            }
            match header.tensors.entry(key) {
                MapEntry::Vacant(place) => {
                    place.insert(map.next_value()?);
                }
                MapEntry::Occupied(there) => {
                    return Err(M::Error::custom(format!("`{}` is there twice", there.key())));
                }
            }
        }
        Ok(header)
    }
}
