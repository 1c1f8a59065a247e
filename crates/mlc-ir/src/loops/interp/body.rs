//! Evaluation of expressions at a point, and of loop bodies: rows in order, one sweep of the columns for each
//! row reduction, one for the stores and tails.

use super::memory::{InterpError, Memory, Slot};
use super::scalar::{cast, eval_prim};
use super::trees::{Reducer, Runs};
use super::{for_each_point, quot, slot};
use crate::loops::body::{Analysis, Axis, ExprId, ExprOp, LoopBody, Space, Store, Tail, index_data};
use crate::loops::functions;
use crate::loops::index::{Atom, Index, Load};
use crate::loops::kernel::FaultRecord;
use crate::loops::scalar::Prim;

/// Expression values at one point of one body.
pub struct Eval<'a> {
    body: &'a LoopBody,
    slots: &'a [Slot],
    mem: &'a mut Memory,
    fault: &'a mut FaultRecord,
    /// Number of the first fault site of each expression, and one past the last.
    sites: Vec<u64>,
    values: Vec<u64>,
    point: Vec<i64>,
    accs: Vec<u64>,
    pub product: u64,
}

impl<'a> Eval<'a> {
    /// `first_site`: how many fault sites of the kernel precede this body.
    pub fn new(
        body: &'a LoopBody,
        first_site: u64,
        slots: &'a [Slot],
        mem: &'a mut Memory,
        fault: &'a mut FaultRecord,
    ) -> Eval<'a> {
        let mut sites = vec![first_site];
        for e in &body.exprs {
            let data = match &e.op {
                ExprOp::Load(load) => index_data(&load.index).len() as u64,
                _ => 0,
            };
            sites.push(sites[sites.len() - 1] + data);
        }
        Eval {
            values: vec![0; body.exprs.len()],
            point: vec![0; body.axes().count()],
            accs: vec![0; body.reds.len()],
            product: 0,
            body,
            slots,
            mem,
            fault,
            sites,
        }
    }

    /// The number of the first fault site after the expressions'.
    pub fn sites_end(&self) -> u64 {
        self.sites[self.sites.len() - 1]
    }

    /// Sets consecutive axes of the point from `first` on.
    pub fn set_point(&mut self, first: usize, at: &[i64]) {
        self.point[first..first + at.len()].copy_from_slice(at);
    }

    pub fn value(&self, e: ExprId) -> u64 {
        self.values[e.ix()]
    }

    pub fn mem(&mut self) -> &mut Memory {
        self.mem
    }

    /// Evaluates these expressions at the point, in order.
    pub fn run(&mut self, exprs: &[usize]) -> Result<(), InterpError> {
        for &i in exprs {
            self.values[i] = self.expr(i)?;
        }
        Ok(())
    }

    fn expr(&mut self, i: usize) -> Result<u64, InterpError> {
        let body = self.body;
        let e = &body.exprs[i];
        Ok(match &e.op {
            ExprOp::Load(load) => self.load(load, self.sites[i])?,
            ExprOp::Const(lit) => lit.bits,
            ExprOp::AxisValue(a) => self.point[a.ix()] as u64,
            ExprOp::Acc(r) => self.accs[r.ix()],
            ExprOp::Product => self.product,
            ExprOp::Prim(p, args) => {
                let mut v = [0; 3];
                for (v, a) in v.iter_mut().zip(args) {
                    *v = self.values[a.ix()];
                }
                let typed = if *p == Prim::Select { args[1] } else { args[0] };
                eval_prim(*p, body.exprs[typed.ix()].dtype, e.dtype, v)
            }
            ExprOp::Fn(f, args) => {
                let mut v = [0; 4];
                for (v, a) in v.iter_mut().zip(args) {
                    *v = self.values[a.ix()];
                }
                functions::eval(*f, e.dtype, &v[..args.len()])
            }
        })
    }

    fn load(&mut self, load: &Load, site: u64) -> Result<u64, InterpError> {
        if let Some(g) = load.guard
            && self.value(g) == 0
        {
            return Ok(load.other.bits);
        }
        let at = self.index(&load.index, site)?;
        self.mem.read(slot(self.slots, load.arg)?, at)
    }

    /// The value of an index at the point; `site` is the number of its first fault site.
    pub fn index(&mut self, index: &Index, site: u64) -> Result<i64, InterpError> {
        let mut site = site;
        self.index_from(index, &mut site)
    }

    fn index_from(&mut self, index: &Index, site: &mut u64) -> Result<i64, InterpError> {
        let mut sum = index.offset;
        for (coef, atom) in &index.terms {
            let v = match atom {
                Atom::Axis(a) => self.point[a.ix()],
                Atom::Quot { of, div, modulo } => quot(self.index_from(of, site)?, *div, *modulo),
                Atom::Data(e, bound) => {
                    let dtype = self.body.expr(*e).dtype;
                    let read = cast(dtype, crate::DType::I64, self.value(*e)) as i64;
                    let extent = bound.extent as i64;
                    let at = if bound.wrap && read < 0 { read.wrapping_add(extent) } else { read };
                    let inside = (0..extent).contains(&at);
                    if !inside && self.fault.site == 0 {
                        self.fault.site = *site + 1;
                        self.fault.value = read;
                    }
                    *site += 1;
                    at.clamp(0, (extent - 1).max(0))
                }
            };
            sum = sum.wrapping_add(coef.wrapping_mul(v));
        }
        Ok(sum)
    }
}

