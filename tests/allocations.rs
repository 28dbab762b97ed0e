// SPDX-License-Identifier: MIT OR Apache-2.0

//! Nothing is allocated on the way from a frame to its faces.

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use gstretinaface::{
    frame,
    inference::{Config, Loader, Provider, Request, SessionEngine},
    meta,
    model::{InputSpec, Known, Model},
    ordered_pool::OrderedPool,
    preprocess::Placement,
    retinaface::detector::{Detector, Engine},
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does everything.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[test]
fn nothing_is_allocated_for_a_frame() {
    // One after the other, as all allocations are counted.
    for provider in [Provider::Cpu, Provider::Native] {
        let request = Request { threads: 1, ..Request::default() };
        let config = request.resolve(provider).expect("the default precision");
        nothing_is_allocated_with(&config);
    }
}

/// One frame after the other through preprocessing, the network, decoding and suppression, on two
/// threads.
fn nothing_is_allocated_with(config: &Config) {
    let sample = common::astronaut("BGR");
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("video");
    let layout = frame::Layout::try_from(&info).expect("a format we read");
    let model = std::fs::read("models/retinaface_mv1_0.25.onnx").expect("scripts/setup");
    let model = Model::shared(&model, &Known::default()).expect("a RetinaFace network");
    let spec = InputSpec::new((320, 320), &model.strides());
    let loader = Loader::new(|_, _| (), model, Box::new(|_| ()));
    let session = loader.session(&spec, config).expect("it loads");
    let parameters = common::parameters(0.1);
    let workers = (0..2).map(|_| {
        let mut engine = SessionEngine::new(Arc::clone(&session)).expect("it runs");
        let mut detector = Detector::default();
        let (info, sample) = (info.clone(), sample.clone());
        let placement = Placement::whole(spec.size);
        move |faces: &mut [usize]| {
            let buffer = sample.buffer().expect("a buffer");
            let filled = meta::with_frame(buffer, &info, layout, |frame| {
                detector.preprocess(frame, &placement, &mut engine, 0, parameters.scale_method);
            });
            filled.expect("a frame");
            engine.run().expect("it runs");
            let size = (info.width(), info.height());
            detector.postprocess(size, &placement, &engine, 0, &parameters);
            faces[0] = detector.faces().len();
        }
    });
    let pool = OrderedPool::new(workers, 2, 1).expect("threads");
    let round = || {
        for _ in 0..pool.capacity() {
            assert!(pool.push(|faces| *faces = 0));
        }
        for _ in 0..pool.capacity() {
            assert!(pool.deliver(|faces| assert!(*faces > 0)));
        }
    };
    // Both workers have had a frame.
    (0..20).for_each(|_| round());
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    (0..10).for_each(|_| round());
    assert_eq!(ALLOCATIONS.load(Ordering::SeqCst) - before, 0, "with {config:?}");
}
