//! Threads that share the chunks of a phase.
//!
//! One caller at a time opens a job; it and the workers take chunks from one counter until none is left. The
//! caller waits only for workers that have taken part, so one that the system does not run delays nothing. An
//! idle worker spins for a while, because waking a sleeping one takes longer than a small job, then sleeps.
//!
//! Invariants: a job is only read by who has joined it, and joining fails once it is closed; the caller returns
//! after all who joined have left. [`Pool::run`] allocates nothing once the workers are there.

use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::float_mode::FloatMode;

/// How long an idle worker spins before it sleeps.
const SPIN: Duration = Duration::from_micros(80);
/// Spins between two looks at the clock.
const SPINS_A_LOOK: u32 = 64;
/// How often the caller looks for the last workers before it lets other threads run meanwhile.
const PATIENCE: u32 = 4096;

/// What a job runs: chunk, thread. The caller is thread 0.
pub type Task<'t> = dyn Fn(u64, usize) + Sync + 't;

/// A worker panicked; its message went where the process's panics go. The job's results are not to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPanicked;

/// A fixed number of threads: the caller's own and workers that start with the first job.
pub struct Pool {
    threads: usize,
    shared: Arc<Shared>,
    workers: OnceLock<Vec<JoinHandle<()>>>,
}

impl Pool {
    /// For this many threads, the caller's among them; 0 counts as 1.
    pub fn new(threads: usize) -> Pool {
        Pool { threads: threads.max(1), shared: Arc::default(), workers: OnceLock::new() }
    }

    /// The threads that this process may use at once.
    pub fn available() -> usize {
        thread::available_parallelism().map_or(1, usize::from)
    }

    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Starts the workers, if they have not been. Fewer than asked for if the system gives no more: the caller
    /// does what is left.
    pub fn start(&self) {
        self.workers.get_or_init(|| {
            let spawn = |thread: usize| {
                let shared = self.shared.clone();
                thread::Builder::new().name(format!("mlc-{thread}")).spawn(move || shared.serve(thread)).ok()
            };
            (1..self.threads).map_while(spawn).collect()
        });
    }

    /// Runs all chunks, each once, in any order and on any of the threads. While another thread has a job
    /// here, this one runs its chunks alone.
    ///
    /// # Errors
    /// If a worker panicked. A panic on this thread goes on after the workers have left.
    pub fn run(&self, chunks: u64, task: &Task<'_>) -> Result<(), WorkerPanicked> {
        if self.threads == 1 || chunks <= 1 || self.shared.busy.swap(true, Ordering::Acquire) {
            (0..chunks).for_each(|c| task(c, 0));
            return Ok(());
        }
        self.start();
        self.shared.open(chunks, task);
        let own = catch_unwind(AssertUnwindSafe(|| self.shared.take_chunks(chunks, task, 0)));
        if own.is_err() {
            self.shared.stop_chunks();
        }
        self.shared.close();
        let panicked = self.shared.panicked.swap(false, Ordering::Relaxed);
        self.shared.busy.store(false, Ordering::Release);
        if let Err(panic) = own {
            resume_unwind(panic);
        }
        if panicked { Err(WorkerPanicked) } else { Ok(()) }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state.fetch_or(STOP, Ordering::SeqCst);
        self.shared.wake(usize::MAX);
        for worker in self.workers.take().into_iter().flatten() {
            // A worker's panics have been reported by the jobs they belong to.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} threads)", self.threads)
    }
}

/// In [`Shared::state`]: how many workers take part in the job.
const JOINED: u64 = (1 << 30) - 1;
/// Workers may join.
const OPEN: u64 = 1 << 30;
/// Workers are to end.
const STOP: u64 = 1 << 31;
/// The job's number stands above.
const EPOCH: u64 = 1 << 32;

/// On cache lines of its own.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

#[derive(Default)]
struct Shared {
    state: Line<AtomicU64>,
    /// The next chunk of the job.
    next: Line<AtomicU64>,
    /// Set while a caller has a job here.
    busy: Line<AtomicBool>,
    job: UnsafeCell<Option<Job>>,
    panicked: AtomicBool,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    sleep: Mutex<()>,
    wake: Condvar,
}

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[derive(Clone, Copy)]
struct Job {
    chunks: u64,
    /// Alive until the job is closed and all have left.
    task: *const Task<'static>,
}

// SAFETY: `job` is written by the one caller (`busy`) while nobody has joined and none can, and read by those who
// have; what it points to is `Sync` and outlives the job.
unsafe impl Sync for Shared {}
// SAFETY: as above: the pointer is only followed inside of a job.
unsafe impl Send for Shared {}

impl Shared {
    /// Opens a job. Only the holder of `busy` may call it, and must close it before the task's life ends.
    fn open(&self, chunks: u64, task: &Task<'_>) {
        let task: *const Task<'_> = task;
        // SAFETY: only the lifetime changes; `close` ends all use.
        let task = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: the job is closed and nobody is in it: no one reads this.
        unsafe { *self.job.get() = Some(Job { chunks, task }) };
        self.next.store(0, Ordering::Relaxed);
        // The new number and the open bit at once. No worker has joined, so the low bits are clear.
        self.state.fetch_add(EPOCH | OPEN, Ordering::SeqCst);
        self.wake(usize::try_from(chunks - 1).unwrap_or(usize::MAX));
    }

