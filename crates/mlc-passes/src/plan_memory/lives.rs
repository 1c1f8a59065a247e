//! When temporaries are alive, and which take over the bytes of another.
//!
//! A life is the calls from the first to the last that touch a buffer, both inclusive. A *donation* hands a
//! dying temporary's bytes to a new one within one call; the call then needs them once. [`spans`] are lives
//! with that taken into account: at each call, the sum of the bytes of the spans that hold it is exactly what
//! is alive.

use mlc_ir::loops::{ArgId, BufferId, CallId, LoopProgram, Mode, Role};
use mlc_ir::mutate::{Mutation, on};

/// For each buffer: the first and the last call that touch it.
pub type Lives = Vec<Option<(CallId, CallId)>>;

pub fn lives(program: &LoopProgram) -> Lives {
    let mut lives: Lives = vec![None; program.buffers.len()];
    for (i, call) in program.calls.iter().enumerate() {
        let id = CallId(i as u32);
        for slice in &call.args {
            let life = lives[slice.buffer.ix()].get_or_insert((id, id));
            life.1 = id;
        }
    }
    if on(Mutation::ShortLife) {
        let temps = lives.iter_mut().zip(&program.buffers).filter(|(_, b)| b.role == Role::Temp);
        temps.filter_map(|t| t.0.as_mut()).for_each(|l| l.1.0 = (l.1.0.max(l.0.0 + 1)) - 1);
    }
    lives
}

/// In this call `to`, which it writes first, takes over the bytes of `from`, which it reads last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Donation {
    pub call: CallId,
    /// The kernel's arguments, read and written.
    pub args: (ArgId, ArgId),
    pub from: BufferId,
    pub to: BufferId,
}

/// All that the kernels allow (L10) and the lives permit. A state that is updated in place donates to itself.
pub fn donations(program: &LoopProgram, lives: &Lives) -> Vec<Donation> {
    let mut found = vec![];
    for (i, call) in program.calls.iter().enumerate() {
        let of_call = found.len();
        for (w, arg) in program.kernel_of(call).args.iter().enumerate() {
            let (Mode::Write, Some(r)) = (arg.mode, arg.may_alias) else { continue };
            let (Some(from), Some(to)) = (call.args.get(r.ix()), call.args.get(w)) else { continue };
            let d = Donation {
                call: CallId(i as u32),
                args: (r, ArgId(w as u32)),
                from: from.buffer,
                to: to.buffer,
            };
            // One value dies into one other, even where a kernel could write either over it.
            let taken = found[of_call..].iter().any(|o: &Donation| o.from == d.from);
            if from == to || (!taken && dies_into(program, lives, &d)) {
                found.push(d);
            }
        }
    }
    found
}

fn dies_into(program: &LoopProgram, lives: &Lives, d: &Donation) -> bool {
    let (from, to) = (program.buffer(d.from), program.buffer(d.to));
    let touched_once =
        |b: BufferId| program.calls[d.call.ix()].args.iter().filter(|s| s.buffer == b).count() == 1;
    from.role == Role::Temp
        && to.role == Role::Temp
        && from.device == to.device
        && from.bytes() == to.bytes()
        && lives[d.from.ix()]
            .is_some_and(|(first, last)| first < d.call && (last == d.call || on(Mutation::EarlyDonation)))
        && lives[d.to.ix()].is_some_and(|(first, _)| first == d.call)
        && touched_once(d.from)
        && touched_once(d.to)
}

/// For each temporary: the calls in which it occupies bytes that no other is counted for.
pub fn spans(program: &LoopProgram, lives: &Lives, donations: &[Donation]) -> Lives {
    let mut spans: Lives =
        (program.buffers.iter().zip(lives)).map(|(b, life)| life.filter(|_| b.role == Role::Temp)).collect();
    for d in donations.iter().filter(|d| d.from != d.to) {
        if let Some((_, last)) = &mut spans[d.from.ix()] {
            *last = CallId(d.call.0 - 1);
        }
    }
    spans
}
