//! What a new training and one that goes on have in common: from where the trainer stands to the end
//! of the run.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::base::error::Interrupted;
use crate::base::input;
use crate::base::rng::Purpose;
use crate::base::statistics::figure;
use crate::base::versions;
use crate::config::Config;
use crate::data::task::Task;
use crate::data::writing::Writing;
use crate::engine::pace::Pace;
use crate::files::checksum::Checksum;
use crate::model::losses::Metric;
use crate::reports::tables;
use crate::reports::tensorboard::EventFiles;
use crate::run::curves::{CsvFile, CurveRow, PredictionRow};
use crate::run::progress::{Drawing, Progress, say};
use crate::run::run_dir::RunDir;
use crate::run::summary::{Evaluation, ReplicaSummary, Summary};
use crate::tensor::device::{self, Chosen};
use crate::train::checkpoint;
use crate::train::memory;
use crate::train::meter::Means;
use crate::train::trainer::{Observer, Outcome, Stopped, Trainer, go_on};

/// Example predictions that the final summary shows.
const EXAMPLES: usize = 10;

/// Models without weights on a device, if there is memory for their training.
///
/// # Errors
/// Those of [`memory::check`] and [`Trainer::blank`].
pub(super) fn new_trainer(config: &Config, device: &Chosen) -> Result<Trainer> {
    trainer_of(config, device, || Ok(Task::load(config)?))
}

/// The same with a `task` that is had once there is memory.
///
/// # Errors
/// Those of [`memory::check`], `task` and [`Trainer::of_task`].
pub(super) fn trainer_of(
    config: &Config,
    device: &Chosen,
    task: impl FnOnce() -> Result<Task>,
) -> Result<Trainer> {
    memory::check(config, device.device)?;
    // Those of the pool come first; libtorch's have to do with what is left.
    device::set_threads(1);
    let trainer = Trainer::of_task(config, task()?, device.device)?;
    device::set_threads(device::threads(config));
    Ok(trainer)
}

/// Draws the weights of a training that begins. Returns false if `stop` was set meanwhile.
///
/// # Errors
/// Those of [`Trainer::initialise`].
pub(super) fn draw_weights(trainer: &mut Trainer, stop: &AtomicBool, quiet: bool) -> Result<bool> {
    let drawing = Drawing::new(quiet);
    let drawn = trainer.initialise(&|part| {
        drawing.add(part);
        go_on(stop)
    });
    drawing.end();
    match drawn {
        Err(error) if error.is::<Interrupted>() => {
            say("interrupted before the first step; nothing was written");
            Ok(false)
        }
        drawn => drawn.map(|()| true),
    }
}

/// A training that is about to begin or to go on.
pub(super) struct Session {
    /// When the command began.
    pub begin: Instant,
    /// Where everything is written.
    pub run: RunDir,
    /// The models, where they stand.
    pub trainer: Trainer,
    /// The rows so far.
    pub curves: CsvFile<CurveRow>,
    /// What computes.
    pub device: Chosen,
    /// Whether to print neither progress nor result.
    pub quiet: bool,
}

