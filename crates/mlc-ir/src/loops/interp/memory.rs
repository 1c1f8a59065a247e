//! Checked memory: every byte knows whether it was written.

use std::fmt;

use crate::DType;

/// A rule that a program broke while running: a bug of the compiler, never of the user.
#[derive(Debug, Clone, PartialEq)]
pub struct InterpError(pub String);

impl fmt::Display for InterpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InterpError {}

/// Separate address spaces: one a buffer, or one an arena.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    spaces: Vec<Space>,
}

#[derive(Debug, Clone, Default)]
struct Space {
    bytes: Vec<u8>,
    written: Vec<bool>,
}

/// An argument's elements in memory.
#[derive(Debug, Clone)]
pub struct Slot {
    pub space: usize,
    /// Bytes.
    pub offset: usize,
    /// Elements.
    pub len: u64,
    pub dtype: DType,
    /// For messages.
    pub name: String,
}

impl Memory {
    /// A space with contents, all written.
    pub fn add(&mut self, bytes: Vec<u8>) -> usize {
        self.spaces.push(Space { written: vec![true; bytes.len()], bytes });
        self.spaces.len() - 1
    }

    /// A poisoned space: 0xff, not written.
    pub fn add_poisoned(&mut self, bytes: usize) -> usize {
        self.spaces.push(Space { written: vec![false; bytes], bytes: vec![0xff; bytes] });
        self.spaces.len() - 1
    }

    /// How many spaces there are: what [`Memory::truncate`] takes.
    pub fn spaces(&self) -> usize {
        self.spaces.len()
    }

    /// Drops the spaces that were added last.
    pub fn truncate(&mut self, spaces: usize) {
        self.spaces.truncate(spaces);
    }

    pub fn poison(&mut self, space: usize, offset: usize, len: usize) {
        self.spaces[space].bytes[offset..offset + len].fill(0xff);
        self.spaces[space].written[offset..offset + len].fill(false);
    }

    /// Copies a range with what is known of it, written or not.
    pub fn copy(&mut self, from: (usize, usize), to: (usize, usize), len: usize) {
        let source = &self.spaces[from.0];
        let bytes = source.bytes[from.1..from.1 + len].to_vec();
        let written = source.written[from.1..from.1 + len].to_vec();
        self.spaces[to.0].bytes[to.1..to.1 + len].copy_from_slice(&bytes);
        self.spaces[to.0].written[to.1..to.1 + len].copy_from_slice(&written);
    }

    pub fn fill(&mut self, space: usize, offset: usize, contents: &[u8]) {
        self.spaces[space].bytes[offset..offset + contents.len()].copy_from_slice(contents);
        self.spaces[space].written[offset..offset + contents.len()].fill(true);
    }

    /// The bytes of a range, written or not.
    pub fn bytes(&self, space: usize, offset: usize, len: usize) -> &[u8] {
        &self.spaces[space].bytes[offset..offset + len]
    }

    pub fn all_written(&self, space: usize, offset: usize, len: usize) -> bool {
        self.spaces[space].written[offset..offset + len].iter().all(|&w| w)
    }

    pub fn into_spaces(self) -> Vec<Vec<u8>> {
        self.spaces.into_iter().map(|s| s.bytes).collect()
    }

    pub fn read(&self, slot: &Slot, index: i64) -> Result<u64, InterpError> {
        let at = place(slot, index)?;
        let size = slot.dtype.size();
        let space = &self.spaces[slot.space];
        let (Some(bytes), Some(written)) = (space.bytes.get(at..at + size), space.written.get(at..at + size))
        else {
            return Err(InterpError(format!("L6: {}[{index}] lies outside its memory", slot.name)));
        };
        if !written.iter().all(|&w| w) {
            return Err(InterpError(format!("P2: {}[{index}] is read before it is written", slot.name)));
        }
        let mut word = [0; 8];
        word[..size].copy_from_slice(bytes);
        Ok(u64::from_le_bytes(word))
    }

    pub fn write(&mut self, slot: &Slot, index: i64, value: u64) -> Result<(), InterpError> {
        let at = place(slot, index)?;
        let size = slot.dtype.size();
        let space = &mut self.spaces[slot.space];
        let Some(bytes) = space.bytes.get_mut(at..at + size) else {
            return Err(InterpError(format!("L6: {}[{index}] lies outside its memory", slot.name)));
        };
        bytes.copy_from_slice(&value.to_le_bytes()[..size]);
        space.written[at..at + size].fill(true);
        Ok(())
    }
}

fn place(slot: &Slot, index: i64) -> Result<usize, InterpError> {
    match u64::try_from(index) {
        Ok(i) if i < slot.len => Ok(slot.offset + i as usize * slot.dtype.size()),
        _ => Err(InterpError(format!("L6: {}[{index}] is out of bounds ({} elements)", slot.name, slot.len))),
    }
}
