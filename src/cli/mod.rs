//! The command line: the only module that knows clap.
//!
//! Uses `commands`, and for flags the fields of the configuration; nobody uses it.

mod fields;
mod import;
mod sweep;
mod usage;

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;

use crate::base::error::{USAGE, UserError};
use crate::base::input::{quoted, shown};
use crate::base::spelling::nearest;
use crate::base::versions;
use crate::commands::{self, Decoding, ExportFormat, Format, ModelFormat, WIDEST};
use crate::config::presets;
use crate::config::{self, Config, DeviceChoice, Invalid, MANY, TaskKind, within};
use crate::engine;
use crate::files::directory::Directory;
use crate::reports::tables;
use crate::resolve::{self, FILES, Given};
use crate::run::progress::say;
use crate::run::run_dir;
use crate::run::run_dir::RunDir;
use crate::tensor::device;
use crate::train::checkpoint::Which;
use crate::train::memory::Estimate;
use crate::train::placement;
use fields::Fields;
use import::ImportArgs;
use sweep::SweepArgs;

/// Trains LSTM sequence-to-sequence experiments on libtorch, with Keras's numbers.
#[derive(Debug, Parser)]
#[command(name = "seqlab", bin_name = "seqlab", version = versions::LONG, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show the published experiments: family, size and published numbers
    List(ListArgs),
    /// Train an experiment, evaluate it and write a run directory
    Train(TrainArgs),
    /// Show what a training reads of files: columns, tokens, lengths, repetitions, the first pairs
    Data(DataArgs),
    /// Go on with a run that was interrupted, to exactly where it would have come
    Resume(ResumeArgs),
    /// Train the published experiments over many seeds and set the published figures beside them
    Reproduce(ReproduceArgs),
    /// Make the report of a directory of runs again, or a page of them for a browser
    Report(ReportArgs),
    /// Train many configurations, on one machine or a cluster, and compare them
    Sweep(SweepArgs),
    /// Evaluate a run on fresh or held-out sequences, free-running: fed what it said itself, never the target
    Evaluate(EvaluateArgs),
    /// Predict targets with a trained run, a line for each source, as it comes
    Predict(PredictArgs),
    /// Write what a trained run computes on the way to its answers: hidden states and attention
    Inspect(InspectArgs),
    /// Write a trained model as ONNX, PyTorch or Keras reads it, or a run's curves as TensorBoard does
    Export(ExportArgs),
    /// Take weights that PyTorch or Keras trained back as a finished run, without curves
    Import(ImportArgs),
    /// Show a model's layers, Keras-layout shapes and parameter counts
    Summary(SummaryArgs),
    /// Check libtorch, CUDA, cuDNN, threads and cores; each failure comes with its fix
    Doctor(DoctorArgs),
    /// Print what has a shell complete commands and flags
    Completions(CompletionsArgs),
    /// Write a manual page for each command
    Man(ManArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// onnx, pytorch, keras: the trained model; tensorboard: event files of the curves, a run for each
    /// replica, for their mean and its deviation
    #[arg(
        long,
        value_name = "FORMAT",
        value_parser = PossibleValuesParser::new(["onnx", "pytorch", "keras", "tensorboard"])
    )]
    format: String,
    /// Directory to write, a new or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which replica of the run is the model [default: 0]
    #[arg(
        long,
        value_name = "K",
        allow_negative_numbers = true,
        value_parser = whole("replica", 0, config::range("replicas").1 - 1)
    )]
    replica: Option<i64>,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
}

impl ExportArgs {
    /// What is to be exported.
    ///
    /// # Errors
    /// A flag that the format has no use for.
    fn what(self) -> Result<commands::Export, UserError> {
        let Self { run, format, out, replica, best } = self;
        let model = |kind| {
            let (replica, which) = (replica.unwrap_or(0), which(best));
            ExportFormat::Model { kind, replica, which }
        };
        let format = match format.as_str() {
            "onnx" => model(ModelFormat::Onnx),
            "pytorch" => model(ModelFormat::PyTorch),
            "keras" => model(ModelFormat::Keras),
            _ => {
                let idle = [("--replica", replica.is_some()), ("--best", best)];
                if let Some((flag, _)) = idle.into_iter().find(|(_, given)| *given) {
                    let error = format!("{flag}: is for models, and tensorboard has curves");
                    return Err(UserError::usage(error).hint(format!("leave {flag} out")));
                }
                ExportFormat::Curves
            }
        };
        Ok(commands::Export { run, out, format })
    }
}

