//! The file of an artifact: a fixed header, a head, and three sections.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | magic |
//! | 8..12 | format version |
//! | 12..16 | length of the head |
//! | 16..24 | length of the file |
//! | 24..56 | BLAKE3 of all other bytes |
//! | 56..64 | zero |
//! | 64.. | the head ([`Head`] in postcard's encoding), then the sections, each from a multiple of 64 |
//!
//! Numbers are little endian. Magic and version keep their places in all versions to come.

use std::io::{self, Write};
use std::ops::Range;

use mlc_cpu::{CpuFeatures, Level};
use mlc_diag::Diagnostic;
use mlc_runtime::host::Bytes;
use serde::{Deserialize, Serialize};

/// Of artifacts' names.
pub const EXTENSION: &str = "mlgx";

/// No text begins so, and what changes line ends or cuts off the eighth bit destroys it.
const MAGIC: [u8; 8] = *b"\x8fmlgx\r\n\x1a";
const FORMAT: u32 = 1;
const HEADER: usize = 64;
const CHECKSUM: Range<usize> = 24..56;
const ALIGN: usize = 64;

/// The build of mlc that writes and reads artifacts of its own only.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("MLC_SOURCES"));
const TARGET: &str = env!("MLC_TARGET");
/// The kind of device that artifacts are for, so far.
const DEVICE: &str = "cpu";

/// What decides whether an artifact can be used here.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub build: String,
    pub target: String,
    pub device: String,
    /// The level of the CPU's instruction sets that the code needs.
    pub level: String,
    /// The command that makes the artifact again.
    pub rebuild: String,
    /// Bytes of each section: manifest, object, weights.
    pub sections: [u64; 3],
}

/// A file taken apart.
pub struct Container {
    pub head: Head,
    pub features: CpuFeatures,
    pub manifest: Bytes,
    pub object: Bytes,
    /// Empty: none.
    pub weights: Bytes,
}

impl Head {
    pub fn new(features: CpuFeatures, rebuild: String) -> Head {
        Head {
            build: BUILD.into(),
            target: TARGET.into(),
            device: DEVICE.into(),
            level: features.level.name().into(),
            rebuild,
            sections: [0; 3],
        }
    }
}

