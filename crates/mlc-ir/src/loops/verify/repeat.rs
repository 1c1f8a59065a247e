//! Kernels that repeat a program: L17, and L10 for them.

use super::{Checker, verify_program};
use crate::DType;
use crate::loops::kernel::{Arg, Mode};
use crate::loops::program::{Buffer, Role};
use crate::loops::repeat::{Link, Repeat};

impl Checker<'_> {
    pub fn repeat(&mut self, r: &Repeat) {
        let args = &self.kernel.args;
        if r.links.len() != args.len() {
            return self.fail("L17", 0, format!("{} links for {} arguments", r.links.len(), args.len()));
        }
        for (arg, link) in args.iter().zip(&r.links) {
            let fits = r.body.buffers.get(link.buffer().ix()).is_some_and(|b| link_fits(r, arg, *link, b));
            if !fits {
                self.fail("L17", 0, format!("{} is no {} of the program", arg.name, link.word()));
            }
        }
        for (i, b) in r.body.buffers.iter().enumerate() {
            let linked = |first: bool| {
                let to_it = r.links.iter().filter(|l| l.buffer().ix() == i);
                to_it.filter(|l| matches!(l, Link::First(_)) == first).count()
            };
            let is_trip = r.trip.is_some_and(|t| t.ix() == i);
            let want = match b.role {
                Role::Input => (0, usize::from(!is_trip)),
                Role::Output => (0, 1),
                Role::State(_) => (1, 1),
                Role::Const(_) | Role::Temp => (0, 0),
            };
            if (linked(true), linked(false)) != want {
                self.fail("L17", 0, format!("{} of the program is not linked as its role asks", b.name));
            }
        }
        let trip = r.trip.and_then(|t| r.body.buffers.get(t.ix()));
        if r.trip.is_some() && trip.is_none_or(|b| (b.role, b.dtype, b.len) != (Role::Input, DType::I64, 1)) {
            self.fail("L17", 0, "the number of the trip is not an i64 input of the program");
        }
        self.repeat_aliases(r);
        self.found.extend(verify_program(&r.body));
    }

    /// L10: a state may take over its first value's memory, and nothing else may.
    fn repeat_aliases(&mut self, r: &Repeat) {
        for (i, arg) in self.kernel.args.iter().enumerate() {
            let Some(read) = arg.may_alias else { continue };
            if !r.states().any(|pair| pair == (read.ix(), i)) {
                self.fail("L10", 0, format!("{} is no state that starts as what it aliases", arg.name));
            }
        }
    }
}

fn link_fits(r: &Repeat, arg: &Arg, link: Link, b: &Buffer) -> bool {
    let (roles, len) = match link {
        Link::Kept(_) => (b.role == Role::Input && arg.mode == Mode::Read, Some(b.len)),
        Link::Slice(_) => {
            let want = if b.role == Role::Output { Mode::Write } else { Mode::Read };
            let role = matches!(b.role, Role::Input | Role::Output);
            (role && arg.mode == want, b.len.checked_mul(r.trips))
        }
        Link::First(_) => (matches!(b.role, Role::State(_)) && arg.mode == Mode::Read, Some(b.len)),
        Link::State(_) => (matches!(b.role, Role::State(_)) && arg.mode == Mode::Write, Some(b.len)),
    };
    roles && len == Some(arg.len) && arg.dtype == b.dtype
}
