//! Faults that a device records: an index out of range.

use mlc_diag::{Diagnostic, Span};
use mlc_ir::loops::{FaultRecord, Plan};

/// An index that was out of range in the last run. The element was read from, or written to, the nearest valid
/// place instead, so the run's results are not to be used.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    pub kernel: String,
    pub arg: String,
    /// The index as it was.
    pub value: i64,
    /// Valid indices are `0..extent`; with `wraps`, also `-extent..0`.
    pub extent: u64,
    pub wraps: bool,
    /// Where the indexing stands in the source.
    pub span: Span,
}

/// A name that the lowering made up, which says nothing to who wrote the program.
fn is_temporary(name: &str) -> bool {
    name.strip_prefix('t').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

impl Fault {
    /// What the record says; `None` if it is clear.
    pub fn from_record(plan: &Plan, record: &FaultRecord) -> Option<Fault> {
        let site = record.site.checked_sub(1)?;
        let (program, call) = plan.program.call_numbered(record.call.checked_sub(1)?)?;
        let kernel = program.kernels.get(call.kernel.ix())?;
        let site = *kernel.fault_sites().get(site as usize)?;
        let own = kernel.prov.get(site.prov as usize).map_or(Span::NONE, |p| p.span);
        let arg = call.args.get(site.arg.ix()).and_then(|a| program.buffers.get(a.buffer.ix()));
        Some(Fault {
            kernel: kernel.name.to_string(),
            arg: arg.map_or_else(|| kernel.arg(site.arg).name.to_string(), |b| b.name.to_string()),
            value: record.value,
            extent: site.bound.extent,
            wraps: site.bound.wrap,
            span: if own.is_none() { call.prov.span } else { own },
        })
    }

    pub fn diagnostic(&self) -> Diagnostic {
        let Fault { value, extent, arg, .. } = self;
        let title = format!("index {value} is out of range for an axis of {extent} elements");
        let valid = if self.wraps {
            format!("valid indices run from -{extent} to {}", extent.saturating_sub(1))
        } else {
            format!("valid indices run from 0 to {}", extent.saturating_sub(1))
        };
        Diagnostic::error("E0801", title)
            .label(self.span, format!("this index was {value}"))
            .note(match is_temporary(arg) {
                true => valid,
                false => format!("{valid}; the tensor indexed is `{arg}`"),
            })
            .hint("check the labels or token ids in the data against the number of classes or the vocabulary")
    }
}
