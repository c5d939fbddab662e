//! The README's table follows from the committed runs under `results/`.
//!
//! After new runs: `UPDATE_README=1 scripts/test --test readme`

use std::fs;
use std::path::{Path, PathBuf};

use seqlab::presets::{self, Preset};
use seqlab::run_dir::RunDir;
use seqlab::summary::{ReplicaSummary, Summary};

const BEGIN: &str =
    "<!-- results:begin, written by UPDATE_README=1 scripts/test --test readme -->\n";
const END: &str = "<!-- results:end -->";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_table_follows_from_the_committed_runs() {
    let path = root().join("README.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the README has the begin mark");
    let (_, after) = rest.split_once(END).expect("the README has the end mark");
    let current = format!("{before}{BEGIN}{}\n{}{END}{after}", table(), table_of_seeds());
    if std::env::var_os("UPDATE_README").is_some() {
        fs::write(path, current).unwrap();
    } else {
        assert!(text == current, "README.md is stale: UPDATE_README=1 scripts/test --test readme");
    }
}

#[test]
fn committed_runs_are_the_presets_with_their_defaults() {
    for preset in presets::all() {
        let (_, config) = RunDir::open(&run(&preset)).unwrap();
        assert_eq!(config, preset.config);
    }
}

/// What every training of a preset has to reach: the range of the loss and the least accuracy over
/// the last 20 epochs (`reverse`: over its one epoch), then the least token and exact accuracy on
/// fresh sequences. Ranges span the published figures and what an independent implementation gives.
const BOUNDS: [(&str, std::ops::RangeInclusive<f64>, f64, f64, f64); 8] = [
    ("echo", 1.45..=1.78, 0.97, 0.95, 0.8),
    ("partial-echo-2", 0.0..=0.04, 0.98, 0.99, 0.99),
    ("partial-echo-4", 0.2..=0.45, 0.85, 0.85, 0.5),
    ("reverse", 0.62..=0.66, 0.785, 0.99, 0.985),
    ("echo-tutorial", 1.3..=1.8, 0.98, 0.98, 0.95),
    ("echo-current", 0.05..=0.15, 0.99, 0.99, 0.99),
    ("echo-lag", 0.05..=0.3, 0.95, 0.95, 0.95),
    ("echo-lag-no-context", 4.5..=4.7, 0.0, 0.0, 0.0),
];

#[test]
fn committed_runs_reach_what_a_training_has_to_reach() {
    for (preset, bounds) in presets::all().iter().zip(BOUNDS) {
        let (name, losses, accuracy, tokens, exact) = bounds;
        assert_eq!(preset.name, name);
        let (dir, config) = RunDir::open(&run(preset)).unwrap();
        let replica = &dir.read_summary().unwrap().expect("a finished run").replicas[0];
        let reached = match config.epochs {
            1 => (replica.loss.unwrap(), replica.accuracy.unwrap()),
            _ => last_rows(&dir.curves_path()),
        };
        assert!(losses.contains(&reached.0) && reached.1 >= accuracy, "{name}: {reached:?}");
        let evaluation = &replica.evaluation;
        assert!(evaluation.samples >= 2_000, "{name}");
        assert!(evaluation.token_accuracy >= tokens, "{name}: {evaluation:?}");
        assert!(evaluation.sequence_accuracy >= exact, "{name}: {evaluation:?}");
    }
}

fn run(preset: &Preset) -> PathBuf {
    root().join("results").join(preset.name)
}

fn table() -> String {
    let mut table = "| command | published loss / accuracy | last epoch | mean of last 20 rows | \
                     token accuracy | exact | training |\n\
                     | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    let mut builds = Vec::new();
    for preset in presets::all() {
        let (dir, _) = RunDir::open(&run(&preset)).unwrap();
        let summary = dir.read_summary().unwrap().expect("a finished run");
        table += &row(&preset, &summary, last_rows(&dir.curves_path()));
        builds.push(format!(
            "seqlab {} at commit {} with libtorch {} on {}",
            summary.versions["seqlab"],
            summary.git_commit,
            summary.versions["libtorch"],
            summary.device
        ));
    }
    builds.dedup();
    format!("{table}\nBy {}.\n", builds.join("; "))
}

