//! From what the user gave (a preset, a TOML file, a recipe, flags) to a whole, validated configuration,
//! or with a sweep to many.
//!
//! Uses configurations and what tasks say of them, `files` for checksums, and `base`.

mod from_files;
mod from_series;
mod given;
mod mistaken;
mod recipe;
mod sweep;
mod training;
mod validate;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::base::spelling::nearest;
use crate::config::presets::{self, Preset};
use crate::config::{
    Alters, CUSTOM, Config, Family, Field, Invalid, NOT_GIVEN, TaskKind, field, written,
};
use crate::data::task::{LEAVE_OUT, Rules};
use given::Origin;
pub use given::{Given, parse};
pub use mistaken::note;
pub use recipe::{Beside, Published, Recipe};
pub use sweep::{Plan, RUNS, Sweep};

/// The configuration that `given` describes: its fields as they are, the others from the preset
/// that it names.
///
/// A field of the preset gives way where what was given makes it meaningless, and follows where it
/// was tied: the id range to the vocabulary, `n_out` to `n_in` where an LSTM answers every step, and
/// what the task ties.
///
/// # Errors
/// A field that is missing, unknown, of the wrong type or invalid, and a flag that changes nothing.
pub fn resolve(given: Given) -> Result<Config> {
    resolve_by(given, Reading::IfNeeded)
}

/// The same for a training that begins: what is given is also what the files of data have.
///
/// # Errors
/// As [`resolve`], and if it is not.
pub fn resolve_for_training(given: Given) -> Result<Config> {
    resolve_by(given, Reading::Always)
}

/// When files of data are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// Where something has to be found from them: a run is shown without its files.
    IfNeeded,
    /// Also to check what is given.
    Always,
}

fn resolve_by(mut given: Given, reading: Reading) -> Result<Config> {
    given.check()?;
    if let Some(preset) = preset(&given)? {
        check_no_files(&given, &preset)?;
        complete(&mut given, &preset)?;
    }
    check_task(&mut given)?;
    from_files::complete(&mut given, reading)?;
    from_series::complete(&mut given, reading)?;
    let missing = |e: toml::de::Error| given.missing(e.message());
    let config: Config = given.fields.clone().try_into().map_err(missing)?;
    config.validate().map_err(|invalid| given.blame(invalid))?;
    match config.idle().into_iter().find(|idle| given.is_asked(idle.field)) {
        Some(idle) => Err(given.blame(idle).into()),
        None => Ok(config),
    }
}

/// The fields that name the file to train on, each with the task that reads it.
pub const FILES: [(&str, TaskKind); 2] = [("train", TaskKind::Pairs), ("series", TaskKind::Series)];

/// Makes the task that of the file that is given, or finds out whether it is, before anything is read.
fn check_task(given: &mut Given) -> Result<(), UserError> {
    for (field, of) in FILES {
        if given.has(field) {
            let flag = if of == TaskKind::Pairs { "--train" } else { "--series" };
            given.set_open("task", of.to_string().into(), Origin::Follows(flag));
        }
    }
    let Some(task) = word::<TaskKind>(&given.fields, "task") else { return Ok(()) };
    let of_others = FILES.into_iter().filter(|(_, of)| *of != task);
    for (field, of) in of_others {
        if let Some(path) = given.fields.get(field) {
            let why = format!(": it applies to task {of} only");
            return Err(given.blame(Invalid::new(field, written(path), "nothing").because(why)));
        }
    }
    match FILES.into_iter().find(|(field, of)| *of == task && !given.has(field)) {
        None => Ok(()),
        Some((field, of)) => {
            let why = format!(": task {of} needs it");
            Err(given.blame(Invalid::new(field, NOT_GIVEN, "a file").because(why)))
        }
    }
}

/// A preset has data of its own.
fn check_no_files(given: &Given, preset: &Preset) -> Result<(), UserError> {
    let task: Option<TaskKind> = word(&given.fields, "task");
    let named = FILES
        .into_iter()
        .find(|(field, of)| task.map_or_else(|| given.has(field), |task| task == *of));
    let Some((field, of)) = named else { return Ok(()) };
    let error = format!("preset {}: expected none with task {of}", preset.name);
    let hint = format!("leave it out: what is not given is found from the file of --{field}");
    Err(given.at("preset", error).hint(hint))
}

