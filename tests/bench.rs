//! The benchmark's table follows from its measurements, and the report's arithmetic is right.

mod common;

use std::path::Path;

use common::python;

#[test]
fn bench_md_follows_from_the_measurements() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/bench/bench.csv");
    if !results.exists() {
        eprintln!("skipped: there are no results yet, scripts/bench writes them");
        return;
    }
    python(&["scripts/benchmark/report.py", "--check", "results/bench"]);
}

#[test]
fn the_report_computes_what_it_says() {
    python(&["-m", "unittest", "discover", "--start-directory", "scripts/benchmark"]);
}
