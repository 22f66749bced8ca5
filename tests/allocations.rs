//! Frames of one size run without allocating. A test program of its own, because the allocator counts for all threads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use gst_candle::exec::{Options, Session};
use gst_candle::graph::Array;
use gst_candle::model::{Model, Task, Training};
use gst_candle::nets::{self, NetOptions};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_frame_allocates_nothing() {
    for (task, arch, side) in [
        (Task::Denoise, "fast", 96),
        (Task::Denoise, "dncnn", 48),
        (Task::Anomaly, "fair", 256),
    ] {
        let net = nets::build(task, arch, &NetOptions::default()).unwrap();
        let model = Model {
            task,
            weights: nets::init(&net, 1).unwrap(),
            graph: net.graph,
            input: net.input,
            labels: Vec::new(),
            calibration: None,
            training: Training::default(),
        };
        let options = Options {
            threads: 3,
            ..Options::default()
        };
        let session = Session::new(&model, &options).unwrap();
        let inputs: Vec<Array> = model
            .input_shapes(side, side)
            .into_iter()
            .map(|shape| Array {
                data: vec![0.5; shape.iter().product()],
                shape,
            })
            .collect();
        let mut outputs = Vec::new();
        let mut in_20_frames = || {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            for _ in 0..20 {
                session.run_into(&inputs, &mut outputs).unwrap();
            }
            ALLOCATIONS.load(Ordering::Relaxed) - before
        };
        // The first frames plan, start threads and grow lists; on a busy machine a thread may get its first work much later.
        let made: Vec<_> = (0..10).map(|_| in_20_frames()).collect();
        assert!(made.contains(&0), "{arch}: in 20 frames each: {made:?}");
    }
}