/// Checks the fields of files, and the ranges of the lengths of samples, that are `given`, of which
/// `config` is made, before a file is read.
fn check_files(given: &Given, config: &Config) -> Result<(), UserError> {
    let of_files = |field: &Field| {
        let counts = ["Data from files", "Series from a file"].contains(&field.section)
            || ["n_in", "n_out"].contains(&field.name);
        counts && given.has(field.name)
    };
    let checked = config.validate_fields(of_files);
    let checked = checked.and_then(|()| (Rules::of(config).check_files)(config));
    checked.map_err(|invalid| given.blame(invalid))
}

/// The error of a value that is given and that files do not have.
fn unlike_files(given: &Given, invalid: Invalid) -> UserError {
    given.blame(invalid).hint(LEAVE_OUT)
}

/// The preset that `given` names, if it names one.
fn preset(given: &Given) -> Result<Option<Preset>> {
    let name = match given.fields.get("preset") {
        None => return Ok(None),
        Some(Value::String(name)) if name == CUSTOM => return Ok(None),
        Some(name) => name,
    };
    match name.as_str().and_then(presets::find) {
        Some(preset) => Ok(Some(preset)),
        None => {
            let (shown, known) = (quoted(&name.to_string()), presets::names());
            let expected = known.join(", ");
            let error = format!("preset {shown}: expected {CUSTOM} or one of {expected}");
            let error = given.at("preset", error);
            Err(match name.as_str().and_then(|name| nearest(name, known)) {
                Some(near) => error.hint(format!("did you mean \"{near}\"?")),
                None => error,
            }
            .into())
        }
    }
}

/// `value`'s fields, without those that are `None`.
///
/// # Errors
/// If `value` is no TOML table.
pub fn table(value: &impl Serialize) -> Result<Table> {
    Table::try_from(value).context("cannot be written as TOML")
}

/// The flags that make `config` out of its preset, each with a space before it: the inverse of
/// [`resolve`].
///
/// # Errors
/// None that a valid configuration can have.
pub fn flags(config: &Config) -> Result<String> {
    flags_of(config, |_| true)
}

/// Of these flags those of the fields that `count`.
///
/// # Errors
/// As [`flags`].
pub fn flags_of(config: &Config, count: impl Fn(Field) -> bool) -> Result<String> {
    let preset = presets::find(&config.preset);
    let base = preset.map(|preset| table(&preset.config)).transpose()?.unwrap_or_default();
    let changed = table(config)?.into_iter().filter(|(name, value)| base.get(name) != Some(value));
    let flag = |(name, value): (String, Value)| {
        let flag = field(&name).filter(|field| count(*field))?.flag();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Some(format!(" {flag} {text}"))
    };
    Ok(if config.preset == CUSTOM { String::new() } else { changed.filter_map(flag).collect() })
}

/// Every field of `now` that makes it another run than `then` was, with both values; `None` if there is
/// none.
///
/// # Errors
/// As [`table`].
pub fn changes(then: &Config, now: &Config) -> Result<Option<String>> {
    let (then, now) = (table(then)?, table(now)?);
    let mut fields: Vec<&String> = then.keys().chain(now.keys()).collect();
    fields.sort();
    fields.dedup();
    fields.retain(|name| field(name).is_none_or(|field| field.alters != Alters::Nothing));
    let left_out = |name: &str| field(name).filter(|field| field.silent)?.left_out;
    let none = |name: &str| left_out(name).unwrap_or("none").to_owned();
    let value = |table: &Table, name: &str| table.get(name).map_or(none(name), Value::to_string);
    let change = |field: &&String| {
        let (was, is) = (value(&then, field), value(&now, field));
        (was != is).then(|| format!("{field} is {is}, but was {was}"))
    };
    let changes: Vec<String> = fields.iter().filter_map(change).collect();
    Ok((!changes.is_empty()).then(|| changes.join(", ")))
}

