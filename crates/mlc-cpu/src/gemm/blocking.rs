//! How a contraction is cut into tiles and which operand's elements are the lanes: by shape, strides and a table of
//! measured costs ([`super::cost`]), never by what the contraction is for.
//!
//! Lanes run along n, or, *swapped*, along m. What decides: lanes that lie contiguous in memory need no transposing;
//! few rows waste registers; a swapped product must be transposed if the output is not.

use std::fmt;

use super::cost::Costs;
use super::lanes::Element;
use super::micro::Micro;
use super::tile::{CHUNK, Reach, TileForm};

/// How elements of an operand are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Strides along m or n, and along k.
    Strided { own: i64, k: i64 },
    /// In runs of contiguous elements, along k or along m or n.
    Pieces { along_k: bool },
    /// Code writes them, contiguous along k or along m or n.
    Code { along_k: bool },
}

/// What is known of a contraction before it is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Problem {
    pub batch: u64,
    /// m, n, k.
    pub extents: [u64; 3],
    pub lhs: Access,
    pub rhs: Access,
    /// What a tile is estimated to take at least.
    pub grain_ns: u64,
    /// Whether the product is used along m, which then had best be the lanes.
    pub out_along_m: bool,
}

/// A contraction cut into tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocking {
    /// Lanes are along m, rows along n.
    pub swapped: bool,
    pub form: TileForm,
    /// Tiles of one product, along rows and along lanes.
    pub tiles: [u64; 2],
    /// Estimated time of everything on one thread.
    pub est_ns: u64,
}

/// A tile's share of the first-level cache's next: rows by a chunk.
const ROW_BYTES: usize = 264 << 10;
/// Most lanes of a tile.
const MAX_LANES: u64 = 256;
/// Tiles are not cut down to the grain where there are so many.
const ENOUGH_TILES: u64 = 16;
/// Rows that are read again for every panel stay in the second-level cache up to this.
const ROWS_KEPT: u64 = 128 << 10;
/// What is read so many times is worth packing where it lies badly.
const OFTEN: u64 = 4;
/// Operands up to this many bytes stay in a core's caches from one call to the next.
const NEAR: u64 = 1 << 20;
/// A phase more is worth that many tiles' least time.
const PHASES: f64 = 2.0;
/// Bytes of an operand that may be packed as a whole.
const MOST_PACKED: u64 = 32 << 20;
/// Pages that are reached without delay.
const PAGES_AT_HAND: u64 = 64;
/// Short runs take so many times as long to copy as long ones.
const PIECES: f64 = 2.0;
/// Lines of a first-level cache that share a set.
const WAYS: u64 = 8;

impl fmt::Display for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = &self.form;
        let (rows, lanes) = if self.swapped { ("n", "m") } else { ("m", "n") };
        let reach = |r: Reach| match r {
            Reach::InPlace => "in place",
            Reach::Panel if form.turned.is_some() => "transposed in registers",
            Reach::Panel => "packed by panels",
            Reach::Block => "packed in blocks",
            Reach::Whole => "packed before",
        };
        let [row_tiles, lane_tiles] = self.tiles;
        write!(f, "{row_tiles} x {lane_tiles} tiles of {} {rows} x {} {lanes}", form.rows, form.lanes)?;
        write!(f, ", rows {}, lanes {}", reach(form.row_reach), reach(form.lane_reach))?;
        write!(f, "{}", if form.panels_first { ", panel by panel" } else { "" })
    }
}

impl Problem {
    /// The cheaper of the two ways.
    pub fn blocking<T: Element>(&self, micro: &Micro<T>, costs: &Costs) -> Blocking {
        let [straight, swapped] =
            [false, true].map(|swapped| Cut { problem: self, micro, costs, swapped }.blocking());
        if swapped.est_ns < straight.est_ns { swapped } else { straight }
    }
}

/// One way to cut.
struct Cut<'a, T: 'static> {
    problem: &'a Problem,
    micro: &'a Micro<T>,
    costs: &'a Costs,
    swapped: bool,
}

