// SPDX-License-Identifier: MIT OR Apache-2.0

//! A thread pool that keeps the order of its jobs.

use std::{
    collections::VecDeque,
    io, mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle, ThreadId},
};

/// Processes jobs in threads of its own and delivers them in the order in which they were pushed.
///
/// One thread pushes jobs, another delivers them. Beside the jobs in flight, as many again wait to be
/// processed or delivered, so that no worker ever waits for either thread to be scheduled. A worker
/// takes all jobs that wait, up to its batch, and never waits for more. Jobs are reused: nothing is
/// allocated for each.
///
/// When dropped, it waits for the workers to finish their current jobs, and discards the rest.
pub struct OrderedPool<J> {
    shared: Arc<Shared<J>>,
    workers: Vec<JoinHandle<()>>,
}

struct Shared<J> {
    state: Mutex<State<J>>,
    capacity: usize,
    batch: usize,
    /// Notified when there is room for a job.
    room: Condvar,
    /// Notified when a job waits to be processed.
    work: Condvar,
    /// Notified when the oldest job is done.
    done: Condvar,
    /// Notified when a job is delivered and no other is left.
    idle: Condvar,
}

struct State<J> {
    /// Oldest first.
    slots: VecDeque<Slot<J>>,
    /// Jobs delivered and not in use.
    spare: Vec<J>,
    /// How many jobs were pushed before the oldest in `slots`, and before the next to process.
    oldest: u64,
    next: u64,
    /// The thread that delivers a job now.
    delivering: Option<ThreadId>,
    mode: Mode,
    /// Grows when jobs are discarded, so that a worker knows that its own was.
    epoch: u64,
}

/// A later one takes precedence over those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Open,
    Flushing,
    Stopped,
    Closed,
}

enum Slot<J> {
    Waiting(J),
    Running,
    Done(J),
}

impl<J: Default + Send + 'static> OrderedPool<J> {
    /// Starts a thread for each of `workers`, to have `in_flight` jobs in all and up to `batch` each.
    pub fn new<W>(
        workers: impl IntoIterator<Item = W>,
        in_flight: usize,
        batch: usize,
    ) -> io::Result<Self>
    where
        W: FnMut(&mut [J]) + Send + 'static,
    {
        let makers = workers.into_iter().map(|worker| move || Ok(worker));
        Self::with_makers(makers, in_flight, batch)
    }

    /// [`Self::new`] with workers that are made in the threads that they will work in; waits for all
    /// of them.
    pub fn with_makers<M, W, E>(
        makers: impl IntoIterator<Item = M>,
        in_flight: usize,
        batch: usize,
    ) -> Result<Self, E>
    where
        M: FnOnce() -> Result<W, E> + Send + 'static,
        W: FnMut(&mut [J]),
        E: From<io::Error> + Send + 'static,
    {
        let makers: Vec<M> = makers.into_iter().collect();
        let capacity = 2 * in_flight;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                slots: VecDeque::with_capacity(capacity),
                spare: Vec::with_capacity(capacity + 1),
                oldest: 0,
                next: 0,
                delivering: None,
                mode: Mode::Open,
                epoch: 0,
            }),
            capacity,
            batch,
            room: Condvar::new(),
            work: Condvar::new(),
            done: Condvar::new(),
            idle: Condvar::new(),
        });
        // Dropped when a thread does not start, it ends those that did.
        let mut pool = Self { shared, workers: Vec::with_capacity(makers.len()) };
        let (made, all_made) = mpsc::channel();
        for (index, make) in makers.into_iter().enumerate() {
            let (shared, made) = (Arc::clone(&pool.shared), made.clone());
            let thread = thread::Builder::new().name(format!("retinaface:{index}"));
            let thread = thread.spawn(move || {
                let (worker, result) = match make() {
                    Ok(worker) => (Some(worker), Ok(())),
                    Err(err) => (None, Err(err)),
                };
                // Nobody receives where another has failed.
                let _ = made.send(result);
                drop(made);
                if let Some(worker) = worker {
                    shared.run(worker);
                }
            });
            pool.workers.push(thread?);
        }
        drop(made);
        let mut ready = 0;
        for result in &all_made {
            result?;
            ready += 1;
        }
        if ready < pool.workers.len() {
            return Err(io::Error::other("a worker has failed while it was made").into());
        }
        Ok(pool)
    }

    /// How many jobs it holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Adds a job, `fill`ed in from a default one or one used before; waits while there are too
    /// many. False when flushing, stopped or closed: the job is not added.
    pub fn push(&self, fill: impl FnOnce(&mut J)) -> bool {
        let shared = &*self.shared;
        let full =
            |state: &mut State<J>| state.slots.len() == shared.capacity && state.mode == Mode::Open;
        let mut state = shared.wait_while(&shared.room, full);
        if state.mode != Mode::Open {
            return false;
        }
        let mut job = state.spare.pop().unwrap_or_default();
        fill(&mut job);
        state.slots.push_back(Slot::Waiting(job));
        shared.work.notify_one();
        true
    }

    /// Waits for the oldest job to be done and gives it to `deliver`. False when stopped or closed.
    pub fn deliver(&self, deliver: impl FnOnce(&mut J)) -> bool {
        let shared = &*self.shared;
        let mut state = shared.wait_while(&shared.done, |state| match state.mode {
            Mode::Open => !matches!(state.slots.front(), Some(Slot::Done(_))),
            Mode::Flushing => true,
            Mode::Stopped | Mode::Closed => false,
        });
        if state.mode != Mode::Open {
            return false;
        }
        let Some(Slot::Done(mut job)) = state.slots.pop_front() else { return false };
        state.oldest += 1;
        state.delivering = Some(thread::current().id());
        shared.room.notify_one();
        drop(state);

        deliver(&mut job);

        let mut state = shared.lock();
        state.delivering = None;
        state.spare.push(job);
        if state.slots.is_empty() || state.mode != Mode::Open {
            shared.idle.notify_all();
        }
        true
    }

    /// Waits until every job pushed so far is delivered. False when flushing, stopped or closed.
    pub fn drain(&self) -> bool {
        let shared = &*self.shared;
        let state = shared.wait_while(&shared.idle, |state| {
            let busy = state.delivering.is_some() || !state.slots.is_empty();
            busy && state.mode == Mode::Open
        });
        state.mode == Mode::Open
    }

    /// Until [`Self::resume`], no job is accepted and none delivered; every wait ends.
    pub fn flush(&self) {
        self.shared.switch(Mode::Flushing);
    }

    /// After [`Self::flush`], discards the jobs it holds and accepts new ones. Waits for a delivery
    /// under way in another thread.
    pub fn resume(&self) {
        self.reopen(Mode::Flushing);
    }

    /// Until [`Self::start`], no job is accepted and none delivered; every wait ends, also that of
    /// the thread that delivers.
    pub fn stop(&self) {
        self.shared.switch(Mode::Stopped);
    }

    /// After [`Self::stop`], what [`Self::resume`] is after a flush.
    pub fn start(&self) {
        self.reopen(Mode::Stopped);
    }

    fn reopen(&self, from: Mode) {
        let shared = &*self.shared;
        let this_thread = thread::current().id();
        let mut state = shared.wait_while(&shared.idle, |state| {
            let elsewhere = state.delivering.is_some_and(|thread| thread != this_thread);
            elsewhere && state.mode == from
        });
        if state.mode != from {
            return;
        }
        state.mode = Mode::Open;
        state.oldest = 0;
        state.next = 0;
        state.epoch += 1;
        let forgotten: Vec<_> = state.slots.drain(..).collect();
        drop(state);
        drop(forgotten);
    }

    /// From now on, no job is accepted and none delivered; every wait ends.
    pub fn close(&self) {
        self.shared.switch(Mode::Closed);
    }
}

