//! Running a plan over poisoned memory: what a wrong lifetime, offset or bound would go unseen otherwise.
//!
//! Bytes that belong to nothing alive hold ones (NaN in floats): a value that is read after its life, or before
//! it, shows in the results. And they must still hold them after the call: a kernel that writes beyond its
//! arguments or its working memory is found where it does so, be it into the bytes of the dead, into the padding
//! behind a buffer, or into a gap that a plan for tests leaves as a red zone.

use std::ops::Range;

use mlc_ir::loops::{ArenaId, ArenaKind, Place, Plan, Role};

/// What unused bytes hold.
pub const POISON: u8 = 0xff;

/// The bytes of an arena that no buffer of `alive` occupies.
fn unused(plan: &Plan, arena: usize, alive: impl Fn(&Place) -> bool) -> Vec<Range<usize>> {
    let here =
        plan.program.buffers.iter().zip(&plan.places).filter(|(b, p)| {
            b.role == Role::Temp && p.arena == ArenaId(arena as u32) && p.bytes > 0 && alive(p)
        });
    let mut used: Vec<Range<usize>> =
        here.map(|(_, p)| p.offset as usize..(p.offset + p.bytes) as usize).collect();
    used.sort_unstable_by_key(|r| r.start);
    let mut free = vec![];
    let mut end = 0;
    for r in used {
        if end < r.start {
            free.push(end..r.start);
        }
        end = end.max(r.end);
    }
    if end < plan.arenas[arena].bytes as usize {
        free.push(end..plan.arenas[arena].bytes as usize);
    }
    free
}

/// After a call: is what was unused in it still poison? Then poisons what is unused from now on. `bytes` are an
/// arena's, of temporaries or of working memory.
///
/// # Errors
/// The first byte that was written although nothing alive is there.
pub fn after_call(plan: &Plan, call: usize, arena: usize, bytes: &mut [u8]) -> Result<(), String> {
    let during = |p: &Place| p.live.is_some_and(|(a, b)| a.ix() <= call && call <= b.ix());
    let beyond = |p: &Place| p.live.is_some_and(|(a, b)| a.ix() <= call && call < b.ix());
    let (watched, dead) = match plan.arenas[arena].kind {
        ArenaKind::Temp => (unused(plan, arena, during), unused(plan, arena, beyond)),
        _ => {
            let need = plan.scratch.get(call).map_or(0, |&n| n as usize).min(bytes.len());
            let (beyond, all) = (need..bytes.len(), 0..bytes.len());
            (vec![beyond], vec![all])
        }
    };
    let hit = watched.into_iter().flatten().find(|&i| bytes.get(i).is_some_and(|&b| b != POISON));
    for range in dead {
        bytes[range].fill(POISON);
    }
    match hit {
        None => Ok(()),
        Some(at) => {
            let name = &plan.program.kernel_of(&plan.program.calls[call]).name;
            Err(format!("call {call} of {name} wrote byte {at} of arena {arena}, where nothing is alive"))
        }
    }
}
