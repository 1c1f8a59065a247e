//! Memory planning: a loop program to a plan in which every buffer has its bytes.
//!
//! Offsets are static, one arena for each device and purpose: states lie where the program's layout says,
//! constants, inputs and outputs one after another, temporaries packed by their lives, and one scratch arena
//! as large as the most that one call needs. The peak is the exact sum, and a session allocates exactly it.
//!
//! **In place**: a temporary takes over the bytes of another where the kernel allows it (`may_alias`, rule
//! L10), this call is the last that touches the other and the first that touches the new one, and both are
//! equally long. States that a kernel reads and writes are in place because they are one buffer. A kernel that
//! repeats a program needs that program's temporaries and scratch as scratch.

mod blockers;
mod bodies;
mod lives;
mod offsets;
mod report;

use mlc_ir::Device;
use mlc_ir::loops::{Arena, ArenaId, ArenaKind, Call, CallId, Kernel, LoopProgram, Place, Plan, Role};
use mlc_ir::program::StateLayout;

pub use blockers::{Blocker, blockers};
pub use lives::{Donation, Lives, donations, lives, spans};
use offsets::round_up;
pub use offsets::{Block, Packing, pack};
pub(crate) use report::grouped;
pub use report::{Alive, AliveRow, MemoryReport, Part, TempPeak, kind_name};

use crate::Decision;

/// Multiples of this many bytes: a cache line, and more than any dtype.
pub const ALIGN: u64 = 64;

/// What a call needs besides its arguments; the back end knows.
pub type Scratch<'a> = &'a dyn Fn(&Kernel) -> u64;

/// A plan, its figures, and what was decided.
#[derive(Debug, Clone)]
pub struct Planned {
    pub plan: Plan,
    pub memory: MemoryReport,
    pub decisions: Vec<Decision>,
}

/// Plans a program whose calls are in their final order.
pub fn plan_memory(program: LoopProgram, layout: &StateLayout, scratch: Scratch<'_>) -> Planned {
    plan_memory_spaced(program, layout, scratch, 0)
}

/// [`plan_memory`] with `gap` unused bytes behind every temporary: red zones, in which tests find what kernels
/// write beyond their arguments.
pub fn plan_memory_spaced(
    mut program: LoopProgram,
    layout: &StateLayout,
    scratch: Scratch<'_>,
    gap: u64,
) -> Planned {
    let lives = lives(&program);
    let donations = donations(&program, &lives);
    let decisions = donations.iter().filter_map(|d| in_place(&program, d)).collect();
    for d in &donations {
        program.calls[d.call.ix()].donates.push(d.args);
    }
    let bodies = bodies::plan_bodies(&program, scratch);
    let need = |c: &Call| match bodies.get(&c.kernel) {
        Some(body) => body.working_memory().bytes,
        None => scratch(program.kernel_of(c)),
    };
    let needs: Vec<u64> = program.calls.iter().map(need).collect();
    let mut arenas = Arenas::default();
    let mut places = fixed_places(&program, &mut arenas, layout, &lives);
    Blocks::new(&program, &lives, &donations, gap).place(&program, &mut arenas, &mut places);
    for (call, &bytes) in program.calls.iter().zip(&needs) {
        if let Some(device) = call.args.first().map(|s| program.buffer(s.buffer).device)
            && bytes > 0
        {
            let arena = arenas.of(device, ArenaKind::Scratch);
            let have = &mut arenas.list[arena.ix()].bytes;
            *have = (*have).max(round_up(bytes, ALIGN));
        }
    }
    let spans = spans(&program, &lives, &donations);
    let plan = Plan { program, arenas: arenas.list, places, scratch: needs, bodies };
    let memory = report::report(&plan, &spans);
    Planned { plan, memory, decisions }
}

/// The most bytes of temporaries alive at once, all devices together, if the calls run in their order: what a
/// plan needs at least.
pub fn live_peak(program: &LoopProgram) -> u64 {
    let lives = lives(program);
    let spans = spans(program, &lives, &donations(program, &lives));
    profile(program, &spans, None).into_iter().max().unwrap_or(0)
}

/// For each call: the bytes of temporaries that are alive in it, on one device or on all.
pub fn profile(program: &LoopProgram, spans: &Lives, device: Option<Device>) -> Vec<u64> {
    let mut change = vec![0i128; program.calls.len() + 1];
    for (b, span) in program.buffers.iter().zip(spans) {
        if let Some((first, last)) = span
            && device.is_none_or(|d| d == b.device)
        {
            let bytes = i128::from(round_up(b.bytes(), ALIGN));
            change[first.ix()] += bytes;
            change[last.ix() + 1] -= bytes;
        }
    }
    let mut live = 0;
    let each = change.iter().take(program.calls.len());
    each.map(|c| {
        live += c;
        u64::try_from(live).unwrap_or(u64::MAX)
    })
    .collect()
}

#[derive(Default)]
struct Arenas {
    list: Vec<Arena>,
}

