//! A kernel that runs a program of its own several times: what a scan becomes.
//!
//! The program is one trip. Its inputs, states and outputs are arguments of the kernel; its temporaries are
//! the call's working memory, planned as any program's ([`Plan::bodies`](super::program::Plan::bodies)).
//!
//! ```text
//! repeat @scan(read first: f32[3], read xs: f32[12], write last: f32[3] alias first, write ys: f32[12]) trips 4 {
//!   !0 = forward %7 "" 0:10..40
//!   first first as carry.0
//!   slice xs as each.0
//!   state last as carry.0
//!   slice ys as out.0
//!   program @scan { .. }
//! }
//! ```
//! Order: each state is set to its first value; then for t = 0, 1, .. trips - 1 the input of the trip's number
//! is t, and the program's calls run in order.

use serde::{Deserialize, Serialize};

use super::program::{BufferId, LoopProgram};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    pub trips: u64,
    /// The program's input (an i64 scalar) that holds the number of the trip, if it has one.
    pub trip: Option<BufferId>,
    /// For each argument of the kernel, what it is to the program.
    pub links: Vec<Link>,
    pub body: LoopProgram,
}

/// What an argument of the kernel is to the repeated program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Link {
    /// This input, in every trip.
    Kept(BufferId),
    /// In trip t, its t-th part is this input or output.
    Slice(BufferId),
    /// What this state starts as. Shares its memory with the state's own argument or is copied there.
    First(BufferId),
    /// This state.
    State(BufferId),
}

impl Link {
    pub fn buffer(self) -> BufferId {
        match self {
            Link::Kept(b) | Link::Slice(b) | Link::First(b) | Link::State(b) => b,
        }
    }

    /// As the text form writes it.
    pub fn word(self) -> &'static str {
        match self {
            Link::Kept(_) => "kept",
            Link::Slice(_) => "slice",
            Link::First(_) => "first",
            Link::State(_) => "state",
        }
    }

    pub fn from_word(word: &str, buffer: BufferId) -> Option<Link> {
        let all = [Link::Kept(buffer), Link::Slice(buffer), Link::First(buffer), Link::State(buffer)];
        all.into_iter().find(|l| l.word() == word)
    }
}

impl Repeat {
    /// Pairs of positions of arguments: a state's first value, the state.
    pub fn states(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.links.iter().enumerate().filter_map(|(first, link)| {
            let Link::First(b) = *link else { return None };
            Some((first, self.links.iter().position(|l| *l == Link::State(b))?))
        })
    }
}
