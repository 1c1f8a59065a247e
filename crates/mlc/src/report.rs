//! What `mlc check` tells about a program.

use mlc_ir::program::StateKind;

use crate::Program;

/// A row of the parameter table.
#[derive(Debug, Clone, PartialEq)]
pub struct ParamRow {
    pub path: String,
    pub ty: String,
    pub elements: u64,
    pub bytes: u64,
    pub trained: bool,
}

/// Parameters and buffers, in checkpoint order.
pub fn params(program: &Program) -> Vec<ParamRow> {
    let states = program.ir().states.iter();
    let weights = states.filter(|s| matches!(s.kind, StateKind::Param | StateKind::Buffer));
    weights
        .map(|s| {
            let elements = s.ty.bound_shape().map_or(0, |d| d.iter().product::<usize>() as u64);
            ParamRow {
                path: s.path.to_string(),
                ty: s.ty.clone().on(None).to_string(),
                elements,
                bytes: elements * s.ty.dtype.size() as u64,
                trained: s.kind == StateKind::Param,
            }
        })
        .collect()
}
