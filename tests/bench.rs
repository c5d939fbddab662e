//! The benchmark's table follows from its measurements, and the report's arithmetic is right.

mod common;

use std::path::Path;

use common::python;

#[test]
fn bench_md_follows_from_the_measurements() {
    for machine in ["bench", "bench-epyc", "bench-xeon"] {
        let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results").join(machine);
        if !results.join("bench.csv").exists() {
            eprintln!(
                "skipped: there are no results in results/{machine}, scripts/bench writes them"
            );
            continue;
        }
        let results = results.to_str().expect("a path in UTF-8");
        python(&["scripts/benchmark/report.py", "--check", results]);
    }
}

#[test]
fn the_report_computes_what_it_says() {
    python(&["-m", "unittest", "discover", "--start-directory", "scripts/benchmark"]);
}