impl Arenas {
    fn of(&mut self, device: Device, kind: ArenaKind) -> ArenaId {
        let known = self.list.iter().position(|a| (a.device, a.kind) == (device, kind));
        let at = known.unwrap_or_else(|| {
            self.list.push(Arena { device, kind, bytes: 0, align: ALIGN as u32 });
            self.list.len() - 1
        });
        ArenaId(at as u32)
    }

    /// Room at the end of an arena.
    fn append(&mut self, arena: ArenaId, bytes: u64) -> u64 {
        let end = &mut self.list[arena.ix()].bytes;
        let offset = *end;
        *end = round_up(end.saturating_add(bytes), ALIGN);
        offset
    }
}

/// Places of everything but temporaries, which get a placeholder.
fn fixed_places(
    program: &LoopProgram,
    arenas: &mut Arenas,
    layout: &StateLayout,
    lives: &Lives,
) -> Vec<Place> {
    let mut places = vec![];
    // All plans of a model have the same state arenas, whichever states they touch.
    for device in layout.devices() {
        let arena = arenas.of(device, ArenaKind::State);
        arenas.list[arena.ix()].bytes = layout.bytes(device);
    }
    for (b, life) in program.buffers.iter().zip(lives) {
        let bytes = b.bytes();
        let (kind, live) = match b.role {
            Role::Input | Role::Output => (ArenaKind::Io, None),
            Role::State(_) => (ArenaKind::State, None),
            Role::Const(_) => (ArenaKind::Const, life.map(|_| (CallId(0), last_call(program)))),
            Role::Temp => (ArenaKind::Temp, *life),
        };
        let arena = arenas.of(b.device, kind);
        let offset = match b.role {
            Role::State(id) => layout.get(id).map_or(0, |s| s.offset),
            Role::Temp => 0,
            _ => arenas.append(arena, bytes),
        };
        places.push(Place { arena, offset, bytes, live });
    }
    places
}

fn last_call(program: &LoopProgram) -> CallId {
    CallId(program.calls.len().saturating_sub(1) as u32)
}

/// Temporaries joined into blocks of memory that are handed on in place.
struct Blocks {
    /// For each buffer, its block.
    of: Vec<Option<usize>>,
    list: Vec<(Device, Block)>,
}

impl Blocks {
    /// Donations come in the order of their calls: a block is handed on before it is handed on again.
    fn new(program: &LoopProgram, lives: &Lives, donations: &[Donation], gap: u64) -> Blocks {
        let mut blocks = Blocks { of: vec![None; program.buffers.len()], list: vec![] };
        for (i, (b, life)) in program.buffers.iter().zip(lives).enumerate() {
            if let (Role::Temp, Some((first, last))) = (b.role, life) {
                blocks.of[i] = Some(blocks.list.len());
                let bytes = b.bytes().saturating_add(gap);
                blocks.list.push((b.device, Block { bytes, first: first.0, last: last.0 }));
            }
        }
        for d in donations.iter().filter(|d| d.from != d.to) {
            if let (Some(a), Some(b)) = (blocks.of[d.from.ix()], blocks.of[d.to.ix()]) {
                blocks.list[a].1.last = blocks.list[b].1.last;
                blocks.list[b].1.bytes = 0;
                blocks.of[d.to.ix()] = Some(a);
            }
        }
        blocks
    }

    /// Packs the temporaries of each device.
    fn place(&self, program: &LoopProgram, arenas: &mut Arenas, places: &mut [Place]) {
        let mut devices: Vec<Device> = self.list.iter().map(|b| b.0).collect();
        devices.sort();
        devices.dedup();
        for device in devices {
            let here: Vec<usize> = (0..self.list.len()).filter(|&i| self.list[i].0 == device).collect();
            let blocks: Vec<Block> = here.iter().map(|&i| self.list[i].1).collect();
            let packing = pack(&blocks, ALIGN);
            let mut offset_of = vec![0; self.list.len()];
            for (&i, &offset) in here.iter().zip(&packing.offsets) {
                offset_of[i] = offset;
            }
            let arena = arenas.of(device, ArenaKind::Temp);
            arenas.list[arena.ix()].bytes = packing.peak;
            for (i, b) in program.buffers.iter().enumerate() {
                if let (Some(block), true) = (self.of[i], b.device == device) {
                    (places[i].arena, places[i].offset) = (arena, offset_of[block]);
                }
            }
        }
    }
}

fn in_place(program: &LoopProgram, d: &Donation) -> Option<Decision> {
    if d.from == d.to {
        return None;
    }
    let span = program.calls[d.call.ix()].prov.span;
    let reason = format!("takes over {}, which nothing reads afterwards", program.buffer(d.from).name);
    Some(Decision {
        pass: "plan_memory",
        subject: program.buffer(d.to).name.to_string(),
        verdict: "in place",
        reason,
        spans: if span.is_none() { vec![] } else { vec![span] },
    })
}
