//! From what the user gave (a preset, a TOML file, flags) to a whole, validated configuration.

use anyhow::{Context, Result};
use serde::Serialize;
use toml::{Table, Value};

use crate::config::{self, CUSTOM, Config, Family};
use crate::error::UserError;
use crate::presets;

/// The configuration that `given` describes: its fields as they are, the others from the preset
/// that it names.
///
/// A field of the preset gives way where what was given makes it meaningless, and follows where it
/// was tied: the id range to the vocabulary, and `n_out` to `n_in` where an LSTM answers every
/// step.
///
/// # Errors
/// A field that is missing, unknown, of the wrong type or invalid.
pub fn resolve(mut given: Table) -> Result<Config> {
    match given.get("preset").and_then(Value::as_str) {
        None | Some(CUSTOM) => {}
        Some(name) => {
            let preset = presets::find(name).ok_or_else(|| {
                let known = presets::names().join(", ");
                UserError::usage(format!("preset {name:?}: expected {CUSTOM} or one of {known}"))
            })?;
            complete(&mut given, &preset.config)?;
        }
    }
    let wrong = |e: toml::de::Error| {
        // Its second line names the field.
        UserError::usage(e.to_string().trim().replace('\n', " "))
    };
    let config: Config = given.try_into().map_err(wrong)?;
    config.validate().map_err(UserError::usage)?;
    Ok(config)
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
    let preset = presets::find(&config.preset);
    let base = preset.map(|preset| table(&preset.config)).transpose()?.unwrap_or_default();
    let changed =
        table(config)?.into_iter().filter(|(field, value)| base.get(field) != Some(value));
    let flag = |(field, value): (String, Value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!(" --{} {value}", field.replace('_', "-"))
    };
    Ok(if config.preset == CUSTOM { String::new() } else { changed.map(flag).collect() })
}

/// Adds to `given` the fields of `preset` that it leaves open.
fn complete(given: &mut Table, preset: &Config) -> Result<()> {
    let mut base = table(preset)?;
    // A word that is none is left to the deserialiser to complain about.
    let word = |field: &str| given.get(field).cloned();
    let task = word("task").and_then(|v| v.try_into().ok()).unwrap_or(preset.task);
    let family = word("family").and_then(|v| v.try_into().ok()).unwrap_or(preset.family);
    base.retain(|field, _| config::scope(field, task, family).is_none_or(|(_, applies)| applies));
    let int = |field: &str| given.get(field).and_then(Value::as_integer);
    if let Some(vocab) = int("vocab") {
        base.insert("id_max".into(), vocab.saturating_sub(preset.vocab - preset.id_max).into());
    }
    let every_step = given.get("return_sequences").or(base.get("return_sequences"));
    if let (Some(n_in), Some(Value::Boolean(true))) = (int("n_in"), every_step) {
        base.insert("n_out".into(), n_in.into());
    }
    for (field, value) in base {
        given.entry(field).or_insert(value);
    }
    if family == Family::Lstm && !given.contains_key("return_sequences") {
        let same = given.get("n_in") == given.get("n_out");
        given.insert("return_sequences".into(), same.into());
    }
    if family == Family::TeacherForced && !given.contains_key("feedback") {
        given.insert("feedback".into(), "softmax".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str) -> Result<Config> {
        resolve(text.parse().unwrap())
    }

    fn complaint(text: &str) -> String {
        format!("{:#}", given(text).unwrap_err())
    }

    #[test]
    fn a_resolved_configuration_resolves_to_itself() {
        for preset in presets::all() {
            let config = Config { units: 7, global_clipnorm: Some(0.5), ..preset.config };
            assert_eq!(resolve(table(&config).unwrap()).unwrap(), config);
        }
    }

    #[test]
    fn flags_tell_what_differs_from_the_preset() {
        for preset in presets::all() {
            assert_eq!(flags(&preset.config).unwrap(), "");
            let config = Config {
                units: 7,
                global_clipnorm: Some(0.5),
                gate_activation: crate::config::GateActivation::Sigmoid,
                ..preset.config
            };
            let expected = " --gate-activation sigmoid --global-clipnorm 0.5 --units 7";
            assert_eq!(flags(&config).unwrap(), expected);
        }
    }

    #[test]
    fn tied_fields_follow_unless_given() {
        assert_eq!(given("preset = 'echo'\nvocab = 50").unwrap().id_max, 48);
        assert_eq!(given("preset = 'echo'\nvocab = 50\nid_max = 9").unwrap().id_max, 9);
        let config = given("preset = 'echo'\nn_in = 5\nbatch_size = 7").unwrap();
        assert_eq!((config.n_in, config.n_out), (5, 5));
    }

    #[test]
    fn fields_that_a_change_makes_meaningless_go() {
        let config = given("preset = 'echo'\nfamily = 'repeat_vector'\nn_out = 2").unwrap();
        assert_eq!((config.return_sequences, config.stateful), (None, true));
        let config = given("preset = 'echo'\nfamily = 'teacher_forced'\nid_min = 1").unwrap();
        assert!(config.feedback.is_some() && !config.stateful);
    }

    #[test]
    fn what_is_given_and_does_not_apply_is_refused() {
        assert!(
            complaint("preset = 'echo'\nsamples = 9").starts_with("--samples 9: expected nothing")
        );
        assert!(complaint("preset = 'reverse'\nlag = 1").starts_with("--lag 1: expected nothing"));
    }

    #[test]
    fn without_a_preset_what_is_missing_is_named() {
        assert!(complaint("units = 4").contains("missing field `task`"));
        assert!(complaint("preset = 'echo'\nunit = 4").contains("unknown field `unit`"));
    }
}
