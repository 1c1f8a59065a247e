//! Hands out batches, prepared ahead on a thread or one by one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use mlc_diag::Diagnostic;

use super::batch::{Batch, Buffers, Layout};
use super::{Position, Stream};

#[derive(Debug, Clone, Copy)]
pub struct LoaderOptions {
    /// How many batches are prepared ahead; 0 prepares each when it is asked for, on the caller's thread.
    pub prefetch: usize,
    /// The first batch: where a run left off.
    pub start: Position,
    /// The epochs in all (from 0, not from `start`); without end if `None`.
    pub epochs: Option<u64>,
    /// How many batches the caller keeps at once: their memory is used again.
    pub held: u64,
}

/// The batches of a [`Stream`] in order, epoch after epoch.
pub struct Loader {
    next: Position,
    batches: u64,
    rows: u64,
    epochs: Option<u64>,
    maker: Maker,
    /// An error ends the stream; it is given again to whoever asks again.
    failed: Option<Diagnostic>,
}

enum Maker {
    Here { stream: Box<Stream>, pool: Pool },
    Thread { batches: Option<Receiver<Result<Batch, Diagnostic>>>, thread: Option<JoinHandle<()>> },
}

/// Memory of batches that were dropped.
struct Pool {
    give: SyncSender<Buffers>,
    take: Receiver<Buffers>,
    layout: Arc<Layout>,
    /// How many are to be made, while there are none.
    missing: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions { prefetch: 2, start: Position::default(), epochs: None, held: 1 }
    }
}

impl Loader {
    /// An error where the start lies beyond an epoch's end: the data are not those of the saved run.
    pub fn new(stream: Stream, options: LoaderOptions) -> Result<Loader, Diagnostic> {
        let (batches, rows, start) = (stream.batches_per_epoch(), stream.rows_per_epoch(), options.start);
        if start.batch > batches {
            let title = format!("cannot go on at batch {} of epoch {}", start.batch, start.epoch);
            return Err(Diagnostic::error("E0718", title)
                .note(format!("an epoch now has {batches} batches"))
                .hint("resume with the data and the batch size of the run that was saved"));
        }
        // Nobody keeps batches beyond an epoch's end.
        let held = options.held.min(batches) as usize;
        let pool = Pool::new(options.prefetch + 1 + held, options.prefetch > 0, stream.layout().clone());
        let maker = match options.prefetch {
            0 => Maker::Here { stream: Box::new(stream), pool },
            ahead => start_thread(stream, pool, start, options.epochs, ahead)?,
        };
        Ok(Loader { next: start, batches, rows, epochs: options.epochs, maker, failed: None })
    }

    /// The next batch; `None` at the end of each epoch, after which the next one begins, and for ever
    /// after the last.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, Diagnostic> {
        if let Some(d) = &self.failed {
            return Err(d.clone());
        }
        if self.epochs.is_some_and(|n| self.next.epoch >= n) {
            return Ok(None);
        }
        if self.next.batch == self.batches {
            self.next = Position { epoch: self.next.epoch + 1, batch: 0 };
            return Ok(None);
        }
        let made = match &mut self.maker {
            Maker::Here { stream, pool } => pool.make(stream, self.next),
            Maker::Thread { batches, .. } => {
                let received = batches.as_ref().and_then(|b| b.recv().ok());
                received.unwrap_or_else(|| Err(Diagnostic::bug("the thread that reads data ended")))
            }
        };
        match made {
            Ok(batch) => {
                self.next.batch += 1;
                Ok(Some(batch))
            }
            Err(d) => {
                self.failed = Some(d.clone());
                Err(d)
            }
        }
    }

    /// Which batch comes next, whatever has been prepared ahead: what a checkpoint saves.
    pub fn position(&self) -> Position {
        self.next
    }

    pub fn batches_per_epoch(&self) -> u64 {
        self.batches
    }

    /// Samples that an epoch shows (of the first dataset, if several are zipped).
    pub fn rows_per_epoch(&self) -> u64 {
        self.rows
    }
}

impl Drop for Loader {
    /// Ends the thread: with nobody to receive, its next send fails.
    fn drop(&mut self) {
        if let Maker::Thread { batches, thread } = &mut self.maker {
            batches.take();
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Pool {
    /// `ahead`: on a thread of its own.
    fn new(size: usize, ahead: bool, layout: Arc<Layout>) -> Pool {
        let (give, take) = sync_channel(size);
        Pool { give, take, layout, missing: if ahead { size } else { 0 } }
    }

    fn make(&mut self, stream: &mut Stream, at: Position) -> Result<Batch, Diagnostic> {
        let mut buffers = self.take.try_recv().unwrap_or_default();
        stream.fill(at, &mut buffers)?;
        // With the first come all: how many are in use at once depends on which thread is faster, and no later step is to
        // wait for memory.
        for _ in 1..std::mem::take(&mut self.missing) {
            let _ = self.give.try_send(buffers.twin());
        }
        Ok(Batch::new(at, buffers, self.layout.clone(), Some(self.give.clone())))
    }
}

fn start_thread(
    mut stream: Stream,
    mut pool: Pool,
    start: Position,
    epochs: Option<u64>,
    ahead: usize,
) -> Result<Maker, Diagnostic> {
    let (send, receive) = sync_channel(ahead);
    let run = move || {
        let n = stream.batches_per_epoch();
        let mut at = start;
        while epochs.is_none_or(|e| at.epoch < e) {
            if at.batch == n {
                at = Position { epoch: at.epoch + 1, batch: 0 };
                continue;
            }
            let made = pool.make(&mut stream, at);
            let failed = made.is_err();
            if send.send(made).is_err() || failed {
                break;
            }
            at.batch += 1;
        }
    };
    let thread = std::thread::Builder::new().name("mlc-data".to_string()).spawn(run).map_err(|e| {
        Diagnostic::error("E0719", format!("cannot start a thread to read data: {e}"))
            .hint("let the system give this process more threads")
    })?;
    Ok(Maker::Thread { batches: Some(receive), thread: Some(thread) })
}