impl Session {
    /// Trains to the end, evaluates and writes what is left to write, or saves the state when `stop`
    /// is set. Returns whether it came to the end. Progress begins with `verb`; the result goes to
    /// `out`.
    ///
    /// # Errors
    /// Those of the run: divergence, I/O, memory.
    pub fn go_on(self, verb: &str, stop: &AtomicBool, out: &mut dyn Write) -> Result<bool> {
        let Self { begin, run, mut trainer, curves, device, quiet } = self;
        let (config, first) = (trainer.config().clone(), trainer.step);
        let shown = input::shown(run.path());
        let Chosen { device, note } = device;
        let name = device::name(device);
        if !quiet {
            trainer.task().about().into_iter().for_each(say);
            let note = note.map(|note| format!(" ({note})")).unwrap_or_default();
            let (preset, engine) = (&config.preset, trainer.chosen);
            let threads = threads_in_words(&config, trainer.pace());
            let after = if first > 0 { format!(" after step {first}") } else { String::new() };
            say(format!(
                "{verb} {preset}{after} on {name}{note}, engine: {engine}, threads: {threads}; \
                 writing {shown}"
            ));
        }
        let progress = Progress::new(trainer.epochs(), first, quiet);
        let (events, written) = (event_files(&run, &config)?, Instant::now());
        let mut recorder = Recorder { run: &run, curves, events, written, progress };
        let startup_seconds = begin.elapsed().as_secs_f64();
        let outcome = trainer.run(&mut recorder, stop);
        recorder.progress.end();
        if let Some(failure) = trainer.engine_failure() {
            say(format!("steps took longer than they should: {failure}"));
        }
        // What led to a failure is to be seen.
        let flushed = recorder.flush();
        let outcome = outcome.and_then(|outcome| flushed.map(|()| outcome));
        let evaluated = match outcome? {
            Outcome::Finished(means) => record(&trainer, &means, &run, stop),
            Outcome::Interrupted => Err(Interrupted.into()),
        };
        run.check_in_place(&recorder.curves)?;
        let (replicas, examples) = match evaluated {
            Err(error) if error.is::<Interrupted>() => {
                // Half a table would pass for a whole one.
                run.remove(&run.predictions_path())?;
                say(format!("interrupted after step {}; state saved in {shown}", trainer.step));
                say(format!("resume with: {}", run.resume_command()));
                return Ok(false);
            }
            evaluated => evaluated?,
        };
        let curves = recorder.curves.sync()?;
        let summary = summary_of(&trainer, name, startup_seconds, curves, replicas);
        if let Some(events) = &mut recorder.events {
            events.sync()?;
        }
        run.write_summary(&summary)?;
        if !quiet {
            let examples = tables::predictions(&examples, &config.seeds(), width());
            let validated = validated(&config, &run, &summary);
            let results = tables::results(&summary.replicas, &validated, config.vocab);
            writeln!(out, "{examples}\n{results}\n{}", speed(&summary))?;
            let files = "config.toml curves.csv predictions.csv summary.json checkpoint/";
            let events = if recorder.events.is_some() { " tensorboard/" } else { "" };
            writeln!(out, "{shown}: {files}{events}")?;
        }
        Ok(true)
    }
}

/// The event files of `run`, if it keeps some, with the rows that it has. A run that goes on has no others than those
/// from before its checkpoint: what came after them is made again.
fn event_files<'a>(run: &'a RunDir, config: &Config) -> Result<Option<EventFiles<'a>>> {
    if !run.has_events()? {
        return Ok(None);
    }
    let (path, rows) = (run.events_path(), run.read_curves(None)?);
    EventFiles::begin(run.directory(), &path, config.replicas as usize, &rows).map(Some)
}

/// The summary of what `trainer` has done on the device called `device`, `startup_seconds` after it began; `curves`
/// are its rows.
pub(super) fn summary_of(
    trainer: &Trainer,
    device: String,
    startup_seconds: f64,
    curves: Checksum,
    replicas: Vec<ReplicaSummary>,
) -> Summary {
    let config = trainer.config();
    Summary {
        preset: config.preset.clone(),
        steps: trainer.step,
        train_seconds: trainer.seconds(),
        startup_seconds,
        device,
        engine: trainer.chosen.to_string(),
        machine: device::machine(),
        threads: trainer.pace().mostly() as i64,
        versions: versions::all(),
        git_commit: versions::GIT_COMMIT.to_owned(),
        config: Some(config.clone()),
        init_from: trainer.init_from.clone(),
        imported: None,
        curves: Some(curves),
        replicas,
    }
}

/// How many threads a training has, and what is odd about it.
fn threads_in_words(config: &Config, pace: &Pace) -> String {
    let (asked, cores) = (config.threads.unwrap_or(1) as usize, device::cores());
    match pace.threads() {
        threads if threads < asked => format!("{threads}, as the system refuses more"),
        threads if threads > cores => format!("{threads}, more than the {cores} cores"),
        _ => pace.to_string(),
    }
}

/// The columns of the terminal on standard output; `None` if it is none.
pub(super) fn width() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stdout())?;
    Some(width.0.into())
}

/// Each replica's last row with a validation. One that cannot be read is not shown: the run is finished.
fn validated(config: &Config, run: &RunDir, summary: &Summary) -> Vec<CurveRow> {
    let rows = config.validate_every.and_then(|_| run.read_curves(Some(summary)).ok());
    let mut last = BTreeMap::new();
    for row in rows.into_iter().flatten().filter(|row| row.val_loss.is_some()) {
        last.insert(row.replica, row);
    }
    last.into_values().collect()
}

fn speed(summary: &Summary) -> String {
    let &Summary { steps, train_seconds, .. } = summary;
    let speed = steps as f64 / train_seconds;
    format!("{steps} steps in {train_seconds:.1} s ({speed:.0} steps/s)")
}

/// What [`evaluate`] comes to: each replica's result, and the first examples.
pub(super) type Evaluated = (Vec<ReplicaSummary>, Vec<PredictionRow>);

