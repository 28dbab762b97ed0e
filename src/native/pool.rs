// SPDX-License-Identifier: MIT OR Apache-2.0

//! Threads that share the steps of a run, and sleep between runs.

use std::{
    hint, io, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

/// How often a thread looks whether the others are done with a step before it sleeps: about as long as
/// it takes to wake up, tens of microseconds.
const LOOKS: usize = 1024;

/// More threads would wait for each other longer than they compute: a step takes some hundred
/// microseconds on one.
const MOST_THREADS: usize = 16;

/// Threads that share the steps of a run.
pub struct Pool {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

/// A thread of a pool, during a run.
pub struct Worker<'a> {
    shared: &'a Shared,
    index: usize,
}

struct Shared {
    threads: usize,
    state: Mutex<State>,
    /// A run begins, or there are to be no more.
    begin: Condvar,
    /// All threads have arrived.
    all_here: Condvar,
    /// How many threads have arrived where they wait for each other.
    arrived: AtomicUsize,
    /// How often all of them had.
    meetings: AtomicUsize,
}

struct State {
    /// Counts the runs.
    run: usize,
    /// What is run.
    work: Option<Work>,
    /// How many sleep until all have arrived.
    sleepers: usize,
    end: bool,
}

/// Borrowed from [`Pool::run`], which does not return before everybody is done with it.
#[derive(Clone, Copy)]
struct Work(*const (dyn Fn(&Worker) + Sync));

// SAFETY: what it points to may be used by all threads.
unsafe impl Send for Work {}

impl Pool {
    /// The calling thread and `threads - 1` others; fewer where the system gives no more, and at most
    /// [`MOST_THREADS`] in all.
    pub fn new(threads: usize) -> Self {
        let threads = threads.clamp(1, MOST_THREADS);
        let state = State { run: 0, work: None, sleepers: 0, end: false };
        let shared = |threads: usize| Shared {
            threads,
            state: Mutex::new(state),
            begin: Condvar::new(),
            all_here: Condvar::new(),
            arrived: AtomicUsize::new(0),
            meetings: AtomicUsize::new(0),
        };
        let shared = Arc::new(shared(threads));
        let helper = |index: usize| -> io::Result<JoinHandle<()>> {
            let shared = Arc::clone(&shared);
            let name = format!("retinaface-{index}");
            thread::Builder::new().name(name).spawn(move || shared.help(index))
        };
        match (1..threads).map(helper).collect::<io::Result<Vec<_>>>() {
            Ok(helpers) => Self { shared, helpers },
            Err(_) if threads > 1 => {
                shared.lock().end = true;
                shared.begin.notify_all();
                Self::new(1)
            }
            Err(_) => Self { shared, helpers: Vec::new() },
        }
    }

    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Runs `work` on all threads, until all are done.
    pub fn run(&mut self, work: impl Fn(&Worker) + Sync) {
        let worker = Worker { shared: &self.shared, index: 0 };
        if self.helpers.is_empty() {
            return work(&worker);
        }
        let work: &(dyn Fn(&Worker) + Sync) = &work;
        // SAFETY: only the lifetime changes. It is not used after the last meeting below.
        let lasting: &'static (dyn Fn(&Worker) + Sync) = unsafe { mem::transmute(work) };
        {
            let mut state = self.shared.lock();
            state.run += 1;
            state.work = Some(Work(lasting));
        }
        self.shared.begin.notify_all();
        work(&worker);
        worker.wait();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().end = true;
        self.shared.begin.notify_all();
        for helper in self.helpers.drain(..) {
            // It does not panic, and if it did there would be nothing to do.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a helper does from its start to its end.
    fn help(&self, index: usize) {
        let worker = Worker { shared: self, index };
        let mut done = 0;
        loop {
            let work = {
                let waits = |state: &mut State| !state.end && state.run == done;
                let state = self.begin.wait_while(self.lock(), waits);
                let state = state.unwrap_or_else(PoisonError::into_inner);
                done = state.run;
                state.work.filter(|_| !state.end)
            };
            let Some(Work(work)) = work else { return };
            // SAFETY: borrowed until the meeting below.
            unsafe { (*work)(&worker) };
            worker.wait();
        }
    }
}

impl Worker<'_> {
    pub fn index(&self) -> usize {
        self.index
    }

    pub fn threads(&self) -> usize {
        self.shared.threads
    }

    /// Waits until all threads are here.
    pub fn wait(&self) {
        let Shared { threads, all_here, arrived, meetings, .. } = self.shared;
        if *threads == 1 {
            return;
        }
        let meeting = meetings.load(Ordering::Acquire);
        if arrived.fetch_add(1, Ordering::AcqRel) + 1 == *threads {
            arrived.store(0, Ordering::Relaxed);
            // Whoever goes to sleep does so with the state locked, and looks once more before.
            let state = self.shared.lock();
            meetings.store(meeting.wrapping_add(1), Ordering::Release);
            if state.sleepers > 0 {
                all_here.notify_all();
            }
            return;
        }
        for _ in 0..LOOKS {
            if meetings.load(Ordering::Acquire) != meeting {
                return;
            }
            hint::spin_loop();
        }
        let mut state = self.shared.lock();
        state.sleepers += 1;
        let missing = |_: &mut State| meetings.load(Ordering::Acquire) == meeting;
        let state = all_here.wait_while(state, missing);
        state.unwrap_or_else(PoisonError::into_inner).sleepers -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_meet_between_steps() {
        for threads in [1, 2, 5] {
            let mut pool = Pool::new(threads);
            let sums: Vec<_> = (0..threads).map(|_| AtomicUsize::new(0)).collect();
            for run in 0..100 {
                let counts: [AtomicUsize; 3] = Default::default();
                pool.run(|worker| {
                    assert_eq!(worker.threads(), threads);
                    for count in &counts {
                        count.fetch_add(1, Ordering::Relaxed);
                        worker.wait();
                        assert_eq!(count.load(Ordering::Relaxed), threads, "run {run}");
                        worker.wait();
                    }
                    sums[worker.index()].fetch_add(1, Ordering::Relaxed);
                });
            }
            assert!(sums.iter().all(|sum| sum.load(Ordering::Relaxed) == 100));
        }
    }
}
