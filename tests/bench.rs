//! The benchmark's table follows from its measurements, and the report's arithmetic is right.

use std::path::Path;
use std::process::Command;

/// Runs `python3` with `arguments` at the root; `false` where there is no Python to run.
fn python(arguments: &[&str]) -> bool {
    let mut command = Command::new("python3");
    command.args(["-B", "-W", "error"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    match command.output() {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "python3 {}:\n{stderr}", arguments.join(" "));
            true
        }
        Err(_) => {
            eprintln!("skipped: there is no python3");
            false
        }
    }
}

#[test]
fn bench_md_follows_from_the_measurements() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/bench/bench.csv");
    if !results.exists() {
        eprintln!("skipped: there are no results yet, scripts/bench writes them");
        return;
    }
    python(&["bench/report.py", "--check", "results/bench"]);
}

#[test]
fn the_report_computes_what_it_says() {
    python(&["-m", "unittest", "discover", "--start-directory", "bench"]);
}
