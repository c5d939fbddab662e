//! The command line: the only module that knows clap.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{ArgGroup, Args, Parser, Subcommand};
use serde::Serialize;

use crate::checkpoint::Which;
use crate::config::{
    CheckpointEvery, Config, DeviceChoice, Dtype, EngineChoice, Family, Feedback, GateActivation,
    LearningRateSchedule, MANY, TaskKind, within,
};
use crate::error::UserError;
use crate::memory::Estimate;
use crate::{commands, device, engine, placement, presets, report, resolve, run_dir, versions};

/// Trains LSTM sequence-to-sequence experiments on libtorch, with Keras's numbers.
#[derive(Debug, Parser)]
#[command(version = versions::LONG, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show the published experiments: family, size and published numbers
    List,
    /// Train an experiment, evaluate it and write a run directory
    Train(TrainArgs),
    /// Go on with a run that was interrupted, to exactly where it would have come
    Resume(ResumeArgs),
    /// Train the published experiments over many seeds and set the published figures beside them
    Reproduce(ReproduceArgs),
    /// Make the report of a directory of runs again
    Report(ReportArgs),
    /// Evaluate a run on fresh sequences, free-running
    Evaluate(EvaluateArgs),
    /// Predict targets with a trained run, a line for each source, as it comes
    Predict(PredictArgs),
    /// Show a model's layers, Keras-layout shapes and parameter counts
    Summary(Experiment),
    /// Check libtorch, CUDA, cuDNN and threads; each failure comes with its fix
    Doctor,
}