#[derive(Debug, Args)]
struct CompletionsArgs {
    /// The shell that is to read it
    shell: Shell,
}

#[derive(Debug, Args)]
struct ManArgs {
    /// Directory to write, such as man1 in a folder of MANPATH
    #[arg(value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// Measure what two threads get of the processor, print that as JSON, and check nothing
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Print JSON: every preset with its configuration and the published figures
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(group(
    ArgGroup::new("what").required(true).multiple(true).args(["preset", "config", "train", "series"])
))]
struct TrainArgs {
    /// Published experiment, as it is or with any field changed
    #[arg(conflicts_with = "config", value_parser = PossibleValuesParser::new(presets::names()))]
    preset: Option<String>,
    /// TOML file with the configuration, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Run whose trained weights it begins with, instead of drawn ones; of one replica for all
    #[arg(long, value_name = "RUN")]
    init_from: Option<PathBuf>,
    /// Its weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long, requires = "init_from")]
    init_best: bool,
    /// Run directory to write [default: a new one under runs/]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace a run that is in the directory
    #[arg(long, requires = "out")]
    force: bool,
    /// Write the curves for TensorBoard, too, as they come: tensorboard --logdir DIR/tensorboard
    #[arg(long)]
    tensorboard: bool,
    /// Check everything and print the whole configuration, but neither train nor write
    #[arg(long, conflicts_with = "quiet")]
    dry_run: bool,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Args)]
#[command(mut_args(without_files))]
struct DataArgs {
    /// File of pairs to train on; with --task series, --inputs, --targets or --series-tokens, a series
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    fields: Fields,
}

#[derive(Debug, Args)]
struct ResumeArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Epochs of the whole run, to go on with one that is finished [default: the run's]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number("epochs"))]
    epochs: Option<i64>,
    /// auto, cpu, cuda or cuda:N [default: the run's]
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<DeviceChoice>,
    /// Print neither progress nor result
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ReproduceArgs {
    /// Published experiments, as `seqlab list` has them, or with --recipe runs of it [default: all]
    #[arg(value_name = "PRESET|RUN")]
    names: Vec<String>,
    /// Train the runs of this recipe in place of them, each with its replicas also evaluated together;
    /// recipes/ has some
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "quick")]
    recipe: Option<PathBuf>,
    /// Directory of the recipe's data
    #[arg(long, value_name = "DIR", requires = "recipe")]
    data: Option<PathBuf>,
    /// Seeds of each experiment [default: 10, or 2 with --quick, or the recipe's]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = number("replicas"))]
    replicas: Option<i64>,
    /// Seed of every experiment's first replica; replica k has this plus k [default: 1, or the
    /// recipe's]
    #[arg(
        long,
        visible_alias = "base-seed",
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = number("seed")
    )]
    seed: Option<i64>,
    /// A look within two minutes, no result: 2 replicas, and not the slowest experiments
    #[arg(long)]
    quick: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
    /// Directory of all runs and of the report; experiments that are finished there stay
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Print neither progress nor result; the report is written
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Directory of runs, such as reproduce --out wrote; with --html also that of a run
    #[arg(value_name = "DIR")]
    runs: PathBuf,
    /// Write the runs, finished or not, as one page for a browser that needs no other file, in place of
    /// report.md and report.json
    #[arg(long, conflicts_with = "json")]
    html: bool,
    /// File to write the page to [default: report.html in DIR]
    #[arg(long, value_name = "FILE", requires = "html")]
    out: Option<PathBuf>,
    /// Set changed experiments, too, beside the curve that was published of their preset
    #[arg(long)]
    published_curves: bool,
    /// Print JSON: what report.json says
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct EvaluateArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Fresh samples a replica, rounded up to whole sequences; at most those held out (addition)
    /// [default: as after training]
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole("samples", 1, MANY)
    )]
    samples: Option<i64>,
    /// File of data to evaluate on in place of the run's own, all of it (pairs, series)
    #[arg(long, value_name = "FILE", conflicts_with = "samples")]
    test: Option<PathBuf>,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Print JSON: the `replicas` list of summary.json with this evaluation, or
    /// with --ensemble its seeds and evaluation
    #[arg(long)]
    json: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

