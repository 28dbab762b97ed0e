// SPDX-License-Identifier: MIT OR Apache-2.0

//! Damaged networks are refused, or read as something that makes sense: no panic, no more than a
//! second, no more than a gigabyte. PROPTEST_CASES sets how many are tried.

mod damage;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    env, fs,
    path::Path,
    sync::LazyLock,
};

use damage::{change, damage};
use gstretinaface::{
    model::{InputSpec, Model},
    onnx::{messages::*, validate::validate},
    orientation::Orientation,
    preprocess::{Form, Pixels, ScaleMethod},
};
use proptest::prelude::*;
use prost::Message;

const DEFAULT_CASES: u32 = 500;
const MAX_SECONDS: f64 = 1.0;
const MAX_BYTES: isize = 1 << 30;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most there were.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

impl Counting {
    fn count(change: isize) {
        let live = LIVE.get() + change;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
    }
}

// SAFETY: the system's allocator does everything; counting does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(layout.size() as isize);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::count(-(layout.size() as isize));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The default network: the file, and without its weights, so that damage is where it matters.
struct Network {
    bytes: Vec<u8>,
    bare: ModelProto,
}

static NETWORK: LazyLock<Option<Network>> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/retinaface_mv1_0.25.onnx");
    let Ok(bytes) = fs::read(path) else {
        eprintln!("SKIPPED: damaged networks need the default network (scripts/setup)");
        return None;
    };
    let mut bare = ModelProto::decode(bytes.as_slice()).expect("an ONNX file");
    for tensor in &mut bare.graph.as_mut().expect("a graph").initializer {
        if tensor.raw_data().len() > 256 {
            tensor.raw_data = None;
        }
    }
    Some(Network { bytes, bare })
});

/// Seconds that this thread has computed, whatever else the machine does.
fn thread_seconds() -> Option<f64> {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds: f64 = statistics.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
}

/// Gives tensors without data as much as their shapes promise: without it, no damage elsewhere would
/// come to light.
fn with_weights(bytes: &[u8]) -> Option<Vec<u8>> {
    const MAX_BYTES: usize = 1 << 20;
    let mut model = ModelProto::decode(bytes).ok()?;
    for tensor in &mut model.graph.as_mut()?.initializer {
        let empty = tensor.raw_data().is_empty() && tensor.float_data.is_empty();
        let len = tensor.element_count()?.checked_mul(4).filter(|&len| len <= MAX_BYTES)?;
        if empty && tensor.is(DataType::Float) {
            tensor.raw_data = Some(vec![0; len].into());
        }
    }
    Some(model.encode_to_vec())
}

/// Reads and rewrites a file as the element does.
fn load(bytes: &[u8], spec: &InputSpec, lanes: usize) {
    PEAK.set(LIVE.get());
    let (before, started) = (LIVE.get(), thread_seconds());
    if let Ok(model) = Model::parse(bytes) {
        let strides = model.strides();
        let spec = InputSpec { strides: strides.clone(), ..spec.clone() };
        let size = model
            .sizes()
            .place(spec.size, Orientation::Identity, 1.0, 0, ScaleMethod::Bilinear)
            .input;
        let heads = model.heads(size.0, size.1, &strides);
        for output in 0..model.output_names().len() {
            heads.output_len(output);
        }
        if let Ok(specialised) = model.specialise(&InputSpec { size, ..spec.clone() }, lanes) {
            let rewritten = ModelProto::decode(specialised.model.as_slice()).expect("an ONNX file");
            if specialised.input == model.input_name() {
                let (width, height) = size;
                let shape = [spec.batch, 3, height as usize, width as usize];
                validate(&rewritten, &specialised.input, &shape).expect("as sound as it was");
            }
            for (index, (_, dims)) in specialised.outputs.iter().enumerate() {
                // The decoder reads the values of one frame, to the last.
                let frame: i64 = dims[1..].iter().product();
                assert_eq!(specialised.heads.output_len(index) as i64, frame);
                assert_eq!(dims[0], spec.batch as i64);
            }
        }
    }
    let peak = PEAK.get() - before;
    assert!(peak <= MAX_BYTES, "{peak} bytes");
    if let (Some(started), Some(ended)) = (started, thread_seconds()) {
        assert!(ended - started <= MAX_SECONDS, "{} s", ended - started);
    }
}

fn input_spec() -> impl Strategy<Value = (InputSpec, usize)> {
    let side = || prop_oneof![Just(1), Just(640), Just(8192), 1u32..2000];
    let pixels =
        Pixels { size: (320, 240), channels: 4, order: [2, 1, 0], method: ScaleMethod::Bilinear };
    let form = prop_oneof![Just(Form::Planes), Just(Form::Pixels(pixels))];
    let lanes = prop_oneof![Just(1usize), Just(8), Just(16)];
    (side(), side(), form, 1usize..5, lanes).prop_map(|(width, height, form, batch, lanes)| {
        (InputSpec { form, batch, ..InputSpec::new((width, height), &[]) }, lanes)
    })
}

fn config() -> ProptestConfig {
    // PROPTEST_CASES is what the default takes into account.
    let cases = match env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default().cases,
        None => DEFAULT_CASES,
    };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn damaged_bytes_do_no_harm(
        damage in prop::collection::vec(damage(), 1..5),
        bare: bool,
        (spec, lanes) in input_spec(),
    ) {
        let Some(network) = &*NETWORK else { return Ok(()) };
        let mut bytes =
            if bare { network.bare.encode_to_vec() } else { network.bytes.clone() };
        damage.iter().for_each(|damage| damage.apply(&mut bytes));
        load(&bytes, &spec, lanes);
        if let Some(whole) = with_weights(&bytes).filter(|_| bare) {
            load(&whole, &spec, lanes);
        }
    }

    #[test]
    fn changed_graphs_do_no_harm(
        changes in prop::collection::vec(change(), 1..6),
        bare in prop::bool::weighted(0.2),
        (spec, lanes) in input_spec(),
    ) {
        let Some(network) = &*NETWORK else { return Ok(()) };
        let mut model = match bare {
            true => network.bare.clone(),
            false => ModelProto::decode(network.bytes.as_slice()).expect("an ONNX file"),
        };
        for change in &changes {
            // What there is nothing of stays as it is.
            let _ = change.apply(&mut model);
        }
        load(&model.encode_to_vec(), &spec, lanes);
    }
}
