//! State that outlives runs: parameters, optimizer state, counters. One store per model, shared by all entries.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use mlc_diag::Diagnostic;
use mlc_ir::Device;
use mlc_ir::loops::{Arena, ArenaKind, Place, Plan};

use super::backend::{Backend, DeviceMemory};

/// The state arenas of a model. Runs that only read state hold the lock shared, runs that write it alone, so
/// sessions on different threads never race.
#[derive(Debug)]
pub struct StateStore {
    arenas: Vec<(Device, Box<dyn DeviceMemory>)>,
    lock: RwLock<()>,
}

impl StateStore {
    /// Allocates zeroed state for a plan; every other plan of the model has the same state arenas.
    pub fn new(plan: &Plan, backend: &dyn Backend) -> Result<StateStore, Diagnostic> {
        StateStore::for_arenas(&plan.arenas, backend)
    }

    /// Allocates zeroed state for the state arenas among `arenas`.
    pub fn for_arenas(arenas: &[Arena], backend: &dyn Backend) -> Result<StateStore, Diagnostic> {
        let arenas = arenas
            .iter()
            .filter(|a| a.kind == ArenaKind::State)
            .map(|a| Ok((a.device, backend.allocate(a.device, a.bytes, a.align as usize)?)))
            .collect::<Result<_, Diagnostic>>()?;
        Ok(StateStore { arenas, lock: RwLock::new(()) })
    }

    /// Bytes on all devices.
    pub fn bytes(&self) -> u64 {
        self.arenas.iter().map(|(_, m)| m.bytes() as u64).sum()
    }

    /// The state memory of a device, if it is at least `bytes` long.
    pub fn memory(&self, device: Device, bytes: u64) -> Option<&dyn DeviceMemory> {
        let (_, m) = self.arenas.iter().find(|(d, _)| *d == device)?;
        (m.bytes() as u64 >= bytes).then_some(&**m)
    }

    /// Copies a state's bytes out. `place` is the state buffer's in `plan`.
    pub fn read(&self, plan: &Plan, place: &Place, out: &mut [u8]) -> Result<(), Diagnostic> {
        let memory = self.checked(plan, place, out.len())?;
        let _held = self.shared();
        // SAFETY: writers hold the lock alone.
        unsafe { memory.read(place.offset as usize, out) };
        Ok(())
    }

    /// Sets a state's bytes.
    pub fn write(&self, plan: &Plan, place: &Place, from: &[u8]) -> Result<(), Diagnostic> {
        let memory = self.checked(plan, place, from.len())?;
        let _held = self.alone();
        // SAFETY: the lock is held alone.
        unsafe { memory.write(place.offset as usize, from) };
        Ok(())
    }

    fn checked(&self, plan: &Plan, place: &Place, len: usize) -> Result<&dyn DeviceMemory, Diagnostic> {
        let arena = plan.arenas.get(place.arena.ix());
        let memory =
            arena.filter(|a| a.kind == ArenaKind::State).and_then(|a| self.memory(a.device, a.bytes));
        let fits = |m: &&dyn DeviceMemory| place.offset.saturating_add(len as u64) <= m.bytes() as u64;
        memory
            .filter(fits)
            .filter(|_| len as u64 <= place.bytes)
            .ok_or_else(|| Diagnostic::bug("a state outside its store"))
    }

    // A panic elsewhere while the lock was held leaves bytes, not invariants: go on.
    pub(crate) fn shared(&self) -> RwLockReadGuard<'_, ()> {
        self.lock.read().unwrap_or_else(|e| e.into_inner())
    }

    pub(crate) fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.lock.write().unwrap_or_else(|e| e.into_inner())
    }
}