/// How answers are searched.
#[derive(Debug, Args)]
struct SearchArgs {
    /// Search with a beam of K hypotheses, to which a decoder's ids are fed back, not its softmax; 1
    /// takes the most probable id at every step [default: no search, or predict's --n-best]
    #[arg(
        long,
        value_name = "K",
        allow_negative_numbers = true,
        value_parser = whole("beam_width", 1, WIDEST)
    )]
    beam_width: Option<i64>,
    /// Rank hypotheses by log-probability / length^A, for targets that differ in length: 0 prefers
    /// short ones, 1 is the mean over ids [default: 0]
    #[arg(long, value_name = "A", allow_negative_numbers = true, value_parser = length_penalty)]
    length_penalty: Option<f64>,
    /// All replicas together, as one model: the mean of their log-probabilities is searched
    #[arg(long)]
    ensemble: bool,
}

impl SearchArgs {
    fn decoding(&self, n_best: Option<i64>) -> Result<Decoding, UserError> {
        let &Self { beam_width, length_penalty, ensemble } = self;
        for (flag, value) in [("beam_width", beam_width), ("n_best", n_best)] {
            if let Some(value) = value {
                within(flag, value, 1, WIDEST).map_err(UserError::usage)?;
            }
        }
        Ok(Decoding { beam_width, length_penalty, n_best, ensemble })
    }
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
    /// File of sources, one a line, in place of standard input; of a series, the file to go on with
    #[arg(long, value_name = "FILE", conflicts_with = "source")]
    source_file: Option<PathBuf>,
    /// Which replica of the run predicts
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        allow_negative_numbers = true,
        value_parser = whole("replica", 0, config::range("replicas").1 - 1),
        conflicts_with = "ensemble"
    )]
    replica: i64,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Print a table with the N best targets of each source, their log-probabilities and scores
    #[arg(
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = whole("n_best", 1, WIDEST)
    )]
    n_best: Option<i64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// Run directory
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Ids separated by spaces, or a question such as 12+3 (addition) [default: all lines of standard
    /// input, one source a line]
    #[arg(long, allow_hyphen_values = true)]
    source: Option<String>,
    /// Directory to write, a new or an empty one
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// csv has a row for each number, npy is NumPy's, an array for all sources
    #[arg(long, value_name = "FORMAT", default_value = "csv", value_parser = PossibleValuesParser::new(["csv", "npy"]))]
    format: String,
    /// Which replica of the run is looked into
    #[arg(
        long,
        value_name = "K",
        default_value = "0",
        allow_negative_numbers = true,
        value_parser = whole("replica", 0, config::range("replicas").1 - 1)
    )]
    replica: i64,
    /// The weights where val_loss was lowest, not the last; of a run with --validate-every
    #[arg(long)]
    best: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    device: DeviceChoice,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).args(["experiment", "config"])))]
struct SummaryArgs {
    /// Published experiment, or run directory
    #[arg(value_name = "PRESET|RUN")]
    experiment: Option<OsString>,
    /// TOML file with the configuration, such as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON: layers, shapes, parameters, and the bytes of memory to train
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fields: Fields,
}

impl TrainArgs {
    fn given(&self) -> Result<Given> {
        let from = match (&self.preset, &self.config) {
            (Some(name), _) => Given::preset(name),
            (None, Some(path)) => run_dir::read_given(path)?,
            (None, None) => Given::default(),
        };
        from.with_flags(&self.fields.0)
    }
}

/// The fields that tell that a file holds a series.
const OF_SERIES: [&str; 5] = ["inputs", "targets", "series_tokens", "decimal", "missing"];

/// A flag of `data`, which has its file as an operand and knows those of [`FILES`] only to refuse them.
fn without_files(flag: Arg) -> Arg {
    let names_file = FILES.iter().any(|(field, _)| flag.get_id() == field);
    flag.hide(names_file)
}

impl DataArgs {
    fn given(&self) -> Result<Given> {
        let mut flags = self.fields.0.clone();
        let text = |field: &str| flags.get(field).and_then(toml::Value::as_str);
        if let Some((field, path)) = FILES.into_iter().find_map(|(of, _)| Some((of, text(of)?))) {
            let why = format!(": the file that is read is FILE, {}", quoted(&self.file));
            let invalid = Invalid::new(field, quoted(path), "nothing").because(why);
            return Err(UserError::usage(invalid).into());
        }
        let is_series = OF_SERIES.iter().any(|of| flags.contains_key(*of));
        let likely = if is_series { TaskKind::Series } else { TaskKind::Pairs };
        let task = text("task").map_or_else(|| likely.to_string(), str::to_owned);
        let Some((field, _)) = FILES.into_iter().find(|(_, of)| of.to_string() == task) else {
            let expected = FILES.map(|(_, of)| of.to_string()).join(" or ");
            let invalid = Invalid::new("task", task, expected).because(", which read a file");
            return Err(UserError::usage(invalid).into());
        };
        flags.insert(field.to_owned(), self.file.clone().into());
        Given::default().with_flags(&flags)
    }
}

