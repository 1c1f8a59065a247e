//! What compiled code calls: the one table of names and addresses.
//!
//! Code holds no address of this process. It names a [`Symbol`], and whoever puts the code into memory
//! ([`crate::link`]) writes the address of this table where the code asks for it. So the same bytes run here, in
//! another process, and from a file; and a file can make code call nothing but what stands here.

use mlc_ir::DType;
use mlc_ir::loops::functions::FUNCTIONS;
use mlc_ir::loops::{Func, Prim, RedOp};

use crate::features::Level;
use crate::tile;

/// Something that code may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Symbol {
    /// A function on tiles; which code that is depends on the level. So it does for all but the last three.
    Tile(Func),
    /// Takes an array into another, element by element: [`tile::reduction`]'s first.
    Combine(RedOp),
    /// Folds lanes: its second.
    Fold(RedOp),
    /// Reduces a row: its third.
    Row(RedOp),
    /// Combines an array with one value: [`tile::by_value`].
    ByValue(Prim),
    /// The f32 of the bits of a small float, their bits, rounding, and primitives that round: [`tile::small`].
    Widen(DType),
    Narrow(DType),
    Round(DType),
    Rounded(Prim, DType),
    /// Draws random words: [`tile::random`].
    Random,
    /// Lets other threads see what was written past the caches: [`tile::fence`].
    Fence,
    /// Has memory brought into the cache: [`tile::prefetch`].
    Prefetch,
    /// A row of [`LIBRARY`].
    Library(usize),
}

impl Symbol {
    /// Every symbol there is. Their order is only used inside of one process.
    pub fn all() -> impl Iterator<Item = Symbol> {
        let tiles = FUNCTIONS.iter().map(|row| Symbol::Tile(row.func));
        let reductions =
            RedOp::ALL.into_iter().flat_map(|op| [Symbol::Combine(op), Symbol::Fold(op), Symbol::Row(op)]);
        let by_value = tile::BY_VALUE.into_iter().map(Symbol::ByValue);
        let small = [DType::F16, DType::BF16].into_iter().flat_map(|d| {
            let rounded = tile::BY_VALUE.into_iter().map(move |prim| Symbol::Rounded(prim, d));
            [Symbol::Widen(d), Symbol::Narrow(d), Symbol::Round(d)].into_iter().chain(rounded)
        });
        tiles
            .chain(reductions)
            .chain(by_value)
            .chain(small)
            .chain([Symbol::Random, Symbol::Fence, Symbol::Prefetch])
            .chain((0..LIBRARY.len()).map(Symbol::Library))
    }

    /// The name in object files.
    pub fn name(self) -> String {
        match self {
            Symbol::Tile(f) => format!("mlc_tile_{f}"),
            Symbol::Combine(op) => format!("mlc_combine_{}", op.name()),
            Symbol::Fold(op) => format!("mlc_fold_{}", op.name()),
            Symbol::Row(op) => format!("mlc_row_{}", op.name()),
            Symbol::ByValue(prim) => format!("mlc_by_value_{prim}"),
            Symbol::Widen(d) => format!("mlc_widen_{d}"),
            Symbol::Narrow(d) => format!("mlc_narrow_{d}"),
            Symbol::Round(d) => format!("mlc_round_{d}"),
            Symbol::Rounded(prim, d) => format!("mlc_rounded_{prim}_{d}"),
            Symbol::Random => "mlc_random".to_string(),
            Symbol::Fence => "mlc_fence".to_string(),
            Symbol::Prefetch => "mlc_prefetch".to_string(),
            Symbol::Library(row) => LIBRARY[row].name.to_string(),
        }
    }

    pub fn from_name(name: &str) -> Option<Symbol> {
        Symbol::all().find(|s| s.name() == name)
    }

    /// The number that stands for the symbol while a function is compiled.
    pub fn number(self) -> u32 {
        Symbol::all().position(|s| s == self).map_or(u32::MAX, |i| i as u32)
    }

    pub fn from_number(number: u32) -> Option<Symbol> {
        Symbol::all().nth(number as usize)
    }

    /// The address for code of a level; `None` where the level has no such function.
    pub fn address(self, level: Level) -> Option<usize> {
        match self {
            Symbol::Tile(f) => tile::code(f, level).map(|code| code as usize),
            Symbol::Combine(op) => tile::reduction(op, level).map(|code| code.combine as usize),
            Symbol::Fold(op) => tile::reduction(op, level).map(|code| code.fold as usize),
            Symbol::Row(op) => tile::reduction(op, level).map(|code| code.row as usize),
            Symbol::ByValue(prim) => tile::by_value(prim, level).map(|code| code as usize),
            Symbol::Widen(d) => tile::small(d, level).map(|code| code.widen as usize),
            Symbol::Narrow(d) => tile::small(d, level).map(|code| code.narrow as usize),
            Symbol::Round(d) => tile::small(d, level).map(|code| code.round as usize),
            Symbol::Rounded(prim, d) => {
                tile::small(d, level).and_then(|code| code.rounded(prim)).map(|code| code as usize)
            }
            Symbol::Random => tile::random(level).map(|code| code as usize),
            Symbol::Fence => Some(tile::fence as *const () as usize),
            Symbol::Prefetch => Some(tile::prefetch as *const () as usize),
            Symbol::Library(row) => Some((LIBRARY[row].address)()),
        }
    }
}

/// A function of this program.
struct Row {
    name: &'static str,
    address: fn() -> usize,
}

const fn row(name: &'static str, address: fn() -> usize) -> Row {
    Row { name, address }
}

/// What code for the baseline instruction set calls, by the names that the generator gives.
const LIBRARY: &[Row] = &[
    row("fmaf", || fma32 as *const () as usize),
    row("fma", || fma64 as *const () as usize),
    row("floorf", || floor32 as *const () as usize),
    row("floor", || floor64 as *const () as usize),
    row("nearbyintf", || rint32 as *const () as usize),
    row("nearbyint", || rint64 as *const () as usize),
];

extern "C" fn fma32(a: f32, b: f32, c: f32) -> f32 {
    a.mul_add(b, c)
}

extern "C" fn fma64(a: f64, b: f64, c: f64) -> f64 {
    a.mul_add(b, c)
}

extern "C" fn floor32(x: f32) -> f32 {
    x.floor()
}

extern "C" fn floor64(x: f64) -> f64 {
    x.floor()
}

extern "C" fn rint32(x: f32) -> f32 {
    x.round_ties_even()
}

extern "C" fn rint64(x: f64) -> f64 {
    x.round_ties_even()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_name_one_symbol_each() {
        for s in Symbol::all() {
            assert_eq!(Symbol::from_name(&s.name()), Some(s));
            assert_eq!(Symbol::from_number(s.number()), Some(s));
        }
        assert_eq!(Symbol::from_name("system"), None);
        assert_eq!(Symbol::from_number(u32::MAX), None);
    }
}