/// The fields of `config` that are found from its files where nobody gives them, with their values.
///
/// # Errors
/// As [`table`].
pub fn found(config: &Config) -> Result<Vec<(&'static str, String)>> {
    let table = table(config)?;
    let value = |name: &'static str| Some((name, written(table.get(name)?)));
    Ok(match config.task {
        TaskKind::Series => {
            let all = from_series::NEEDED.into_iter().chain(from_series::FOUND);
            all.filter_map(value).collect()
        }
        _ => from_files::FOUND.into_iter().filter_map(value).collect(),
    })
}

/// Takes out of `base` the fields that apply to it and, once it is overridden by `change`, do not.
fn give_way(base: &mut Table, change: &Table) {
    let before = base.clone();
    let mut after = base.clone();
    after.extend(change.clone());
    let applies = |name: &str, to: &Table| field(name).is_none_or(|field| field.applies(to));
    base.retain(|name, _| applies(name, &after) || !applies(name, &before));
}

/// The word that `table` gives for `field`. One that is none is left to the deserialiser to
/// complain about.
fn word<T: DeserializeOwned>(table: &Table, field: &str) -> Option<T> {
    table.get(field)?.clone().try_into().ok()
}

/// Adds to `given` the fields of `preset` that it leaves open.
fn complete(given: &mut Given, Preset { name, config: preset, .. }: &Preset) -> Result<()> {
    let mut base = table(preset)?;
    give_way(&mut base, &given.fields);
    let task = word(&given.fields, "task").unwrap_or(preset.task);
    let family = word(&given.fields, "family").unwrap_or(preset.family);
    let int = |field: &str| given.fields.get(field).and_then(Value::as_integer);
    let mut tied: Vec<(&str, Value, &'static str)> = Vec::new();
    if let Some(vocab) = int("vocab") {
        let id_max = vocab.saturating_sub(preset.vocab - preset.id_max);
        tied.push(("id_max", id_max.into(), "--vocab"));
    }
    let every_step = given.fields.get("return_sequences").or(base.get("return_sequences"));
    if let (Some(n_in), Some(Value::Boolean(true))) = (int("n_in"), every_step) {
        tied.push(("n_out", n_in.into(), "--n-in"));
    }
    let numbers = given.fields.get("loss").or(base.get("loss")).and_then(Value::as_str);
    let numbers = numbers.is_some_and(|loss| ["mse", "mae"].contains(&loss));
    if numbers && family == Family::TeacherForced {
        tied.push(("feedback", "values".into(), "--loss"));
    }
    let rules = Rules::of(&Config { task, ..preset.clone() });
    let follow = (rules.follow)(&int, preset);
    tied.extend(follow.into_iter().map(|(field, value, flag)| (field, value.into(), flag)));
    for (field, value, flag) in tied {
        given.set_open(field, value, Origin::Follows(flag));
    }
    for (field, value) in base {
        given.set_open(&field, value, Origin::Preset((*name).to_owned()));
    }
    if family == Family::Lstm {
        let same = given.fields.get("n_in") == given.fields.get("n_out");
        given.set_open("return_sequences", same.into(), Origin::Follows("--n-in and --n-out"));
    }
    if family == Family::TeacherForced {
        given.set_open("feedback", "softmax".into(), Origin::Follows("--family"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Attention, DecoderStart};

    fn given(text: &str) -> Result<Config> {
        resolve(parse("c.toml", text.as_bytes())?)
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", given(text).unwrap_err())
    }

    #[test]
    fn a_resolved_configuration_resolves_to_itself() {
        for preset in presets::all() {
            // What files leave out at its default is the preset's where that has another.
            let plain = Config {
                attention: Attention::None,
                decoder_start: DecoderStart::Zeros,
                bidirectional: false,
                embedding: 0,
                ..preset.config.clone()
            };
            let changed = Config { units: 7, global_clipnorm: Some(0.5), ..preset.config };
            for config in [changed, plain] {
                let text = table(&config).unwrap().to_string();
                assert_eq!(given(&text).unwrap(), config);
            }
        }
    }

    #[test]
    fn flags_tell_what_differs_from_the_preset() {
        for preset in presets::all() {
            assert_eq!(flags(&preset.config).unwrap(), "");
            let config =
                Config { units: 7, global_clipnorm: Some(0.5), dropout: 0.25, ..preset.config };
            let expected = " --dropout 0.25 --global-clipnorm 0.5 --units 7";
            assert_eq!(flags(&config).unwrap(), expected);
        }
    }

    #[test]
    fn changes_are_those_that_make_another_run() {
        let then = presets::find("echo").unwrap().config;
        let placed = Config { threads: Some(3), keep_checkpoints: 9, ..then.clone() };
        assert_eq!(changes(&then, &placed).unwrap(), None);
        let now = Config { units: 7, global_clipnorm: Some(0.5), ..placed };
        let expected = "global_clipnorm is 0.5, but was none, units is 7, but was 16";
        assert_eq!(changes(&then, &now).unwrap().as_deref(), Some(expected));
        let deeper = Config { layers: 2, ..then.clone() };
        let expected = Some("layers is 2, but was 1".to_owned());
        assert_eq!(changes(&then, &deeper).unwrap(), expected);
    }

    #[test]
    fn tied_fields_follow_unless_given() {
        assert_eq!(given("preset = 'echo'\nvocab = 50").unwrap().id_max, 48);
        assert_eq!(given("preset = 'echo'\nvocab = 50\nid_max = 9").unwrap().id_max, 9);
        let config = given("preset = 'echo'\nn_in = 5\nbatch_size = 7").unwrap();
        assert_eq!((config.n_in, config.n_out), (5, 5));
        let config = given("preset = 'addition-2'\nn_out = 5").unwrap();
        assert_eq!((config.n_in, config.n_out), (9, 5));
    }

    #[test]
    fn fields_that_a_change_makes_meaningless_go() {
        let config = given("preset = 'echo'\nfamily = 'repeat_vector'\nn_out = 2").unwrap();
        assert_eq!((config.return_sequences, config.stateful), (None, true));
        let config = given("preset = 'echo'\nfamily = 'teacher_forced'\nid_min = 1").unwrap();
        assert!(config.feedback.is_some() && !config.stateful);
    }

    /// What the file `base` gives once the flags are `change`.
    fn overridden(base: &str, change: &str) -> Result<Config> {
        let change: Table = change.parse().unwrap();
        let text = |(field, value): (String, Value)| {
            (field, value.as_str().map_or(value.to_string(), str::to_owned).into())
        };
        resolve(
            parse("c.toml", base.as_bytes())?
                .with_flags(&change.into_iter().map(text).collect())?,
        )
    }

    #[test]
    fn fields_of_a_file_that_a_flag_makes_meaningless_go() {
        let exponential = "preset = 'echo'\nlearning_rate_schedule = 'exponential'\n\
                           final_learning_rate = 1e-5\nwarmup_steps = 3";
        let end = |change| overridden(exponential, change).map(|c| c.final_learning_rate);
        assert_eq!(end("units = 7").unwrap(), Some(1e-5));
        assert_eq!(end("learning_rate_schedule = 'cosine'").unwrap(), Some(1e-5));
        assert_eq!(end("learning_rate_schedule = 'constant'").unwrap(), None);
        let both = "learning_rate_schedule = 'constant'\nfinal_learning_rate = 1e-6";
        assert!(end(both).is_err());

        let whole = table(&presets::find("echo").unwrap().config).unwrap().to_string();
        let config = overridden(&whole, "family = 'repeat_vector'").unwrap();
        assert_eq!((config.return_sequences, config.stateful), (None, true));
        assert!(overridden(&format!("{whole}samples = 9"), "units = 7").is_err());
    }

    #[test]
    fn what_is_given_and_does_not_apply_is_refused() {
        assert!(
            complaint("preset = 'echo'\nsamples = 9")
                .starts_with("c.toml, line 2, column 1: samples = 9: expected nothing")
        );
        assert!(complaint("preset = 'reverse'\nlag = 1").contains("lag = 1: expected nothing"));
    }

    #[test]
    fn without_a_preset_what_is_missing_is_named() {
        assert!(complaint("units = 4").contains("missing field `task`"));
        assert!(complaint("preset = 'echo'\nunit = 4").contains("unknown field `unit`"));
        let flags = [("units".to_owned(), "4".into())].into_iter().collect();
        let error = resolve(Given::default().with_flags(&flags).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "--task (not given): expected a value");
    }
}