impl<J> Drop for OrderedPool<J> {
    fn drop(&mut self) {
        self.shared.switch(Mode::Closed);
        for worker in self.workers.drain(..) {
            // A worker that panicked has ended as well.
            let _ = worker.join();
        }
    }
}

impl<J> Shared<J> {
    /// The state stays valid whatever a thread was doing when it failed.
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while(
        &self,
        condvar: &Condvar,
        condition: impl FnMut(&mut State<J>) -> bool,
    ) -> MutexGuard<'_, State<J>> {
        condvar.wait_while(self.lock(), condition).unwrap_or_else(PoisonError::into_inner)
    }

    fn switch(&self, mode: Mode) {
        let mut state = self.lock();
        if state.mode < mode {
            state.mode = mode;
            for condvar in [&self.room, &self.work, &self.done, &self.idle] {
                condvar.notify_all();
            }
        }
    }

    /// What a worker does until the pool is closed.
    fn run(&self, mut work: impl FnMut(&mut [J])) {
        let mut jobs = Vec::with_capacity(self.batch);
        loop {
            let mut state = self.wait_while(&self.work, |state| match state.mode {
                Mode::Open => state.next == state.oldest + state.slots.len() as u64,
                Mode::Flushing | Mode::Stopped => true,
                Mode::Closed => false,
            });
            if state.mode == Mode::Closed {
                return;
            }
            let (first, epoch) = (state.next, state.epoch);
            let end = state.oldest + state.slots.len() as u64;
            state.next = end.min(first + self.batch as u64);
            for number in first..state.next {
                let slot = mem::replace(state.slot(number), Slot::Running);
                if let Slot::Waiting(job) = slot {
                    jobs.push(job);
                }
            }
            drop(state);

            work(&mut jobs);

            let mut state = self.lock();
            if state.epoch == epoch {
                for (number, job) in (first..).zip(jobs.drain(..)) {
                    *state.slot(number) = Slot::Done(job);
                }
                if state.oldest == first {
                    self.done.notify_one();
                }
            }
            drop(state);
            // Those that were discarded meanwhile.
            jobs.clear();
        }
    }
}

impl<J> State<J> {
    /// The slot of job `number`, which is not delivered yet.
    fn slot(&mut self, number: u64) -> &mut Slot<J> {
        &mut self.slots[(number - self.oldest) as usize]
    }
}