/// Does a file begin as artifacts do?
pub fn is_artifact(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Writes a file; returns its length.
pub fn write(out: &mut impl Write, mut head: Head, sections: [&[u8]; 3]) -> io::Result<u64> {
    head.sections = sections.map(|s| s.len() as u64);
    let encoded = postcard::to_allocvec(&head).map_err(io::Error::other)?;
    let zeros = [0; ALIGN];
    let padding = |len: usize| &zeros[..len.next_multiple_of(ALIGN) - len];
    let parts = [&encoded[..], sections[0], sections[1], sections[2]];
    let len = HEADER + parts.iter().map(|p| p.len().next_multiple_of(ALIGN)).sum::<usize>();
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[12..16].copy_from_slice(&(encoded.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&(len as u64).to_le_bytes());
    let mut hash = blake3::Hasher::new();
    hash.update(&header[..CHECKSUM.start]).update(&header[CHECKSUM.end..]);
    parts.iter().for_each(|p| {
        hash.update(p).update(padding(p.len()));
    });
    header[CHECKSUM].copy_from_slice(hash.finalize().as_bytes());
    out.write_all(&header)?;
    for p in parts {
        out.write_all(p)?;
        out.write_all(padding(p.len()))?;
    }
    Ok(len as u64)
}

/// Takes a file apart, once it is sure that it is whole and made for here. Errors call it `name`.
pub fn read(name: &str, bytes: &Bytes) -> Result<Container, Diagnostic> {
    if !is_artifact(bytes) {
        return Err(other_file(name, bytes));
    }
    let format = bytes.get(8..12).map(number).ok_or_else(|| truncated(name, bytes, HEADER as u64))?;
    if format != u64::from(FORMAT) {
        let d = Diagnostic::error("E0742", format!("`{name}` is an artifact of format {format}"));
        return Err(again(d.note(format!("this build of mlc reads format {FORMAT}")), None));
    }
    let header = bytes.get(..HEADER).ok_or_else(|| truncated(name, bytes, HEADER as u64))?;
    let len = number(&header[16..24]);
    if len > bytes.len() as u64 {
        return Err(truncated(name, bytes, len));
    }
    if len < bytes.len() as u64 {
        let what = format!("it has {} bytes, its header says {len}", bytes.len());
        return Err(damaged(name, &what));
    }
    let mut hash = blake3::Hasher::new();
    hash.update(&header[..CHECKSUM.start]).update(&bytes[CHECKSUM.end..]);
    let found = hash.finalize();
    if found.as_bytes()[..] != header[CHECKSUM] {
        let said = blake3::Hash::from_slice(&header[CHECKSUM]).map(|h| h.to_hex()).unwrap_or_default();
        let what = format!("its checksum is {:.16}, its header says {said:.16}", found.to_hex());
        return Err(damaged(name, &what));
    }
    parts(name, bytes, number(&header[12..16]) as usize)
}

fn parts(name: &str, bytes: &Bytes, encoded: usize) -> Result<Container, Diagnostic> {
    let lost = || damaged(name, "its sections are not where the header says");
    let mut at = HEADER;
    let mut take = |len: u64| -> Option<Bytes> {
        let end = at.checked_add(usize::try_from(len).ok()?)?;
        let part = bytes.slice(at..end)?;
        at = end.checked_next_multiple_of(ALIGN)?;
        Some(part)
    };
    let encoded = take(encoded as u64).ok_or_else(lost)?;
    let head: Head = postcard::from_bytes(&encoded).map_err(|e| damaged(name, &format!("its head: {e}")))?;
    let features = usable(name, &head)?;
    let [manifest, object, weights] = head.sections.map(&mut take);
    let (Some(manifest), Some(object), Some(weights)) = (manifest, object, weights) else {
        return Err(lost());
    };
    Ok(Container { head, features, manifest, object, weights })
}

/// Can this build on this machine use it?
fn usable(name: &str, head: &Head) -> Result<CpuFeatures, Diagnostic> {
    let foreign = |code, title: String, found: &str, want: &str| {
        let d = Diagnostic::error(code, format!("`{name}` {title}"));
        again(d.note(format!("the artifact: {found}; here: {want}")), Some(head))
    };
    if head.build != BUILD {
        let title = "was made by another build of mlc".to_string();
        return Err(foreign("E0742", title, &head.build, BUILD));
    }
    if head.device != DEVICE {
        return Err(foreign("E0743", format!("is for {}", head.device), &head.device, DEVICE));
    }
    if head.target != TARGET {
        return Err(foreign("E0743", "is for another kind of machine".into(), &head.target, TARGET));
    }
    let here = CpuFeatures::from_env().map_err(|e| Diagnostic::error("E0804", e))?;
    let level = Level::from_name(&head.level).filter(|l| *l <= here.level);
    level.map(|level| CpuFeatures { level }).ok_or_else(|| {
        foreign("E0743", "needs instructions that are not here".into(), &head.level, here.level.name())
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |n, &b| n << 8 | u64::from(b))
}

/// Not an artifact: says what it looks like.
fn other_file(name: &str, bytes: &[u8]) -> Diagnostic {
    if !bytes.is_empty() && MAGIC.starts_with(bytes) {
        return truncated(name, bytes, HEADER as u64);
    }
    let d = Diagnostic::error("E0740", format!("`{name}` is not an artifact of mlc"));
    let start = &bytes[..bytes.len().min(24)];
    let d = match std::str::from_utf8(start) {
        _ if start.is_empty() => d.note("it is empty"),
        Ok(text) if text.chars().all(|c| !c.is_control() || c.is_whitespace()) => {
            d.note(format!("it begins with the text {text:?}"))
        }
        _ => d.note(format!("it begins with the bytes {start:02x?}")),
    };
    d.hint("give the file that `mlc compile FILE.mlg --target cpu -o FILE.mlgx` writes")
}

fn truncated(name: &str, bytes: &[u8], want: u64) -> Diagnostic {
    let title = format!("`{name}` is cut off: it has {} bytes of at least {want}", bytes.len());
    again(Diagnostic::error("E0741", title), None)
}

/// A file that is not as it was written.
pub fn damaged(name: &str, what: &str) -> Diagnostic {
    again(Diagnostic::error("E0741", format!("`{name}` is damaged")).note(what.to_string()), None)
}

/// How to get a good one.
fn again(d: Diagnostic, head: Option<&Head>) -> Diagnostic {
    match head {
        Some(head) => d.hint(format!("make it again here: `{}`", head.rebuild)),
        None => d.hint("copy it again, or make it again: `mlc compile FILE.mlg --target cpu -o FILE.mlgx`"),
    }
}
