//! Contractions.

use super::{Args, Builtin};
use crate::build::fail::R;
use crate::build::interp::Interp;
use crate::build::value::Value;

pub const TABLE: &[Builtin] =
    &[Builtin { name: "matmul", params: "a b", run: matmul, doc: "The matrix product, a @ b." }];

fn matmul<'a>(cx: &mut Interp<'a>, args: Args<'a>) -> R<Value<'a>> {
    let (a, b) = (args.value("a")?.clone(), args.value("b")?.clone());
    cx.matmul(&a, &b, args.spans("a", "b"))
}
