//! A step of the training loop allocates nothing. A binary of its own, because it counts allocations with an
//! allocator of its own.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mlc::runtime::train::{Observer, StepReport, TrainOptions};
use mlc::{Compiler, Seed, Target};

/// The system's allocator, which also counts the requests of all threads.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The count after each step.
struct Counts {
    after: Vec<usize>,
}

impl Observer for Counts {
    fn step(&mut self, _: &StepReport) {
        self.after.push(COUNT.load(Ordering::Relaxed));
    }
}

/// The steps after the first that allocated, of one epoch and a little more.
fn steps_that_allocate(case: &str, threads: usize) -> Vec<usize> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/train").join(case);
    let compiler = Compiler::new().target(Target::Cpu).threads(threads);
    let program = compiler.compile_file(path).unwrap_or_else(|e| panic!("{e}"));
    let mut session = program.session(Seed(0)).unwrap_or_else(|e| panic!("{e}"));
    let mut counts = Counts { after: Vec::with_capacity(1000) };
    let options = TrainOptions { steps: Some(40), ..TrainOptions::default() };
    session.train(0, &options, &AtomicBool::new(false), &mut counts).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(counts.after.len(), 40);
    let grew = |i: &usize| counts.after[*i] > counts.after[*i - 1];
    (1..counts.after.len()).filter(grew).collect()
}

#[test]
fn a_step_allocates_nothing() {
    for (case, threads) in
        [("sgd_momentum.mlg", 1), ("adamw_clip.mlg", 2), ("accumulate.mlg", 1), ("losses_accumulate.mlg", 1)]
    {
        let steps = steps_that_allocate(case, threads);
        // The threads that prepare data, and the first batches of every shape, settle within a few steps.
        let late: Vec<usize> = steps.into_iter().filter(|&s| s > 8).collect();
        assert!(late.is_empty(), "{case}: allocations in steps {late:?}");
    }
}
