//! `seqlab train`.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::config::Config;
use crate::curves::{CsvFile, CurveRow, PredictionRow};
use crate::error::{INTERRUPTED, Interrupted};
use crate::meter::Means;
use crate::progress::{Progress, say};
use crate::rng::Purpose;
use crate::run_dir::RunDir;
use crate::summary::{ReplicaSummary, Summary};
use crate::train::{Observer, Outcome, Trainer, go_on};
use crate::{checkpoint, device, memory, report, versions};

/// Example predictions that the final summary shows.
const EXAMPLES: usize = 10;

/// What to train and where to leave it.
pub struct Train {
    /// A validated configuration.
    pub config: Config,
    /// The run's directory; `None`: a free one under `runs`.
    pub out: Option<PathBuf>,
    /// Whether to replace a run that is there.
    pub force: bool,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

/// Trains, evaluates and writes a run directory. Prints the result to `out`.
///
/// # Errors
/// Those of the run: device, directory, divergence, I/O, memory.
pub fn train(what: Train, out: &mut dyn Write) -> Result<ExitCode> {
    let stop = stop_on_signal()?;
    let done = train_until(&stop, what, out)?;
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

/// The same, but ends when `stop` is set. Returns whether it came to the end by itself.
///
/// # Errors
/// As [`train`].
pub(super) fn train_until(stop: &AtomicBool, what: Train, out: &mut dyn Write) -> Result<bool> {
    let begin = Instant::now();
    let Train { config, force, quiet, .. } = what;
    let chosen = device::choose(config.device)?;
    if let Some(path) = &what.out {
        RunDir::check(path, force)?;
    }
    memory::check(&config, chosen.device)?;
    device::set_threads(&config);
    // The models first: no run is replaced by one whose models do not fit into memory.
    let mut trainer = Trainer::new(&config, chosen.device)?;
    let path = what.out.map_or_else(|| RunDir::claim(&config.preset), Ok)?;
    let run = RunDir::create(&path, &config, force)?;
    let mut recorder = Recorder {
        curves: CsvFile::create(&run.curves_path())?,
        progress: Progress::new(&config, quiet),
    };
    let (engine, threads) = (trainer.chosen, trainer.threads);
    let device = device::name(chosen.device);
    let shown = path.display();
    if !quiet {
        let note = chosen.note.map(|note| format!(" ({note})")).unwrap_or_default();
        let preset = &config.preset;
        say(format!(
            "training {preset} on {device}{note}, engine: {engine}, threads: {threads}; writing {shown}"
        ));
    }

    let startup_seconds = begin.elapsed().as_secs_f64();
    let start = Instant::now();
    let outcome = trainer.run(&mut recorder, stop);
    let train_seconds = start.elapsed().as_secs_f64();
    recorder.progress.end();
    let outcome = outcome?;
    checkpoint::save(&run.checkpoint_path(), &trainer)?;
    let evaluated = match outcome {
        Outcome::Finished(means) => evaluate(&config, &trainer, &means, &run, stop),
        Outcome::Interrupted => Err(Interrupted.into()),
    };
    let (replicas, examples) = match evaluated {
        Err(error) if error.is::<Interrupted>() => {
            // Half a table would pass for a whole one.
            let _ = std::fs::remove_file(run.predictions_path());
            say(format!("interrupted after step {}; state saved in {shown}", trainer.step));
            return Ok(false);
        }
        evaluated => evaluated?,
    };
    let summary = Summary {
        preset: config.preset.clone(),
        steps: trainer.step,
        train_seconds,
        startup_seconds,
        device,
        engine: engine.to_string(),
        machine: device::machine(),
        threads: threads as i64,
        versions: versions::all(),
        git_commit: versions::GIT_COMMIT.to_owned(),
        replicas,
    };
    run.write_summary(&summary)?;
    if !quiet {
        show(&summary, &examples, out)?;
        let files = "config.toml curves.csv predictions.csv summary.json checkpoint/";
        writeln!(out, "{shown}: {files}")?;
    }
    Ok(true)
}

/// Prints examples, results and speed.
fn show(summary: &Summary, examples: &[PredictionRow], out: &mut dyn Write) -> Result<()> {
    let &Summary { steps, train_seconds, .. } = summary;
    writeln!(out, "{}", report::predictions(examples))?;
    writeln!(out, "{}", report::results(&summary.replicas))?;
    let speed = steps as f64 / train_seconds;
    writeln!(out, "{steps} steps in {train_seconds:.1} s ({speed:.0} steps/s)")?;
    Ok(())
}

/// Evaluates every replica, writes `predictions.csv` and keeps the first examples.
fn evaluate(
    config: &Config,
    trainer: &Trainer,
    means: &[Means],
    run: &RunDir,
    stop: &AtomicBool,
) -> Result<(Vec<ReplicaSummary>, Vec<PredictionRow>)> {
    let mut file = CsvFile::create(&run.predictions_path())?;
    let mut examples = Vec::new();
    let samples = config.evaluation_samples as usize;
    let evaluations = trainer.evaluator().run(Purpose::Evaluation, samples, |prediction| {
        let row = PredictionRow::from(prediction);
        if examples.len() < EXAMPLES {
            examples.push(row.clone());
        }
        file.add(row)?;
        go_on(stop)
    })?;
    file.flush()?;
    let replica = |((seed, means), evaluation): ((u64, &Means), _)| ReplicaSummary {
        seed,
        loss: Some(means.loss),
        accuracy: Some(means.accuracy),
        evaluation,
    };
    let replicas = config.seeds().into_iter().zip(means).zip(evaluations).map(replica);
    Ok((replicas.collect(), examples))
}

/// Writes rows as they come and shows how far the training is.
struct Recorder {
    curves: CsvFile<CurveRow>,
    progress: Progress,
}

impl Observer for Recorder {
    fn step(&mut self) {
        self.progress.step();
    }

    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.progress.rows(&rows);
        rows.into_iter().try_for_each(|row| self.curves.add(row))?;
        self.curves.flush()
    }
}

/// A flag that SIGINT and SIGTERM set. The second of them ends the process at once.
pub(super) fn stop_on_signal() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&stop);
    let handler = move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        say("interrupted: finishing the step; once more ends at once");
    };
    ctrlc::set_handler(handler).context("cannot handle SIGINT")?;
    Ok(stop)
}
