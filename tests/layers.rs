//! Every kind of layer takes the memory that it says, and is among the models that tests walk: those of
//! `engines.rs` (fused engine = libtorch), `gradients.rs` (slopes and Keras's equations) and
//! `resume.rs` (state saved and restored).

#[path = "common/models.rs"]
mod models;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeSet;

use models::{layers_of, with_more_layers};
use seqlab::config::{Config, presets};
use seqlab::engine::fused::row_bytes;
use seqlab::model::layers::Layer;
use seqlab::model::{Model, Node, Read};

/// Counts the bytes that a thread asks for.
struct Counting;

thread_local! { static ASKED: Cell<usize> = const { Cell::new(0) }; }

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ASKED.with(|asked| asked.set(asked.get() + layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn models() -> Vec<Config> {
    let bases = ["echo", "echo-lag", "partial-echo-2", "reverse"].map(|name| {
        let config = presets::find(name).unwrap().config;
        Config { stateful: false, units: 40, ..config }
    });
    bases.iter().flat_map(with_more_layers).collect()
}

#[test]
fn every_kind_is_in_a_model_that_is_walked() {
    let nodes = models().iter().flat_map(|config| Model::new(config).nodes).collect::<Vec<_>>();
    let found: BTreeSet<&str> = nodes.iter().map(|node| node.layer.kind()).collect();
    assert_eq!(found, Layer::KINDS.iter().copied().collect(), "add the kind to models.rs");
}

/// Bytes that a pass of `rows` rows asks for.
fn asked(node: &Node, rows: usize) -> usize {
    let before = ASKED.with(Cell::get);
    let pass = node.layer.pass::<f64>(node, rows);
    let bytes = ASKED.with(Cell::get) - before;
    drop(pass);
    bytes
}

#[test]
fn a_pass_has_the_buffers_that_are_estimated() {
    const ROWS: usize = 50;
    for (number, config) in models().into_iter().enumerate() {
        let model = Model::new(&config).in_parts(1 + number % 3);
        let mut all = 0;
        for node in &model.nodes {
            // What does not grow with the rows is the pass itself.
            let bytes = (asked(node, 2 * ROWS) - asked(node, ROWS)) / ROWS;
            let spec = node.layer.spec();
            let [numbers, scratch] =
                [spec.buffers(node), spec.scratch(node)].map(|lengths| lengths.iter().sum::<i64>());
            let what = format!("{}: {}", layers_of(&config), node.name);
            assert_eq!(bytes as i64, 8 * numbers, "{what}");
            let pass = (asked(node, ROWS) - ROWS * bytes) as i64 - 8 * scratch;
            assert!((0..4000 * node.parts as i64).contains(&pass), "{what}: {pass} bytes besides");
            all += bytes;
        }
        let ids = model.nodes.iter().flat_map(|node| {
            node.reads.iter().map(move |read| match read {
                Read::Source | Read::DecoderInput => node.steps,
                Read::Outputs(_) | Read::Last(_) => 0,
            })
        });
        let ids = 8 * (ids.sum::<i64>() + model.output_steps());
        let expected = row_bytes(&model, 8.0);
        assert_eq!(all as f64 + ids as f64, expected, "{}", layers_of(&config));
    }
}