    /// Lets no more workers in and waits for those that are.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut looks = 0u32;
        while self.state.load(Ordering::Acquire) & JOINED != 0 {
            looks += 1;
            if looks < PATIENCE {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
    }

    /// Wakes up to `count` sleeping workers.
    fn wake(&self, count: usize) {
        let count = count.min(self.sleepers.load(Ordering::SeqCst));
        if count > 0 {
            // Whoever counted as a sleeper holds the lock until it really sleeps.
            drop(self.sleep.lock().unwrap_or_else(PoisonError::into_inner));
            (0..count).for_each(|_| self.wake.notify_one());
        }
    }

    fn take_chunks(&self, chunks: u64, task: &Task<'_>, thread: usize) {
        loop {
            let chunk = self.next.fetch_add(1, Ordering::Relaxed);
            if chunk >= chunks {
                return;
            }
            task(chunk, thread);
        }
    }

    /// What is left of the job is not run.
    fn stop_chunks(&self) {
        self.next.store(u64::MAX / 2, Ordering::Relaxed);
    }

    /// A worker's life.
    fn serve(&self, thread: usize) {
        let _mode = FloatMode::enter();
        let mut seen = 0;
        while let Some(epoch) = self.next_job(seen) {
            seen = epoch;
            if !self.join(epoch) {
                continue;
            }
            // SAFETY: joined, so the job stays as it is and its task alive until this worker leaves.
            if let Some(job) = unsafe { *self.job.get() } {
                // SAFETY: as above.
                let task = unsafe { &*job.task };
                if catch_unwind(AssertUnwindSafe(|| self.take_chunks(job.chunks, task, thread))).is_err() {
                    self.panicked.store(true, Ordering::Relaxed);
                    self.stop_chunks();
                }
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    fn join(&self, epoch: u64) -> bool {
        let mut now = self.state.load(Ordering::Relaxed);
        while now & OPEN != 0 && now / EPOCH == epoch {
            match self.state.compare_exchange_weak(now, now + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(changed) => now = changed,
            }
        }
        false
    }

    /// Waits for an open job other than `seen`; `None` at the end of the pool.
    fn next_job(&self, seen: u64) -> Option<u64> {
        let start = Instant::now();
        loop {
            for _ in 0..SPINS_A_LOOK {
                if let Some(news) = self.news(seen, Ordering::Relaxed) {
                    return news;
                }
                std::hint::spin_loop();
            }
            if start.elapsed() > SPIN {
                return self.sleep(seen);
            }
        }
    }

    /// `Some(None)` is the end.
    fn news(&self, seen: u64, order: Ordering) -> Option<Option<u64>> {
        let state = self.state.load(order);
        if state & STOP != 0 {
            return Some(None);
        }
        (state & OPEN != 0 && state / EPOCH != seen).then_some(Some(state / EPOCH))
    }

    fn sleep(&self, seen: u64) -> Option<u64> {
        let mut lock = self.sleep.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // A job opened before the line above is seen here; one opened after it sees this sleeper.
        let news = loop {
            if let Some(news) = self.news(seen, Ordering::SeqCst) {
                break news;
            }
            lock = self.wake.wait(lock).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran_once(pool: &Pool, chunks: u64) -> bool {
        let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
        let threads = AtomicU64::new(0);
        pool.run(chunks, &|c, thread| {
            counts[c as usize].fetch_add(1, Ordering::Relaxed);
            threads.fetch_or(1 << thread, Ordering::Relaxed);
        })
        .unwrap();
        threads.into_inner() < 1 << pool.threads() && counts.iter().all(|c| c.load(Ordering::Relaxed) == 1)
    }

    #[test]
    fn every_chunk_runs_once() {
        for threads in [0, 1, 2, 5] {
            let pool = Pool::new(threads);
            for round in 0..200 {
                assert!(ran_once(&pool, [0, 1, 2, 3, 64, 1000][round % 6]), "{threads} threads");
            }
        }
    }

    #[test]
    fn sleeping_workers_wake_up() {
        let pool = Pool::new(3);
        for _ in 0..20 {
            assert!(ran_once(&pool, 100));
            thread::sleep(4 * SPIN);
        }
        // Each chunk waits until all three threads have one: without the workers this never ends.
        let here = AtomicUsize::new(0);
        pool.run(3, &|_, _| {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < 3 {
                thread::yield_now();
            }
        })
        .unwrap();
    }

    #[test]
    fn callers_at_the_same_time_and_from_inside() {
        let pool = Pool::new(3);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| (0..50).for_each(|_| assert!(ran_once(&pool, 40))));
            }
        });
        pool.run(4, &|_, _| assert!(ran_once(&pool, 7))).unwrap();
    }

    #[test]
    fn a_panic_in_a_worker_is_an_error_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        let here = AtomicUsize::new(0);
        let outcome = pool.run(2, &|_, thread| {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            assert!(thread == 0, "a worker's panic, which this test expects");
        });
        assert_eq!(outcome, Err(WorkerPanicked));
        assert!(ran_once(&pool, 100));
    }

    #[test]
    fn a_panic_of_the_caller_goes_on() {
        let pool = Pool::new(2);
        let caller = catch_unwind(AssertUnwindSafe(|| {
            let here = AtomicUsize::new(0);
            pool.run(2, &|_, thread| {
                here.fetch_add(1, Ordering::SeqCst);
                while here.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
                assert!(thread != 0, "the caller's panic, which this test expects");
            })
        }));
        assert!(caller.is_err());
        assert!(ran_once(&pool, 100));
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn workers_keep_subnormals() {
        let pool = Pool::new(2);
        let here = AtomicUsize::new(0);
        let bits = [0, 1].map(|_| AtomicU64::new(0));
        pool.run(2, &|_, thread| {
            here.fetch_add(1, Ordering::SeqCst);
            while here.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
            let half = std::hint::black_box(f32::MIN_POSITIVE) * std::hint::black_box(0.5);
            bits[thread].store(half.to_bits().into(), Ordering::SeqCst);
        })
        .unwrap();
        assert!(bits.iter().all(|b| b.load(Ordering::SeqCst) == 0x0040_0000));
    }
}