#[derive(Debug, Args)]
struct TrainArgs {
    #[command(flatten)]
    experiment: Experiment,
    /// Run directory to write [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run that is in the directory
    #[arg(long)]
    force: bool,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs of the whole run, to go on with one that is finished [default: the run's]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    epochs: Option<i64>,
    /// auto, cpu, cuda or cuda:N [default: the run's]
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ReproduceArgs {
    /// Published experiments [default: all]
    #[arg(value_name = "PRESET", value_parser = PossibleValuesParser::new(presets::names()))]
    presets: Vec<String>,
    /// Seeds of each experiment [default: 10]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    replicas: Option<i64>,
    /// Seed of every experiment's first replica; replica k has this plus k
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    base_seed: i64,
    /// A look within two minutes, no result: 2 replicas, and not the slowest experiments
    #[arg(long)]
    quick: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
    /// Directory of all runs and of the report; experiments that are finished there stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Directory of runs, such as reproduce --out wrote
    #[arg(value_name = "DIR")]
    runs: PathBuf,
}

#[derive(Debug, Args)]
struct EvaluateArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Fresh samples a replica, rounded up to whole sequences; at most those held out (addition)
    /// [default: as after training]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    samples: Option<i64>,
    /// The best weights by validation, not the last
    #[arg(long)]
    best: bool,
    /// Print JSON: the `replicas` list of summary.json with this evaluation
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct PredictArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Ids separated by spaces, or a question such as 12+3 (addition) [default: standard input, one
    /// source a line; a line that is none is reported and answered by an empty one]
    #[arg(long, allow_hyphen_values = true)]
    source: Option<String>,
    /// Which replica of the run predicts
    #[arg(long, value_name = "K", default_value_t = 0, allow_negative_numbers = true)]
    replica: i64,
    /// The best weights by validation, not the last
    #[arg(long)]
    best: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceChoice,
}

/// What to train: a preset or a TOML file, with any field overridden.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("experiment").required(true).args(["preset", "config"])))]
struct Experiment {
    /// Published experiment
    #[arg(value_parser = PossibleValuesParser::new(presets::names()))]
    preset: Option<String>,
    /// TOML file with the configuration, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    fields: Fields,
}

/// The fields of `Config` as flags; what is not given stays as it is.
#[derive(Debug, Args, Serialize)]
#[command(next_help_heading = "Configuration", allow_negative_numbers = true)]
struct Fields {
    /// What the model learns
    #[arg(long, value_parser = PossibleValuesParser::new(TaskKind::WORDS))]
    task: Option<String>,
    /// V: ids are below it
    #[arg(long, value_name = "N")]
    vocab: Option<i64>,
    /// Smallest id in sequences
    #[arg(long, value_name = "ID")]
    id_min: Option<i64>,
    /// Largest id in sequences [follows --vocab]
    #[arg(long, value_name = "ID")]
    id_max: Option<i64>,
    /// Ids in the sequence that an epoch's windows are cut from (echo, lag)
    #[arg(long, value_name = "N")]
    length: Option<i64>,
    /// Samples in an epoch (reverse), or those trained on in every epoch (addition)
    #[arg(long, value_name = "N")]
    samples: Option<i64>,
    /// Ids in a source [follows --n-out (addition)]
    #[arg(long, value_name = "N")]
    n_in: Option<i64>,
    /// Ids in a target
    #[arg(long, value_name = "N")]
    n_out: Option<i64>,
    /// How many steps before the last source id the target lies (lag)
    #[arg(long, value_name = "N")]
    lag: Option<i64>,
    /// Architecture
    #[arg(long, value_parser = PossibleValuesParser::new(Family::WORDS))]
    family: Option<String>,
    /// LSTM units
    #[arg(long, value_name = "N")]
    units: Option<i64>,
    /// Whether a batch continues the state of the one before; reset every epoch (lstm, repeat_vector)
    #[arg(long, value_name = "BOOL")]
    stateful: Option<bool>,
    /// Whether the LSTM answers every step or only the last (lstm)
    #[arg(long, value_name = "BOOL")]
    return_sequences: Option<bool>,
    /// What the gates pass through
    #[arg(long, value_parser = PossibleValuesParser::new(GateActivation::WORDS))]
    gate_activation: Option<String>,
    /// What the free-running decoder is fed (teacher_forced)
    #[arg(long, value_parser = PossibleValuesParser::new(Feedback::WORDS))]
    feedback: Option<String>,
    /// Samples in a batch of one replica
    #[arg(long, value_name = "N")]
    batch_size: Option<i64>,
    /// Passes over fresh data, or over the same in a new order (addition)
    #[arg(long, value_name = "N")]
    epochs: Option<i64>,
    /// Adam's step size
    #[arg(long, visible_alias = "lr", value_name = "X", allow_hyphen_values = true)]
    learning_rate: Option<f64>,
    /// How the learning rate changes from step to step
    #[arg(
        long,
        visible_alias = "lr-schedule",
        value_parser = PossibleValuesParser::new(LearningRateSchedule::WORDS)
    )]
    learning_rate_schedule: Option<String>,
    /// Where the schedule ends (cosine [default: 0], exponential)
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    final_learning_rate: Option<f64>,
    /// Steps in which the learning rate first rises linearly [default: none]
    #[arg(long, value_name = "STEPS")]
    warmup_steps: Option<i64>,
    /// Adam's decay of the gradient's mean
    #[arg(long = "beta-1", value_name = "X", allow_hyphen_values = true)]
    beta_1: Option<f64>,
    /// Adam's decay of the squared gradient's mean
    #[arg(long = "beta-2", value_name = "X", allow_hyphen_values = true)]
    beta_2: Option<f64>,
    /// Adam's ε, where Keras adds it
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    epsilon: Option<f64>,
    /// Scale a replica's whole gradient down to this norm, and log the norm
    #[arg(long, value_name = "X", allow_hyphen_values = true)]
    global_clipnorm: Option<f64>,
    /// Element type
    #[arg(long, value_parser = PossibleValuesParser::new(Dtype::WORDS))]
    dtype: Option<String>,
    /// Seed; replica k has this plus k
    #[arg(long, value_name = "N")]
    seed: Option<i64>,
    /// Independent models trained side by side
    #[arg(long, value_name = "N")]
    replicas: Option<i64>,
    /// Steps between rows of curves.csv [default: an epoch's]
    #[arg(long, value_name = "STEPS")]
    log_every: Option<i64>,
    /// Fill the validation columns of every so many rows [default: never]
    #[arg(long, value_name = "ROWS")]
    validate_every: Option<i64>,
    /// Samples behind a row's validation columns, the same for every row; at most those held out
    /// (addition)
    #[arg(long, value_name = "N")]
    validation_samples: Option<i64>,
    /// Fresh samples that the trained model is evaluated on; so many are held out (addition)
    #[arg(long, value_name = "N")]
    evaluation_samples: Option<i64>,
    /// auto, cpu, cuda or cuda:N; only auto falls back to the CPU
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// What computes the training steps; auto: fused on a CPU, libtorch on a GPU
    #[arg(long, value_parser = PossibleValuesParser::new(EngineChoice::WORDS))]
    engine: Option<String>,
    /// CPU threads [default: by size]
    #[arg(long, value_name = "N")]
    threads: Option<i64>,
    /// Save the state every so many steps, or so much time (30s, 5m), or never but at the end
    /// [default: 30s]
    #[arg(long, value_name = "STEPS|TIME")]
    checkpoint_every: Option<CheckpointEvery>,
    /// Checkpoints to keep, the last ones [default: 2]
    #[arg(long, value_name = "N")]
    keep_checkpoints: Option<i64>,
}