/// Which expressions each part of a body needs, in evaluation order.
struct Parts {
    /// Before the first row.
    uniform: Vec<usize>,
    /// For each stage, once a row.
    row: Vec<Vec<usize>>,
    /// For each reduction and then for stores and tails, once an element.
    sweep: Vec<Vec<usize>>,
}

fn parts(body: &LoopBody, an: &Analysis) -> Parts {
    let elem = |i: &usize| matches!(an.space[*i], Space::Elem | Space::ColOnly);
    let mut sweep: Vec<Vec<usize>> = Vec::new();
    let mut needed = vec![false; body.exprs.len()];
    for red in &body.reds {
        let set = closure(body, [red.value]);
        mark(&mut needed, &set);
        sweep.push(set.into_iter().filter(elem).collect());
    }
    let stores = body.stores.iter().flat_map(|s| {
        let data = index_data(&s.index);
        data.into_iter().chain(s.guard).chain([s.value])
    });
    let tails = body.tails.iter().flat_map(|t| index_data(t.index()).into_iter().chain([t.value()]));
    let last = closure(body, stores.chain(tails));
    mark(&mut needed, &last);
    sweep.push(last.into_iter().filter(elem).collect());
    let all = || (0..body.exprs.len()).filter(|&i| needed[i]);
    let row = (0..=body.reds.len() as u32)
        .map(|s| all().filter(|&i| an.space[i] == Space::Row && an.stage[i] == s).collect())
        .collect();
    Parts { uniform: all().filter(|&i| an.space[i] == Space::Uniform).collect(), row, sweep }
}

fn mark(needed: &mut [bool], set: &[usize]) {
    for &i in set {
        needed[i] = true;
    }
}

/// Everything that `roots` depend on, in order.
fn closure(body: &LoopBody, roots: impl IntoIterator<Item = ExprId>) -> Vec<usize> {
    let mut seen = vec![false; body.exprs.len()];
    let mut todo: Vec<ExprId> = roots.into_iter().collect();
    while let Some(e) = todo.pop() {
        if !std::mem::replace(&mut seen[e.ix()], true) {
            todo.extend(body.expr(e).operands());
        }
    }
    (0..seen.len()).filter(|&i| seen[i]).collect()
}

/// Runs a loop body.
pub fn run(
    body: &LoopBody,
    first_site: u64,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
) -> Result<(), InterpError> {
    run_with_products(body, first_site, slots, mem, fault, None)
}