/// Evaluates every replica and writes `predictions.csv`.
fn record(
    trainer: &Trainer,
    means: &[Option<Means>],
    run: &RunDir,
    stop: &AtomicBool,
) -> Result<Evaluated> {
    let mut file = run.predictions()?;
    let evaluated = evaluate(trainer, means, stop, |row| file.add(row))?;
    // The summary, which comes next, says that everything is there.
    file.sync()?;
    run.check_evaluated(&file)?;
    Ok(evaluated)
}

/// Evaluates every replica, whose last epoch had these `means`, hands each prediction to `add`, and keeps the first
/// examples, as many of each of the first replicas.
///
/// # Errors
/// That `stop` was set, those of `add`, and libtorch's.
pub(super) fn evaluate(
    trainer: &Trainer,
    means: &[Option<Means>],
    stop: &AtomicBool,
    mut add: impl FnMut(PredictionRow) -> Result<()>,
) -> Result<Evaluated> {
    let config = trainer.config();
    let mut examples: Vec<PredictionRow> = Vec::new();
    let each = EXAMPLES.div_ceil(config.replicas as usize);
    let samples = config.evaluation_samples as usize;
    let (seeds, diverged) = (config.seeds(), trainer.diverged());
    let evaluator = trainer.evaluator();
    let loss = evaluator.network.loss();
    let evaluations = evaluator.run(Purpose::Evaluation, samples, |prediction| {
        go_on(stop)?;
        if diverged[prediction.replica].is_some() {
            return Ok(());
        }
        let own = examples.iter().filter(|row| row.replica == prediction.replica);
        if examples.len() < EXAMPLES && own.count() < each {
            examples.push(prediction.row(evaluator.task, Writing::Own));
        }
        add(prediction.row(evaluator.task, evaluator.task.writing_of_files()))
    })?;
    examples.sort_by_key(|example| example.replica);
    let replica = |(replica, evaluation): (usize, Evaluation)| ReplicaSummary {
        seed: seeds[replica],
        diverged_at_step: diverged[replica],
        early_stopping: trainer.stopping(replica),
        train_loss: means[replica].map(|means| means.loss),
        train_accuracy: means[replica]
            .and_then(|means| loss.value(Metric::Accuracy, &means.values)),
        evaluation: diverged[replica].is_none().then_some(evaluation),
    };
    Ok((evaluations.into_iter().enumerate().map(replica).collect(), examples))
}

/// How long rows may wait for the next, so that those of steps of microseconds are written together.
const PAUSE: Duration = Duration::from_millis(50);

/// Writes rows and checkpoints as they come and shows how far the training is.
struct Recorder<'a> {
    run: &'a RunDir,
    curves: CsvFile<CurveRow>,
    /// The same for TensorBoard, if the run keeps it.
    events: Option<EventFiles<'a>>,
    /// When rows were last brought to the files.
    written: Instant,
    progress: Progress,
}

impl Recorder<'_> {
    /// Brings all rows so far to the files.
    fn flush(&mut self) -> Result<()> {
        self.curves.flush()?;
        self.events.as_mut().map_or(Ok(()), EventFiles::flush)
    }
}

impl Observer for Recorder<'_> {
    fn step(&mut self) {
        self.progress.step();
    }

    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.progress.rows(&rows);
        for row in rows.iter().filter(|row| row.loss.is_nan()) {
            let CurveRow { replica, seed, step, .. } = row;
            self.progress.note(format!(
                "replica {replica} (seed {seed}) has diverged by step {step}; the others go on"
            ));
        }
        if let Some(events) = &mut self.events {
            events.add(&rows);
        }
        rows.into_iter().try_for_each(|row| self.curves.add(row))?;
        if self.written.elapsed() < PAUSE {
            return Ok(());
        }
        self.written = Instant::now();
        self.flush()?;
        self.run.check_in_place(&self.curves)
    }

    fn stopped(&mut self, stopped: &Stopped) {
        let &Stopped { replica, seed, step, metric, best, best_step } = stopped;
        let best = figure(best);
        self.progress.note(format!(
            "replica {replica} (seed {seed}) stops early at step {step}: its best {metric}, {best}, \
             was at step {best_step}"
        ));
    }

    fn checkpoint(&mut self, trainer: &mut Trainer) -> Result<()> {
        let curves = self.curves.sync()?;
        self.run.check_in_place(&self.curves)?;
        checkpoint::save(self.run.disk(), &self.run.checkpoint_path(), trainer, curves)
    }
}
