//! Loops: a kernel that repeats a program, which the `lower` pass makes of the region.

use super::{Lower, Rule};
use crate::op::Scan;

impl Lower for Scan {
    fn rule(&self) -> Rule<'_> {
        Rule::Program
    }
}