/// Runs a loop body; `products` are a contraction's results in row-major order of the domain.
pub fn run_with_products(
    body: &LoopBody,
    first_site: u64,
    slots: &[Slot],
    mem: &mut Memory,
    fault: &mut FaultRecord,
    products: Option<&[u64]>,
) -> Result<(), InterpError> {
    let an = Analysis::of(body);
    let parts = parts(body, &an);
    let reducers = body.reds.iter().map(|r| reducer(r.op, r.acc)).collect::<Result<Vec<_>, _>>()?;
    let cols = extents(&body.cols);
    let n_cols: u64 = cols.iter().product();
    let mut tails = Vec::new();
    for t in &body.tails {
        let one = Runs::new(reducer(t.op(), t.acc())?);
        tails.push(vec![one; if matches!(t, Tail::Col { .. }) { n_cols as usize } else { 1 }]);
    }
    let once: Vec<bool> = body.stores.iter().map(|s| stored_once_a_row(body, s)).collect();
    let first_col = body.rows.len();
    let mut eval = Eval::new(body, first_site, slots, mem, fault);
    let mut store_sites = vec![eval.sites_end()];
    for s in &body.stores {
        store_sites.push(store_sites[store_sites.len() - 1] + index_data(&s.index).len() as u64);
    }
    let mut started = false;
    let mut row_number = 0usize;
    for_each_point(&extents(&body.rows), |row| {
        if !std::mem::replace(&mut started, true) {
            eval.run(&parts.uniform)?;
        }
        eval.set_point(0, row);
        for (i, red) in body.reds.iter().enumerate() {
            eval.run(&parts.row[i])?;
            let mut values = Vec::with_capacity(n_cols as usize);
            for_each_point(&cols, |col| {
                eval.set_point(first_col, col);
                eval.run(&parts.sweep[i])?;
                values.push(eval.value(red.value));
                Ok(())
            })?;
            eval.accs[i] = reducers[i].result(reducers[i].lanes(&values));
        }
        eval.run(&parts.row[body.reds.len()])?;
        let mut col_number = 0usize;
        for_each_point(&cols, |col| {
            eval.set_point(first_col, col);
            if let Some(products) = products {
                eval.product = products[row_number * n_cols as usize + col_number];
            }
            eval.run(&parts.sweep[body.reds.len()])?;
            for (i, s) in body.stores.iter().enumerate().filter(|(i, _)| !once[*i]) {
                store(&mut eval, s, store_sites[i])?;
            }
            for (t, runs) in body.tails.iter().zip(&mut tails).filter(|(t, _)| matches!(t, Tail::Col { .. }))
            {
                runs[col_number].push(eval.value(t.value()));
            }
            col_number += 1;
            Ok(())
        })?;
        for (i, s) in body.stores.iter().enumerate().filter(|(i, _)| once[*i]) {
            store(&mut eval, s, store_sites[i])?;
        }
        for (t, runs) in
            body.tails.iter().zip(&mut tails).filter(|(t, _)| matches!(t, Tail::RowScalar { .. }))
        {
            runs[0].push(eval.value(t.value()));
        }
        row_number += 1;
        Ok(())
    })?;
    let mut site = store_sites[store_sites.len() - 1];
    for (t, runs) in body.tails.iter().zip(tails) {
        let dest = slot(slots, t.out())?;
        let from = t.op().result(t.acc());
        let mut runs = runs.into_iter();
        let domain = if matches!(t, Tail::Col { .. }) { cols.clone() } else { Vec::new() };
        for_each_point(&domain, |col| {
            eval.set_point(first_col, col);
            let at = eval.index(t.index(), site)?;
            let v = runs.next().map_or(0, Runs::finish);
            eval.mem.write(dest, at, cast(from, dest.dtype, v))
        })?;
        site += index_data(t.index()).len() as u64;
    }
    Ok(())
}

fn reducer(op: crate::loops::RedOp, acc: crate::DType) -> Result<Reducer, InterpError> {
    Reducer::new(op, acc).ok_or_else(|| InterpError(format!("L8: {} does not reduce {acc}", op.name())))
}

fn extents(axes: &[Axis]) -> Vec<u64> {
    axes.iter().map(|a| a.extent).collect()
}

/// Whether neither the index nor the value of a store depends on a column.
fn stored_once_a_row(body: &LoopBody, s: &Store) -> bool {
    !uses_cols(body, &s.index) && !body.cols.is_empty()
}

pub(crate) fn uses_cols(body: &LoopBody, index: &Index) -> bool {
    let an = Analysis::of(body);
    matches!(an.index_space(body, index), Space::Elem | Space::ColOnly)
}

fn store(eval: &mut Eval<'_>, s: &Store, site: u64) -> Result<(), InterpError> {
    if let Some(g) = s.guard
        && eval.value(g) == 0
    {
        return Ok(());
    }
    let at = eval.index(&s.index, site)?;
    let value = eval.value(s.value);
    eval.mem.write(slot(eval.slots, s.arg)?, at, value)
}
