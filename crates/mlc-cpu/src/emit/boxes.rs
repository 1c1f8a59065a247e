//! A body over a box of its domain that is given at run time: how contractions evaluate parts of operands and run
//! epilogues on parts of the product.

use cranelift::codegen::ir::{InstBuilder, MemFlagsData, types};
use mlc_ir::loops::Store;

use super::Emit;
use super::domain::{Bounds, Walk, store_roots};

impl Emit<'_, '_> {
    /// Emits the stores of a body without rows, reductions and tails for a box that is not empty. The last argument
    /// holds first and past-the-last position of every axis.
    pub fn boxed(&mut self) {
        let Some(&bounds) = self.ptrs.last() else { return };
        let needed = self.closure(self.final_roots());
        let flags = MemFlagsData::trusted();
        let limits: Vec<Bounds> = (0..self.body.cols.len())
            .map(|axis| {
                let at = 16 * axis as i32;
                let lo = self.b.ins().load(types::I64, flags, bounds, at);
                let hi = self.b.ins().load(types::I64, flags, bounds, at + 8);
                Bounds { axis, lo, hi }
            })
            .collect();
        self.emit_level(0, &needed, 0);
        self.box_axis(0, &limits, &needed);
    }

    /// The loops from axis `a` on, innermost the stores.
    fn box_axis(&mut self, a: usize, limits: &[Bounds], needed: &[bool]) {
        let body = self.body;
        let mut stores: Vec<(usize, &Store)> = body.stores.iter().enumerate().collect();
        let Some(&bounds) = limits.get(a) else { return self.store_all(&stores) };
        if a + 1 < limits.len() {
            let walk = Walk { bounds: Some(bounds), unroll: true, ..Walk::over(a..a + 1, needed) };
            return self.walk(&walk, &|e| e.box_axis(a + 1, limits, needed));
        }
        let vector = self.prefers_vector(needed);
        let small = self.take_small(&mut stores, vector);
        let (roots, direct) = (store_roots(&stores), self.all_direct(&stores));
        let walk = Walk {
            bounds: Some(bounds),
            vector,
            roots: &roots,
            direct: &direct,
            small: &small,
            unroll: true,
            ..Walk::over(a..a + 1, needed)
        };
        self.walk(&walk, &|e| e.store_all(&stores));
    }

    fn store_all(&mut self, stores: &[(usize, &Store)]) {
        for (i, s) in stores {
            let v = self.value(s.value);
            self.store(s.arg, &s.index, v, s.guard, self.sites.stores[*i]);
        }
    }
}
