// SPDX-License-Identifier: MIT OR Apache-2.0

//! A program at work.

use std::{ops::Range, sync::Arc};

use super::{
    instructions::InstructionSet,
    kernels::{Rows, rows::Parts, winograd::Winograd},
    memory::Floats,
    plan::{Kernel, MOST_PARTS, MOST_STAGES, Place, Stage, Step},
    pool::Pool,
    program::Program,
};

/// The memory of one run, and the threads that share its work.
pub struct Run {
    program: Arc<Program>,
    /// The values, then the scratch memory of each thread.
    memory: Floats,
    pool: Pool,
}

impl Run {
    /// Runs on the calling thread and `threads - 1` others.
    pub fn new(program: Arc<Program>, threads: usize) -> Self {
        let plan = &program.plan;
        let pool = Pool::new(threads);
        let memory = Floats::new(plan.floats + pool.threads() * plan.scratch);
        Self { program, memory, pool }
    }

    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The picture: three planes, normalised as the network expects.
    pub fn input(&mut self) -> &mut [f32] {
        let Place { start, shape, .. } = self.program.plan.input;
        &mut self.memory[start..][..shape.len()]
    }

    /// From the input to the outputs.
    pub fn run(&mut self) {
        let Self { program, memory, pool } = self;
        let plan = &program.plan;
        let set = program.instructions();
        let memory = Memory(memory.as_ptr());
        pool.run(|worker| {
            let thread = worker.index();
            // SAFETY: each thread has its own.
            let scratch = unsafe { memory.start().add(plan.floats + thread * plan.scratch) };
            for step in &plan.steps {
                let share = |len: usize| {
                    let at = |thread: usize| len * thread / worker.threads();
                    at(thread)..at(thread + 1)
                };
                // SAFETY: the plan gives each step what it reads and writes, and the threads have rows
                // or tiles of their own; they wait for each other between steps.
                unsafe { run_step(step, set, &memory, scratch, share) };
                worker.wait();
            }
        });
    }

    /// Output `index`, in the order of the file: `[channels, rows, columns]`.
    pub fn output(&self, index: usize) -> &[f32] {
        let Place { start, shape, .. } = self.program.plan.outputs[index];
        &self.memory[start..][..shape.len()]
    }
}

/// Where the values are, for all threads.
struct Memory(*mut f32);

// SAFETY: threads write only what is theirs.
unsafe impl Sync for Memory {}

impl Memory {
    fn start(&self) -> *mut f32 {
        self.0
    }

    /// The rows of a value.
    ///
    /// # Safety
    /// The place is in this memory.
    unsafe fn rows(&self, place: &Place) -> Rows {
        let Place { start, shape, lanes } = *place;
        // SAFETY: as the caller says.
        Rows::new(unsafe { self.0.add(start) }, shape, lanes, shape.rows)
    }
}

/// Computes a thread's share of a step.
///
/// # Safety
/// The places are in the memory, nobody else writes what is read, and nobody uses the scratch memory or what
/// `share` gives to this thread.
unsafe fn run_step(
    step: &Step,
    set: InstructionSet,
    memory: &Memory,
    scratch: *mut f32,
    share: impl Fn(usize) -> Range<usize>,
) {
    // SAFETY: as the caller says.
    unsafe {
        let all = |places: &[Place]| {
            let mut rows = [memory.rows(&places[0]); MOST_PARTS];
            for (rows, place) in rows.iter_mut().zip(places) {
                *rows = memory.rows(place);
            }
            rows
        };
        match step {
            Step::Chain { stages, together, input, outputs } => {
                let parts = all(outputs);
                let output = Parts(&parts[..outputs.len()]);
                let rows = share(output.height());
                run_chain((stages, *together), set, memory.rows(input), output, scratch, rows);
            }
            Step::Winograd { kernel, input, outputs } => {
                let parts = all(outputs);
                let output = Parts(&parts[..outputs.len()]);
                let tiles = share(Winograd::tiles(output.height(), output.width()));
                kernel.tiles_of(set, memory.rows(input), output, scratch, tiles);
            }
            Step::Simple { operation, inputs, output } => {
                let parts = all(inputs);
                let output = [memory.rows(output)];
                for row in share(output[0].height) {
                    operation.row(set, &parts[..inputs.len()], Parts(&output), row);
                }
            }
        }
    }
}

/// Computes some rows of a chain's output.
///
/// # Safety
/// As [`run_step`].
unsafe fn run_chain(
    (stages, together): (&[Stage], usize),
    set: InstructionSet,
    input: Rows,
    output: Parts,
    scratch: *mut f32,
    rows: Range<usize>,
) {
    let lanes = set.lanes();
    let mut rings = [input; MOST_STAGES];
    for (ring, stage) in rings.iter_mut().zip(stages).take(stages.len() - 1) {
        // SAFETY: within the scratch memory.
        *ring = Rows::new(unsafe { scratch.add(stage.ring) }, stage.output, lanes, stage.kept);
    }
    let chain = Chain { stages, set, input, output, rings };
    // The rows of each stage that are done.
    let mut done = [0; MOST_STAGES];
    let mut first = rows.start;
    for (index, stage) in stages.iter().enumerate().rev() {
        done[index] = first;
        let window = stage.kernel.window();
        first = (first * window.stride[0]).saturating_sub(window.pads[0]);
    }
    let last = stages.len() - 1;
    while done[last] < rows.end {
        let end = rows.end.min(done[last] + together);
        // SAFETY: as the caller says.
        unsafe { chain.advance(last, end, &mut done) };
    }
}

struct Chain<'a> {
    stages: &'a [Stage],
    set: InstructionSet,
    input: Rows,
    output: Parts<'a>,
    rings: [Rows; MOST_STAGES],
}

impl Chain<'_> {
    /// Computes a stage's rows until `end`, and before each what it sees of the stage before.
    ///
    /// # Safety
    /// As [`run_step`].
    unsafe fn advance(&self, index: usize, end: usize, done: &mut [usize; MOST_STAGES]) {
        let stage = &self.stages[index];
        let window = stage.kernel.window();
        let rows = done[index]..end;
        if rows.is_empty() {
            return;
        }
        let input = match index.checked_sub(1) {
            None => self.input,
            Some(before) => {
                let seen = (end - 1) * window.stride[0] + window.kernel[0];
                let seen = seen.saturating_sub(window.pads[0]);
                let seen = seen.min(self.stages[before].output.rows);
                // SAFETY: as the caller says.
                unsafe { self.advance(before, seen, done) };
                self.rings[before]
            }
        };
        let ring = [self.rings[index]];
        let last = index + 1 == self.stages.len();
        let output = if last { self.output } else { Parts(&ring) };
        // SAFETY: the rows that the window sees were computed, and are kept.
        unsafe {
            match &stage.kernel {
                Kernel::Dense(dense) => dense.rows(self.set, input, output, rows),
                Kernel::Depthwise(depthwise) => depthwise.rows(self.set, input, output, rows),
                Kernel::Pooling(pooling) => pooling.rows(self.set, input, output, rows),
            }
        }
        done[index] = end;
    }
}