fn row(preset: &Preset, summary: &Summary, (loss, accuracy): (f64, f64)) -> String {
    let replica = &summary.replicas[0];
    format!(
        "| `scripts/seqlab train {name} --out results/{name}` | {} / {} | {:.4} / {:.4} | \
         {loss:.4} / {accuracy:.4} | {:.4} | {:.4} | {:.1} s |\n",
        preset.loss,
        preset.accuracy,
        replica.loss.unwrap(),
        replica.accuracy.unwrap(),
        replica.evaluation.token_accuracy,
        replica.evaluation.sequence_accuracy,
        summary.train_seconds,
        name = preset.name,
    )
}

/// The experiments with many replicas, each with a row every 20 epochs, and how many.
const SEEDS: [(&str, usize); 4] =
    [("echo", 32), ("partial-echo-2", 10), ("partial-echo-4", 6), ("reverse", 10)];

fn table_of_seeds() -> String {
    let mut table = "| command | loss | accuracy | token accuracy | exact |\n\
                     | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (name, replicas) in SEEDS {
        let (dir, config) = RunDir::open(&root().join(format!("results/{name}-seeds"))).unwrap();
        let summary = dir.read_summary().unwrap().expect("a finished run");
        assert_eq!(summary.replicas.len(), replicas);
        let (log, curves): (String, Vec<(f64, f64)>) = if config.epochs == 1 {
            let epoch = |r: &ReplicaSummary| (r.loss.unwrap(), r.accuracy.unwrap());
            (String::new(), summary.replicas.iter().map(epoch).collect())
        } else {
            let steps = 20 * config.steps_per_epoch();
            assert_eq!(config.log_every, Some(steps), "the last row is of the last 20 epochs");
            (format!(" --log-every {steps}"), last_row_of_each(&dir.curves_path(), replicas))
        };
        let evaluations = summary.replicas.iter().map(|replica| &replica.evaluation);
        table += &format!(
            "| `scripts/seqlab train {name} --seed 0 --replicas {replicas}{log} --out results/{name}-seeds` \
             | {} | {} | {} | {} |\n",
            spread(curves.iter().map(|pair| pair.0).collect()),
            spread(curves.iter().map(|pair| pair.1).collect()),
            spread(evaluations.clone().map(|e| e.token_accuracy).collect()),
            spread(evaluations.map(|e| e.sequence_accuracy).collect()),
        );
    }
    table
}

/// Mean ± standard deviation.
fn spread(values: Vec<f64>) -> String {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    format!("{mean:.4} ± {:.4}", (squares / (n - 1.0)).sqrt())
}

/// Loss and accuracy in the last row of every replica.
fn last_row_of_each(path: &Path, replicas: usize) -> Vec<(f64, f64)> {
    let rows = curve(path);
    rows[rows.len() - replicas..].to_vec()
}

/// Mean loss and accuracy of the last 20 rows of a `curves.csv` with one replica.
fn last_rows(path: &Path) -> (f64, f64) {
    let rows = curve(path);
    let last = &rows[rows.len() - 20..];
    let mean = |of: fn(&(f64, f64)) -> f64| last.iter().map(of).sum::<f64>() / last.len() as f64;
    (mean(|row| row.0), mean(|row| row.1))
}

/// Loss and accuracy of every row of a `curves.csv`.
fn curve(path: &Path) -> Vec<(f64, f64)> {
    let mut reader = csv::Reader::from_path(path).unwrap();
    let headers = reader.headers().unwrap().clone();
    let column = |name| headers.iter().position(|header| header == name).unwrap();
    let (loss, accuracy) = (column("loss"), column("accuracy"));
    let number = |row: &csv::StringRecord, column: usize| row[column].parse().unwrap();
    reader
        .records()
        .map(|row| row.unwrap())
        .map(|r| (number(&r, loss), number(&r, accuracy)))
        .collect()
}