/// The configuration of a training that begins, or that `data` shows, of what is `given`. What its files
/// may be instead is said, unless it is to be `quiet`.
fn of_training(given: Given, quiet: bool) -> Result<Config> {
    let note = resolve::note(&given).filter(|_| !quiet);
    let config = resolve::resolve_for_training(given)?;
    note.into_iter().flatten().for_each(say);
    Ok(config)
}

impl ReproduceArgs {
    fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        let Self { names, recipe, data, replicas, seed, quick, device, out: path, quiet } = self;
        if let (Some(recipe), Some(data)) = (recipe, data) {
            let runs = names;
            let what =
                commands::Study { recipe, data, runs, replicas, seed, device, out: path, quiet };
            return commands::study(&what, out);
        }
        let (presets, seed) = (names, seed.unwrap_or(1));
        let what = commands::Reproduce { presets, replicas, seed, quick, device, out: path, quiet };
        commands::reproduce(&what, out)
    }
}

impl SummaryArgs {
    fn config(&self) -> Result<Config> {
        let from = match (&self.experiment, &self.config) {
            (Some(name), _) => match Named::find(name)? {
                Named::Preset(preset) => Given::preset(preset),
                Named::Run(path) => {
                    let (run, _) = RunDir::open(path)?;
                    run_dir::read_given(&run.config_path())?
                }
            },
            (None, Some(path)) => run_dir::read_given(path)?,
            (None, None) => Given::default(),
        };
        resolve::resolve(from.with_flags(&self.fields.0)?)
    }
}

/// What a word stands for that may be the name of a preset or a run's directory.
enum Named<'a> {
    Preset(&'static str),
    Run(&'a Path),
}

impl<'a> Named<'a> {
    /// # Errors
    /// If `name` is neither.
    fn find(name: &'a OsStr) -> Result<Self, UserError> {
        let names = presets::names();
        if let Some(preset) = names.iter().find(|preset| name == **preset) {
            return Ok(Self::Preset(preset));
        }
        let path = Path::new(name);
        if path.is_dir() {
            return Ok(Self::Run(path));
        }
        let word = name.to_string_lossy();
        let expected = names.join(", ");
        let error = format!("{}: expected a run directory or one of {expected}", quoted(&word));
        let error = UserError::usage(error);
        let run = run_dir::near(path);
        Err(match run.or_else(|| nearest(&word, names).map(str::to_owned)) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error,
        })
    }
}

/// The whole number `text`, for `flag`, which takes those from `low` to `high`.
fn whole(flag: &'static str, low: i64, high: i64) -> impl Fn(&str) -> Result<i64, Invalid> + Clone {
    move |text| {
        let number = text.parse();
        number.map_err(|_| {
            Invalid::new(flag, quoted(text), format!("a whole number from {low} to {high}"))
        })
    }
}

/// Which weights are meant.
fn which(best: bool) -> Which {
    if best { Which::Best } else { Which::Last }
}

/// As [`whole`], for the flag of a field.
fn number(field: &'static str) -> impl Fn(&str) -> Result<i64, Invalid> + Clone {
    let (low, high) = config::range(field);
    whole(field, low, high)
}

/// The exponent `text` of a length.
fn length_penalty(text: &str) -> Result<f64, Invalid> {
    let alpha = text.parse().ok().filter(|alpha| (0.0..=10.0).contains(alpha));
    alpha.ok_or_else(|| Invalid::new("length_penalty", quoted(text), "a number from 0 to 10"))
}

/// The device `text`.
fn device(text: &str) -> Result<DeviceChoice, Invalid> {
    let invalid = |_| Invalid::new("device", quoted(text), DeviceChoice::EXPECTED);
    text.parse().map_err(invalid)
}

/// Runs the command that the process was called with; what it prints as its result goes to `out`.
///
/// # Errors
/// Those of the command; `crate::base::error` tells what they look like and how to exit.
pub fn run(out: &mut dyn Write) -> Result<ExitCode> {
    let mut grammar = Cli::command();
    let parsed = grammar.try_get_matches_from_mut(std::env::args_os());
    match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command.run(out),
        Err(help) if !help.use_stderr() => {
            write!(out, "{}", help.render())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            error.render().to_string().lines().for_each(say);
            Ok(ExitCode::from(USAGE))
        }
        Err(error) => Err(usage::explain(&error, &grammar).into()),
    }
}

