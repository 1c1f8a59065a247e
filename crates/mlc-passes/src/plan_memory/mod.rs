//! Memory planning: a loop program to a plan in which every buffer has its bytes.
//!
//! Offsets are static, one arena for each device and purpose: states lie where the program's layout says,
//! constants, inputs and outputs one after another, temporaries packed by their lives, and one scratch arena
//! as large as the most that one call needs. The peak is the exact sum.
//!
//! **In place**: a temporary takes over the bytes of another where the kernel allows it (`may_alias`, rule
//! L10), this call is the last that touches the other and the first that touches the new one, and both are
//! equally long. A kernel that repeats a program needs its temporaries and scratch as scratch. States that a kernel reads and writes are in place because they are one buffer.

mod bodies;
mod offsets;
mod report;

use mlc_ir::Device;
use mlc_ir::loops::{
    Arena, ArenaId, ArenaKind, ArgId, BufferId, Call, CallId, Kernel, LoopProgram, Mode, Place, Plan, Role,
};
use mlc_ir::program::StateLayout;

pub use offsets::{Block, Packing, pack};
pub(crate) use report::kind_name;
pub use report::{Line, MemoryReport, Part};

use crate::Decision;

/// Multiples of this many bytes: a cache line, and more than any dtype.
const ALIGN: u64 = 64;

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
pub fn plan_memory(mut program: LoopProgram, layout: &StateLayout, scratch: Scratch<'_>) -> Planned {
    let lives = lives(&program);
    let mut blocks = Blocks::new(&program, &lives);
    let decisions = blocks.take_over(&mut program, &lives);
    let bodies = bodies::plan_bodies(&program, scratch);
    let need = |c: &Call| match bodies.get(&c.kernel) {
        Some(body) => body.working_memory().bytes,
        None => scratch(program.kernel_of(c)),
    };
    let needs: Vec<u64> = program.calls.iter().map(need).collect();
    let mut arenas = Arenas::default();
    let mut places = fixed_places(&program, &mut arenas, layout, &lives);
    let packings = blocks.place(&program, &mut arenas, &mut places, &lives);
    for (call, &bytes) in program.calls.iter().zip(&needs) {
        if let Some(device) = call.args.first().map(|s| program.buffer(s.buffer).device)
            && bytes > 0
        {
            let arena = arenas.of(device, ArenaKind::Scratch);
            let have = &mut arenas.list[arena.ix()].bytes;
            *have = (*have).max(bytes.next_multiple_of(ALIGN));
        }
    }
    let plan = Plan { program, arenas: arenas.list, places, scratch: needs, bodies };
    let memory = report::report(&plan, &packings);
    Planned { plan, memory, decisions }
}

/// For each buffer: the first and the last call that touch it.
type Lives = Vec<Option<(CallId, CallId)>>;

fn lives(program: &LoopProgram) -> Lives {
    let mut lives: Lives = vec![None; program.buffers.len()];
    for (i, call) in program.calls.iter().enumerate() {
        let id = CallId(i as u32);
        for slice in &call.args {
            let life = lives[slice.buffer.ix()].get_or_insert((id, id));
            life.1 = id;
        }
    }
    lives
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
        *end = end.saturating_add(bytes).next_multiple_of(ALIGN);
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
    fn new(program: &LoopProgram, lives: &Lives) -> Blocks {
        let mut blocks = Blocks { of: vec![None; program.buffers.len()], list: vec![] };
        for (i, (b, life)) in program.buffers.iter().zip(lives).enumerate() {
            if let (Role::Temp, Some((first, last))) = (b.role, life) {
                blocks.of[i] = Some(blocks.list.len());
                blocks.list.push((b.device, Block { bytes: b.bytes(), first: first.0, last: last.0 }));
            }
        }
        blocks
    }

    /// Lets results take over memory of arguments that die, and notes states that are updated in place.
    fn take_over(&mut self, program: &mut LoopProgram, lives: &Lives) -> Vec<Decision> {
        let mut decisions = vec![];
        for i in 0..program.calls.len() {
            let (call, id) = (&program.calls[i], CallId(i as u32));
            let mut donates = vec![];
            for (w, arg) in program.kernel_of(call).args.iter().enumerate() {
                let (Mode::Write, Some(r)) = (arg.mode, arg.may_alias) else { continue };
                let (Some(from), Some(to)) = (call.args.get(r.ix()), call.args.get(w)) else { continue };
                let pair = (from.buffer, to.buffer);
                if from == to || (dies_into(program, lives, id, pair) && self.merge(pair)) {
                    donates.push((r, ArgId(w as u32)));
                    if from != to {
                        decisions.push(in_place(program, id, pair));
                    }
                }
            }
            program.calls[i].donates = donates;
        }
        decisions
    }

    fn merge(&mut self, (from, to): (BufferId, BufferId)) -> bool {
        let (Some(a), Some(b)) = (self.of[from.ix()], self.of[to.ix()]) else { return false };
        let (kept, gone) = (self.list[a].1, self.list[b].1);
        if a == b || kept.bytes != gone.bytes {
            return false;
        }
        self.list[a].1.last = gone.last;
        self.list[b].1.bytes = 0;
        self.of[to.ix()] = Some(a);
        true
    }

    /// Packs the temporaries of each device.
    fn place(
        &self,
        program: &LoopProgram,
        arenas: &mut Arenas,
        places: &mut [Place],
        lives: &Lives,
    ) -> Vec<(Device, Packing)> {
        let mut devices: Vec<Device> = self.list.iter().map(|b| b.0).collect();
        devices.sort();
        devices.dedup();
        let mut packings = vec![];
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
                    places[i] = Place { arena, offset: offset_of[block], bytes: b.bytes(), live: lives[i] };
                }
            }
            packings.push((device, packing));
        }
        packings
    }
}

/// May `to` start where `from` ends, in this call?
fn dies_into(program: &LoopProgram, lives: &Lives, id: CallId, (from, to): (BufferId, BufferId)) -> bool {
    let temp = |b: BufferId| program.buffer(b).role == Role::Temp;
    let touched_once =
        |b: BufferId| program.calls[id.ix()].args.iter().filter(|s| s.buffer == b).count() == 1;
    temp(from)
        && temp(to)
        && program.buffer(from).device == program.buffer(to).device
        && lives[from.ix()].is_some_and(|(_, last)| last == id)
        && lives[to.ix()].is_some_and(|(first, _)| first == id)
        && touched_once(from)
        && touched_once(to)
}

fn in_place(program: &LoopProgram, id: CallId, (from, to): (BufferId, BufferId)) -> Decision {
    let call = &program.calls[id.ix()];
    let reason = format!("takes over {}, which nothing reads afterwards", program.buffer(from).name);
    Decision {
        pass: "plan_memory",
        subject: program.buffer(to).name.to_string(),
        verdict: "in place",
        reason,
        spans: if call.prov.span.is_none() { vec![] } else { vec![call.prov.span] },
    }
}
