//! Small loops: sums, swaps, none carried, none stacked, no trips.

use mlc_diag::{Diagnostic, Span};

use super::{Port, Scan, ScanBody};
use crate::graph::{GraphBuilder, Prov, ValueId};
use crate::op::{Sample, SampleOperand};
use crate::types::{DType, Dim, Type};

type Built = Result<(), Diagnostic>;

/// A body whose ops fit by construction; one that does not has no samples, which a test reports.
fn sample(
    note: &str,
    (trips, each, carries): (usize, usize, usize),
    operands: Vec<SampleOperand>,
    build: impl FnOnce(&mut ScanBody) -> Built,
) -> Option<Sample> {
    let mut body = ScanBody::new("sample");
    build(&mut body).ok()?;
    let op = Scan { trips: Dim::from(trips), each, carries, body: body.finish() };
    Some(Sample::new(note, op, operands).error(8.0))
}

fn ends(b: &mut ScanBody, outputs: &[ValueId], carries: &[ValueId]) {
    outputs.iter().for_each(|&v| b.output(v, Span::NONE));
    carries.iter().for_each(|&v| b.carry(v, Span::NONE));
}

fn f32(shape: &[usize]) -> Type {
    Type::new(DType::F32, shape.iter().map(|&d| Dim::from(d)))
}

/// `c = c + x; c`
fn running_sum(b: &mut ScanBody, shape: &[usize]) -> Built {
    let c = b.port(Port::Carry(0), f32(shape), Prov::NONE);
    let x = b.port(Port::Each(0), f32(shape), Prov::NONE);
    let sum = GraphBuilder::new(&mut b.graph, Prov::NONE).add(c, x)?;
    ends(b, &[sum], &[sum]);
    Ok(())
}

/// `a, b = b, a @ w + trip; b`: a swap, a contraction, the trip and an invariant.
fn two_carries(b: &mut ScanBody) -> Built {
    let x = b.port(Port::Carry(0), f32(&[2, 3]), Prov::NONE);
    let y = b.port(Port::Carry(1), f32(&[2, 3]), Prov::NONE);
    let w = b.port(Port::Kept(0), f32(&[3, 3]), Prov::NONE);
    let trip = b.port(Port::Trip, Type::scalar(DType::I64), Prov::NONE);
    let mut g = GraphBuilder::new(&mut b.graph, Prov::NONE);
    let product = g.contract(x, w, vec![], vec![(1, 0)])?;
    let trip = g.cast(trip, DType::F32)?;
    let trip = g.broadcast(trip, f32(&[2, 3]).shape, vec![])?;
    let next = g.add(product, trip)?;
    ends(b, &[y], &[y, next]);
    Ok(())
}

/// `x * x`, and its sum: nothing carried, two outputs.
fn mapped(b: &mut ScanBody) -> Built {
    let x = b.port(Port::Each(0), f32(&[5]), Prov::NONE);
    let mut g = GraphBuilder::new(&mut b.graph, Prov::NONE);
    let square = g.mul(x, x)?;
    let sum = g.sum_all(square)?;
    ends(b, &[square, sum], &[]);
    Ok(())
}

/// `n = n + 1`, an integer, and nothing stacked.
fn counted(b: &mut ScanBody) -> Built {
    let n = b.port(Port::Carry(0), Type::scalar(DType::I64), Prov::NONE);
    let mut g = GraphBuilder::new(&mut b.graph, Prov::NONE);
    let one = g.scalar(DType::I64, 1.0)?;
    let next = g.add(n, one)?;
    ends(b, &[], &[next]);
    Ok(())
}

pub fn all() -> Vec<Sample> {
    let f = SampleOperand::f32;
    let cases = [
        sample("a running sum", (4, 1, 1), vec![f(&[4, 3]), f(&[3])], |b| running_sum(b, &[3])),
        sample("one trip", (1, 1, 1), vec![f(&[1, 300]), f(&[300])], |b| running_sum(b, &[300])),
        sample("no trips", (0, 1, 1), vec![f(&[0, 3]), f(&[3])], |b| running_sum(b, &[3])),
        sample("no elements", (3, 1, 1), vec![f(&[3, 0]), f(&[0])], |b| running_sum(b, &[0])),
        sample("carries that swap", (3, 0, 2), vec![f(&[2, 3]), f(&[2, 3]), f(&[3, 3])], two_carries),
        sample("nothing carried", (3, 1, 0), vec![f(&[3, 5])], mapped),
        sample("a counter", (7, 0, 1), vec![SampleOperand::index(&[], 5)], counted),
    ];
    cases.into_iter().flatten().collect()
}