impl<T: Element> Cut<'_, T> {
    fn blocking(&self) -> Blocking {
        let p = self.problem;
        let [m, n, k] = p.extents;
        let (rows, lanes) = if self.swapped { (n, m) } else { (m, n) };
        let wide = rows <= self.micro.wide.rows() as u64;
        let shape = if wide { self.micro.wide } else { self.micro.tall };
        let (group, width) = (shape.rows() as u64, shape.lanes as u64);
        let multiply = self.multiply(rows, lanes, wide).max(self.read());
        let wanted = (multiply as u64 / p.grain_ns.max(1)).clamp(1, ENOUGH_TILES).div_ceil(p.batch.max(1));
        let (panels, groups) = (lanes.div_ceil(width).max(1), rows.div_ceil(group).max(1));
        let most = (ROW_BYTES / (CHUNK * size_of::<T>())) as u64 / group * group;
        let (row_tiles, lane_tiles) = (rows.div_ceil(most), lanes.div_ceil(MAX_LANES));
        // More tiles, as long as each reads its rows and its panels often; then more still along lanes, as rows that
        // are read again cost less than panels that are packed again.
        let lane_tiles = lane_tiles.max(wanted.div_ceil(row_tiles).min(panels / (2 * OFTEN)));
        let row_tiles = row_tiles.max(wanted.div_ceil(lane_tiles).min(groups / (2 * OFTEN)));
        let lane_tiles = lane_tiles.max(wanted.div_ceil(row_tiles)).min(panels);
        let row_tiles = row_tiles.max(wanted.div_ceil(lane_tiles)).min(groups);
        let (row_tile, lane_tile) = (groups.div_ceil(row_tiles) * group, panels.div_ceil(lane_tiles) * width);
        let (row_tiles, lane_tiles) = (rows.div_ceil(row_tile).max(1), lanes.div_ceil(lane_tile).max(1));
        let [row_access, lane_access] = self.access();
        let row_reach = self.row_reach(rows, lane_tile / width);
        let row_reach = self.once(row_reach, row_access, rows, lane_tiles);
        let lane_reach = self.lane_reach(row_tile / group);
        let turned = self.turned(rows, lanes);
        let lane_reach =
            if turned.is_some() { lane_reach } else { self.once(lane_reach, lane_access, lanes, row_tiles) };
        let panels_first = row_reach == Reach::InPlace
            && lane_reach != Reach::Block
            && row_tile.min(rows) * k * size_of::<T>() as u64 <= ROWS_KEPT;
        let form = TileForm {
            turned,
            rows: row_tile as usize,
            lanes: lane_tile as usize,
            wide,
            row_reach,
            lane_reach,
            panels_first,
        };
        let times = |reach: Reach, tiles: u64| if reach == Reach::Whole { 1 } else { tiles };
        let [row_times, lane_times] = [times(row_reach, lane_tiles), times(lane_reach, row_tiles)];
        let bring = self.bring(form, rows * k * row_times, lanes * k * lane_times);
        let turn = if self.swapped != p.out_along_m { self.costs.transpose * (m * n) as f64 } else { 0.0 };
        let est = (multiply + p.batch as f64 * (bring + turn)).max(1.0);
        Blocking { swapped: self.swapped, form, tiles: [row_tiles, lane_tiles], est_ns: est as u64 }
    }

    fn access(&self) -> [Access; 2] {
        let p = self.problem;
        if self.swapped { [p.rhs, p.lhs] } else { [p.lhs, p.rhs] }
    }

    /// Time of all micro-kernels.
    fn multiply(&self, rows: u64, lanes: u64, wide: bool) -> f64 {
        let shape = if wide { self.micro.wide } else { self.micro.tall };
        let k = self.problem.extents[2];
        let step = |count: u64| self.costs.step(count, wide, size_of::<T>());
        let group = shape.rows() as u64;
        let last = if rows.is_multiple_of(group) { 0.0 } else { step(rows % group) };
        let steps = (rows / group) as f64 * step(group) + last;
        let panels = lanes.div_ceil(shape.lanes as u64);
        let calls = rows.div_ceil(group) * panels * k.div_ceil(CHUNK as u64);
        let one = panels as f64 * k as f64 * steps + calls as f64 * self.costs.call;
        one * self.problem.batch as f64
    }

    /// Time to read operands that no cache keeps, once: of a product with few rows that is all of it.
    fn read(&self) -> f64 {
        let p = self.problem;
        let [m, n, k] = p.extents;
        let far = |own: u64| {
            let elements = p.batch * own * k;
            if elements * size_of::<T>() as u64 > NEAR { elements } else { 0 }
        };
        self.costs.fetch * (far(m) + far(n)) as f64
    }

    /// How a tile of so many rows reaches them, which it reads once for each of its `panels`.
    fn row_reach(&self, rows: u64, panels: u64) -> Reach {
        match self.access()[0] {
            Access::Strided { own, k } if rows <= 1 || own == 1 || k == 1 => {
                // Along k, a row is a page of its own for many steps; across rows, each step is.
                let far = if k == 1 {
                    panels >= OFTEN && collides::<T>(own)
                } else {
                    panels >= 2 * OFTEN && self.scattered(k) || panels >= 2 && collides::<T>(k)
                };
                if rows > 1 && far { Reach::Block } else { Reach::InPlace }
            }
            _ => Reach::Block,
        }
    }

    /// How a tile reaches its lanes; it reads each panel for so many `groups` of rows.
    fn lane_reach(&self, groups: u64) -> Reach {
        match self.access()[1] {
            Access::Strided { own: 1, k } if groups >= OFTEN && self.scattered(k) => Reach::Block,
            Access::Strided { own: 1, .. } => Reach::InPlace,
            _ => Reach::Panel,
        }
    }

    /// Which micro-kernels transpose lanes on the way, if any do.
    fn turned(&self, rows: u64, lanes: u64) -> Option<usize> {
        let near = lanes * self.problem.extents[2] * size_of::<T>() as u64 <= NEAR;
        let along_k = matches!(self.access()[1], Access::Strided { k: 1, .. });
        Some(usize::from(near)).filter(|&i| along_k && rows <= self.micro.turned[i].len() as u64)
    }

    /// Whether what each of so many tiles would pack is packed once, by a phase of its own.
    fn once(&self, reach: Reach, access: Access, own: u64, tiles: u64) -> Reach {
        let p = self.problem;
        let elements = p.batch * own * p.extents[2];
        let saved = self.costs.fetch * (elements * (tiles - 1)) as f64;
        let memory = matches!(access, Access::Strided { .. });
        let fits = elements * size_of::<T>() as u64 <= MOST_PACKED;
        if reach != Reach::InPlace && memory && fits && saved >= PHASES * p.grain_ns as f64 {
            Reach::Whole
        } else {
            reach
        }
    }

    /// Whether steps of k lie on more pages than are at hand, or on too few sets of the first cache.
    fn scattered(&self, k: i64) -> bool {
        let steps = self.problem.extents[2].min(CHUNK as u64);
        let bytes = k.unsigned_abs() * size_of::<T>() as u64;
        bytes * steps > PAGES_AT_HAND * 4096 || steps > WAYS * sets(bytes)
    }

    /// Time to bring operands to the micro-kernels, given how many elements of each in all.
    fn bring(&self, form: TileForm, rows: u64, lanes: u64) -> f64 {
        let [row_access, lane_access] = self.access();
        let c = self.costs;
        let row = match (row_access, form.row_reach) {
            (Access::Code { .. }, _) => c.code,
            (Access::Pieces { .. }, _) => PIECES * c.copy,
            (_, Reach::InPlace) => 0.0,
            (Access::Strided { own, k }, _) => {
                if own == 1 || k == 1 {
                    c.copy
                } else {
                    c.gather
                }
            }
        };
        let lane = match (lane_access, form.lane_reach) {
            (Access::Code { along_k }, _) => c.code + if along_k { c.transpose } else { 0.0 },
            (Access::Pieces { along_k: true }, _) => c.transpose,
            (Access::Pieces { along_k: false }, _) => PIECES * c.copy,
            (_, Reach::InPlace) => 0.0,
            (Access::Strided { own: 1, .. }, _) => c.copy,
            (Access::Strided { k: 1, .. }, _) if form.turned.is_some() => 0.5 * c.transpose,
            (Access::Strided { k: 1, own }, _) => {
                if collides::<T>(own) {
                    2.0 * c.transpose
                } else {
                    c.transpose
                }
            }
            (Access::Strided { .. }, _) => c.gather,
        };
        rows as f64 * row + lanes as f64 * lane
    }
}

/// On how many sets of a first-level cache lines so many bytes apart fall.
fn sets(bytes: u64) -> u64 {
    const SETS: u64 = 64;
    if bytes < 64 { SETS } else { SETS >> (bytes / 64).trailing_zeros().min(SETS.trailing_zeros()) }
}

/// Whether rows so far apart fall on so few sets that a micro-kernel's evict each other.
fn collides<T>(stride: i64) -> bool {
    stride != 0 && sets(stride.unsigned_abs() * size_of::<T>() as u64) <= 2
}
