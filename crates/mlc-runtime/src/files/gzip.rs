//! Unpacking gzip: to a length known from the data's own header where there is one, with every
//! checksum verified, and without trusting a claim that the packed bytes cannot back.

use std::fmt::Display;
use std::io::{ErrorKind, Read};

use flate2::bufread::MultiGzDecoder;
use mlc_diag::Diagnostic;

use super::error;
use super::open::PREFIX;
use crate::host::AlignedBuf;

/// Deflate makes at most this many bytes out of one.
pub(super) const MAX_RATIO: u64 = 1032;

pub(super) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

/// All bytes of a gzip stream (of one or several members).
pub(super) fn unpack(
    name: &dyn Display,
    packed: &[u8],
    plan: impl Fn(&[u8]) -> Result<Option<u64>, Diagnostic>,
) -> Result<AlignedBuf, Diagnostic> {
    let corrupt = |e| corrupt(name, &e);
    let mut decoder = MultiGzDecoder::new(packed);
    let mut prefix = vec![0; PREFIX];
    let got = fill(&mut decoder, &mut prefix).map_err(corrupt)?;
    prefix.truncate(got);
    let most = (packed.len() as u64).saturating_mul(MAX_RATIO);
    match plan(&prefix)? {
        Some(expected) if expected > most => Err(error::truncated(name, "gzip", expected, most)
            .note(format!("{} compressed bytes cannot hold more than {most}", packed.len()))),
        Some(expected) => unpack_exact(name, decoder, &prefix, expected),
        None => unpack_all(name, decoder, &prefix).map_err(|e| e.unwrap_or_else(corrupt)),
    }
}

fn unpack_exact(
    name: &dyn Display,
    mut decoder: impl Read,
    prefix: &[u8],
    expected: u64,
) -> Result<AlignedBuf, Diagnostic> {
    let too_large = || error::too_large(name, expected);
    let len = usize::try_from(expected).map_err(|_| too_large())?;
    if prefix.len() > len {
        return Err(error::trailing(name, "gzip", expected, None));
    }
    let mut out = AlignedBuf::zeroed(len).ok_or_else(too_large)?;
    out[..prefix.len()].copy_from_slice(prefix);
    let got = prefix.len() + fill(&mut decoder, &mut out[prefix.len()..]).map_err(|e| corrupt(name, &e))?;
    if got < len {
        return Err(error::truncated(name, "gzip", expected, got as u64));
    }
    // Reading on to the end is what verifies the checksum.
    match fill(&mut decoder, &mut [0]).map_err(|e| corrupt(name, &e))? {
        0 => Ok(out),
        _ => Err(error::trailing(name, "gzip", expected, None)),
    }
}

/// Grows with the data that is really there. The error is `Err` for one of reading.
fn unpack_all(
    name: &dyn Display,
    mut decoder: impl Read,
    prefix: &[u8],
) -> Result<AlignedBuf, Result<Diagnostic, std::io::Error>> {
    let too_large = |len: usize| Ok(error::too_large(name, format!("more than {len}")));
    let mut out = AlignedBuf::zeroed(2 * PREFIX).ok_or_else(|| too_large(prefix.len()))?;
    out[..prefix.len()].copy_from_slice(prefix);
    let mut len = prefix.len();
    loop {
        len += fill(&mut decoder, &mut out[len..]).map_err(Err)?;
        let ended = len < out.len();
        if !out.resize(if ended { len } else { len + len / 2 }) {
            return Err(too_large(len));
        }
        if ended {
            return Ok(out);
        }
    }
}

/// Reads until `out` is full or the stream ends; returns how much.
fn fill(reader: &mut impl Read, out: &mut [u8]) -> std::io::Result<usize> {
    let mut len = 0;
    while len < out.len() {
        match reader.read(&mut out[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}

fn corrupt(name: &dyn Display, error: &std::io::Error) -> Diagnostic {
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => "it ends early".to_string(),
        _ => error.to_string(),
    };
    error::malformed(name, "gzip", what).hint("the file is damaged; fetch or write it again")
}