/// Writes a manual page for each command to the directory `folder`.
///
/// # Errors
/// If that cannot be written.
fn manual(folder: &Path) -> Result<(), UserError> {
    let unusable = |e: std::io::Error| {
        UserError::usage(format!("cannot write {}: {e}", shown(folder)))
            .hint("name another directory")
    };
    Directory::create(folder).map_err(unusable)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(unusable)
}

impl Action {
    fn run(self, out: &mut dyn Write) -> Result<ExitCode> {
        match self {
            Self::List(ListArgs { json: true }) => write!(out, "{}", tables::list_json()?)?,
            Self::List(ListArgs { json: false }) => write!(out, "{}", tables::list())?,
            Self::Summary(what) => {
                let config = what.config()?;
                let device = placement::estimated(&config, config.device)?.device;
                let engine = engine::choose(config.engine, device)?;
                let memory = Estimate::training(&config, engine, device::is_host(device));
                let text = match what.json {
                    true => tables::architecture_json(&config, engine, &memory)?,
                    false => tables::architecture(&config, engine, &memory),
                };
                write!(out, "{text}")?
            }
            Self::Doctor(DoctorArgs { json: true }) => commands::doctor_json(out)?,
            Self::Doctor(DoctorArgs { json: false }) => return commands::doctor(out),
            Self::Export(args) => commands::export(&args.what()?, out)?,
            Self::Import(args) => commands::import(&args.what()?, out)?,
            Self::Completions(CompletionsArgs { shell }) => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "seqlab", &mut script);
                out.write_all(&script)?;
            }
            Self::Man(ManArgs { out: folder }) => manual(&folder)?,
            Self::Train(what) => {
                let config = of_training(what.given()?, what.quiet)?;
                let TrainArgs { init_from, init_best, out: path, force, .. } = what;
                let TrainArgs { dry_run, tensorboard, quiet, .. } = what;
                let which = which(init_best);
                let initial = init_from.map(|run| commands::Initial { run, which });
                let what = commands::Train {
                    config,
                    initial,
                    out: path,
                    force,
                    dry_run,
                    tensorboard,
                    quiet,
                };
                return commands::train(what, out);
            }
            Self::Data(what) => commands::data(&of_training(what.given()?, false)?, out)?,
            Self::Resume(ResumeArgs { run, epochs, device, quiet }) => {
                return commands::resume(&commands::Resume { run, epochs, device, quiet }, out);
            }
            Self::Reproduce(args) => return args.run(out),
            Self::Sweep(args) => return args.run(out),
            Self::Report(ReportArgs { runs, html: true, out: page, published_curves, .. }) => {
                commands::html(&commands::Html { runs, published_curves, page }, out)?
            }
            Self::Report(ReportArgs { runs, published_curves, json, .. }) => {
                commands::report(&commands::Report { runs, published_curves, json }, out)?
            }
            Self::Evaluate(args) => {
                let EvaluateArgs { run, samples, test, best, search, json, device } = args;
                if let Some(samples) = samples {
                    within("samples", samples, 1, MANY).map_err(UserError::usage)?;
                }
                let (which, decoding) = (which(best), search.decoding(None)?);
                let what = commands::Evaluate { run, samples, test, which, decoding, device, json };
                commands::evaluate(&what, out)?
            }
            Self::Predict(args) => {
                let PredictArgs { run, source, source_file, replica, best, .. } = args;
                let PredictArgs { search, n_best, device, .. } = args;
                let (input, typed) = (std::io::stdin(), std::io::stdin().is_terminal());
                let prompt = typed && std::io::stderr().is_terminal();
                let (which, decoding) = (which(best), search.decoding(n_best)?);
                let what = commands::Predict {
                    run,
                    source,
                    source_file,
                    replica,
                    which,
                    decoding,
                    device,
                };
                commands::predict(&what, &mut input.lock(), prompt, out)?
            }
            Self::Inspect(args) => {
                let InspectArgs { run, source, out: path, format, replica, best, device } = args;
                let format = if format == "npy" { Format::Npy } else { Format::Csv };
                let which = which(best);
                let what =
                    commands::Inspect { run, source, replica, which, out: path, format, device };
                commands::inspect(&what, &mut std::io::stdin().lock(), out)?
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
