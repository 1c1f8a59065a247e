//! csv: a header line of column names, then rows of numbers.
//!
//! ```text
//! x, y, label
//! 0.5, 1e-3, 1
//! ```
//! Columns are picked by name and parsed as the dtype that the reader's caller declares. Fields may be
//! quoted; white space around them and a byte-order mark are skipped; every row is as long as the header.

use std::path::Path;
use std::str::FromStr;

use ::csv::{ByteRecord, ReaderBuilder, Trim};
use half::{bf16, f16};
use mlc_diag::Diagnostic;
use mlc_ir::DType;

use super::{Cache, error, read_bytes};
use crate::host::{AlignedBuf, Element, HostTensor, Number, bytes_of};

const FORMAT: &str = "csv";

/// The columns (all, where none is named) as `dtype[rows, columns]`.
pub fn read(path: &Path, cache: &Cache, columns: &[String], dtype: DType) -> Result<HostTensor, Diagnostic> {
    parse(&path.display().to_string(), &read_bytes(path, cache)?, columns, dtype)
}

pub(super) fn parse(
    name: &str,
    bytes: &[u8],
    columns: &[String],
    dtype: DType,
) -> Result<HostTensor, Diagnostic> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
    let header = reader.byte_headers().map_err(|e| malformed(name, text, &e))?.clone();
    let there: Vec<String> = header.iter().map(|h| String::from_utf8_lossy(h).into_owned()).collect();
    let picked = pick(name, columns, &there)?;
    let mut values: Vec<u8> = vec![];
    let mut rows = 0;
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|e| malformed(name, text, &e))? {
        rows += 1;
        for &column in &picked {
            let cell = record.get(column).unwrap_or_default();
            if !push(dtype, cell, &mut values) {
                let line = line_of(text, record.position());
                return Err(not_a_value(name, line, &there[column], cell, dtype));
            }
        }
    }
    let too_large = || error::too_large(&name, values.len());
    let data = AlignedBuf::copy_of(&values).ok_or_else(too_large)?.into();
    HostTensor::from_bytes(dtype, &[rows, picked.len()], data).map_err(|e| error::shape(&name, e))
}

fn pick(name: &str, columns: &[String], there: &[String]) -> Result<Vec<usize>, Diagnostic> {
    if columns.is_empty() {
        return Ok((0..there.len()).collect());
    }
    let find = |wanted: &String| {
        let mut found = there.iter().enumerate().filter(|(_, t)| *t == wanted);
        match (found.next(), found.next()) {
            (Some((i, _)), None) => Ok(i),
            (Some(_), Some(_)) => {
                Err(error::malformed(&name, FORMAT, format!("its header names the column `{wanted}` twice")))
            }
            (None, _) => Err(error::no_key(&name, "column", wanted, there)),
        }
    };
    columns.iter().map(find).collect()
}

/// Appends the cell's value in native bytes; returns whether it is one.
fn push(dtype: DType, cell: &[u8], out: &mut Vec<u8>) -> bool {
    fn number<T: Element + FromStr>(cell: &str, out: &mut Vec<u8>) -> bool {
        cell.parse::<T>().map(|x| out.extend_from_slice(bytes_of(&[x]))).is_ok()
    }
    fn rounded<T: Element>(cell: &str, out: &mut Vec<u8>, round: fn(f64) -> T) -> bool {
        cell.parse().map(|x| out.extend_from_slice(bytes_of(&[round(x)]))).is_ok()
    }
    let Ok(cell) = std::str::from_utf8(cell) else { return false };
    match dtype {
        DType::F64 => number::<f64>(cell, out),
        DType::F32 => number::<f32>(cell, out),
        DType::F16 => rounded(cell, out, |x| f16::from_number(Number::Float(x))),
        DType::BF16 => rounded(cell, out, |x| bf16::from_number(Number::Float(x))),
        DType::I64 => number::<i64>(cell, out),
        DType::I32 => number::<i32>(cell, out),
        DType::I16 => number::<i16>(cell, out),
        DType::I8 => number::<i8>(cell, out),
        DType::U8 => number::<u8>(cell, out),
        DType::U32 => number::<u32>(cell, out),
        DType::U64 => number::<u64>(cell, out),
        DType::Bool => match cell.to_ascii_lowercase().as_str() {
            "0" | "false" => number::<u8>("0", out),
            "1" | "true" => number::<u8>("1", out),
            _ => false,
        },
    }
}

fn not_a_value(name: &str, line: usize, column: &str, cell: &[u8], dtype: DType) -> Diagnostic {
    let shown: String = String::from_utf8_lossy(cell).chars().take(40).collect();
    let what = if cell.is_empty() { "an empty cell".to_string() } else { format!("`{shown}`") };
    Diagnostic::error(
        "E0710",
        format!("`{name}`, line {line}, column `{column}`: {what} is not a value of type {dtype}"),
    )
}

/// The line a record starts in. Its position is where the one before it ends: empty lines may follow.
fn line_of(text: &[u8], position: Option<&::csv::Position>) -> usize {
    let at = position.map_or(0, |p| p.byte() as usize).min(text.len());
    let empty = text[at..].iter().take_while(|b| matches!(b, b'\n' | b'\r')).count();
    1 + text[..at + empty].iter().filter(|b| **b == b'\n').count()
}

fn malformed(name: &str, text: &[u8], error: &::csv::Error) -> Diagnostic {
    match error.kind() {
        ::csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = line_of(text, pos.as_ref());
            let what = format!("line {line} has {len} fields, the header line has {expected_len}");
            error::malformed(&name, FORMAT, what)
        }
        _ => error::malformed(&name, FORMAT, error),
    }
}
