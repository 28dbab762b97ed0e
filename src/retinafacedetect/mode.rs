// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which threads detect faces: the streaming thread, or some of their own.

use std::{
    iter,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex},
};

use super::{
    settings::LiveSettings,
    worker::{DetectError, Job, Network, View, Worker},
};
use crate::{
    frame::Layout,
    inference::{Config, SessionEngine},
    ordered_pool::OrderedPool,
};

/// Where frames are processed.
#[derive(Clone)]
pub enum Mode {
    /// In the streaming thread, the only one to lock this.
    Inline(Arc<Mutex<(Worker, Job)>>),
    /// In threads of their own; the source pad's task pushes them downstream.
    Threaded(Arc<OrderedPool<Job>>),
}

impl Mode {
    /// For frames like this, with `engine` and as many others as are needed.
    pub fn new(
        network: &Arc<Network>,
        config: &Config,
        engine: SessionEngine,
        layout: Layout,
        view: View,
        settings: LiveSettings,
    ) -> Result<Self, DetectError> {
        let mut engine = Some(engine);
        let mut makers = iter::repeat_with(|| {
            let mut worker = Worker::new(Arc::clone(network), config.clone());
            let engine = engine.take();
            move || worker.prepare(&layout, &view, &settings, engine).map(|()| worker)
        });
        if config.in_flight == 1
            && let Some(make) = makers.next()
        {
            return Ok(Self::Inline(Arc::new(Mutex::new((make()?, Job::default())))));
        }
        let makers = makers.take(config.runs).map(|make| {
            move || -> Result<_, DetectError> {
                let mut worker = make()?;
                Ok(move |jobs: &mut [Job]| {
                    let work = AssertUnwindSafe(|| worker.work(jobs));
                    if let Err(fault) = panic::catch_unwind(work)
                        && let Some(job) = jobs.iter_mut().find(|job| job.detect)
                    {
                        let fault = fault.downcast_ref::<&str>().copied().unwrap_or("unknown");
                        job.result = Err(DetectError::Fault(fault.to_owned()));
                    }
                })
            }
        });
        let pool = OrderedPool::with_makers(makers, config.in_flight, config.batch)?;
        Ok(Self::Threaded(Arc::new(pool)))
    }

    /// The threads, if there are any.
    pub fn pool(&self) -> Option<&Arc<OrderedPool<Job>>> {
        match self {
            Self::Inline(_) => None,
            Self::Threaded(pool) => Some(pool),
        }
    }
}