impl Experiment {
    /// The whole configuration, validated.
    fn resolve(&self) -> Result<Config> {
        let mut given = match &self.config {
            Some(path) => run_dir::read_table(path)?,
            None => toml::Table::new(),
        };
        if let Some(preset) = &self.preset {
            given.insert("preset".to_owned(), preset.as_str().into());
        }
        let flags = resolve::table(&self.fields)?;
        resolve::give_way(&mut given, &flags);
        given.extend(flags);
        resolve::resolve(given).map_err(|error| match &self.config {
            Some(path) => error.context(path.display().to_string()),
            None => error,
        })
    }
}

fn which(best: bool) -> Which {
    if best { Which::Best } else { Which::Last }
}

impl Cli {
    /// Runs the command; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command; `crate::error` tells what they look like and how to exit.
    pub fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        match self.command {
            Command::List => write!(out, "{}", report::list())?,
            Command::Summary(experiment) => {
                let config = experiment.resolve()?;
                let device = placement::estimated(&config, config.device)?.device;
                let engine = engine::choose(config.engine, device)?;
                let memory = Estimate::training(&config, engine, device::is_host(device));
                write!(out, "{}", report::architecture(&config, engine, &memory))?
            }
            Command::Doctor => return commands::doctor(out),
            Command::Train(TrainArgs { experiment, out: path, force, quiet }) => {
                let config = experiment.resolve()?;
                return commands::train(commands::Train { config, out: path, force, quiet }, out);
            }
            Command::Resume(ResumeArgs { run, epochs, device, quiet }) => {
                return commands::resume(&commands::Resume { run, epochs, device, quiet }, out);
            }
            Command::Reproduce(args) => {
                let ReproduceArgs { presets, replicas, base_seed, quick, device, out: path } = args;
                let what =
                    commands::Reproduce { presets, replicas, base_seed, quick, device, out: path };
                return commands::reproduce(&what, out);
            }
            Command::Report(ReportArgs { runs }) => commands::report(&runs, out)?,
            Command::Evaluate(EvaluateArgs { run, samples, best, json, device }) => {
                if let Some(samples) = samples {
                    within("samples", samples, 1, MANY).map_err(UserError::usage)?;
                }
                let which = which(best);
                commands::evaluate(&commands::Evaluate { run, samples, which, device, json }, out)?
            }
            Command::Predict(PredictArgs { run, source, replica, best, device }) => {
                let (input, typed) = (std::io::stdin(), std::io::stdin().is_terminal());
                let prompt = typed && std::io::stderr().is_terminal();
                let what = commands::Predict { run, source, replica, which: which(best), device };
                commands::predict(&what, &mut input.lock(), prompt, out)?
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
