//! Every field of a configuration, as it is declared: its flag, its line in a file and in the help,
//! its range, whom it is for, and what another value of it makes another.

mod common;

use std::fmt::Write;

use common::Lab;
use seqlab::config::{Alters, Config, FIELDS, Field, Takes, presets};
use seqlab::resolve::{self, changes};
use toml::{Table, Value};

/// What changes no number of a run.
const ALTER_NOTHING: [&str; 4] = ["device", "threads", "checkpoint_every", "keep_checkpoints"];

/// What changes numbers, but leaves a run one of the same experiment.
const ALTER_THE_RUN: [&str; 7] = [
    "seed",
    "replicas",
    "log_every",
    "validate_every",
    "validation_samples",
    "evaluation_samples",
    "engine",
];

/// What fields that depend on others are expected to be, in `echo` or what of it takes them.
const DEPENDING: [(&str, &str); 7] = [
    ("vocab", "a whole number from 2 to 1000000"),
    ("id_min", "a whole number from 0 to 99"),
    ("id_max", "a whole number from 0 to 99"),
    ("length", "6 to 1000000, so that it holds a window (--n-in 6)"),
    ("final_learning_rate", "0 or a finite number above 0 in float32"),
    ("warmup_steps", "1 to 2000, the optimiser steps of the run"),
    ("seed", "a whole number from 0 to 9223372036854775806"),
];

/// What of `echo` makes it something that takes the field, and what that cannot do without.
fn changed_echo(field: &Field) -> Vec<(&'static str, &'static str)> {
    let Some(scope) = field.scope else { return Vec::new() };
    let echo = resolve::table(&presets::find("echo").unwrap().config).unwrap();
    let others = FIELDS.iter().filter(|other| {
        let same = other.scope.filter(|of| of.selector == scope.selector);
        let takes = same.is_some_and(|of| of.words.contains(&scope.words[0]));
        takes && other.needed && other.name != field.name && !echo.contains_key(other.name)
    });
    let value = |other: &Field| match other.takes {
        Takes::Word(words) => words[0],
        _ => "1",
    };
    let others = others.map(|other| (other.name, value(other)));
    std::iter::once((scope.selector, scope.words[0])).chain(others).collect()
}

fn flag(name: &str, value: &str) -> String {
    format!(" --{}={value}", name.replace('_', "-"))
}

/// Values that the field does not take, as they are written in TOML; flags have them without quotes.
fn impossible(field: &Field) -> Vec<String> {
    match field.takes {
        Takes::Whole(low, high) => match high.checked_add(1) {
            Some(above) if !field.depends => vec![(low - 1).to_string(), above.to_string()],
            _ => vec![(low - 1).to_string()],
        },
        Takes::Positive => vec!["-0.5".to_owned(), "inf".to_owned()],
        Takes::Fraction => vec!["-0.5".to_owned(), "1.0".to_owned()],
        Takes::TrueOrFalse => vec!["3".to_owned()],
        Takes::Text => vec!["''".to_owned()],
        Takes::Word(_) | Takes::Device | Takes::CheckpointEvery => vec!["'tanh'".to_owned()],
    }
}

/// What is expected in the place of such a value.
fn expected(field: &Field) -> String {
    let depending = DEPENDING.iter().find(|(name, _)| *name == field.name);
    assert_eq!(depending.is_some(), field.depends, "{}", field.name);
    match (depending, field.takes) {
        (Some((_, expected)), _) => (*expected).to_owned(),
        (None, Takes::Positive) => format!("{} in float32", field.takes),
        (None, takes) => takes.to_string(),
    }
}

#[test]
fn every_field_refuses_what_it_does_not_take_from_a_flag_and_a_file() {
    let lab = Lab::new();
    // The file of a task that needs one.
    lab.write("1", "1\t2\n3\t4\n5\t6\n");
    for field in FIELDS {
        let (name, expected) = (field.name, expected(field));
        for value in impossible(field) {
            let files = field.scope.is_some_and(|of| ["pairs", "series"].contains(&of.words[0]));
            let preset = if files { "custom" } else { "echo" };
            let mut command = "train --out run".to_owned();
            if !files {
                command += " echo";
            }
            let mut file = String::new();
            for (selector, word) in changed_echo(field) {
                command += &flag(selector, word);
                let takes = FIELDS.iter().find(|field| field.name == selector).unwrap().takes;
                let quote = if matches!(takes, Takes::Whole(..)) { "" } else { "'" };
                writeln!(file, "{selector} = {quote}{word}{quote}").unwrap();
            }
            let says = format!("error: --{}", &flag(name, "")[3..].replace('=', " "));
            command += &flag(name, value.trim_matches('\''));
            lab.refuses(2, &command, &[&says, &format!(": expected {expected}\n")]);

            lab.write("c.toml", format!("{name} = {value}\npreset = '{preset}'\n{file}"));
            let says =
                format!("error: c.toml, line 1, column 1: {name} = {value}: expected {expected}\n");
            lab.refuses(2, "train --config c.toml --out run", &[&says]);
        }
    }
}

#[test]
fn every_field_has_a_flag_under_the_heading_of_its_section() {
    let lab = Lab::new();
    for command in ["train", "summary"] {
        let help = lab.run(&format!("{command} --help"));
        let fields = &help[help.find(&format!("\n{}:\n", FIELDS[0].section)).unwrap()..];
        let mut heading = "";
        let mut flags = Vec::new();
        for line in fields.lines() {
            if let Some(section) = line.strip_suffix(':').filter(|line| !line.starts_with(' ')) {
                heading = section;
            } else if let Some(flag) = line.strip_prefix("      --") {
                flags.push((heading, flag.split_once("  ").unwrap()));
            }
        }
        let text = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(flags.len(), FIELDS.len(), "{help}");
        for (field, (heading, (flag, _))) in FIELDS.iter().zip(flags) {
            assert_eq!(heading, field.section, "{}", field.name);
            assert_eq!(flag, format!("{} <{}>", &field.flag()[2..], field.value));
            let line = format!("{} <{}> {} [default: ", field.flag(), field.value, field.help());
            assert!(text.contains(&line), "no {line:?} in {help}");
            let alias = field.alias.map(|alias| format!("[alias: --{alias}]"));
            assert!(alias.is_none_or(|alias| text.contains(&alias)), "{help}");
        }
    }
}

#[test]
fn no_field_has_a_value_for_those_whom_it_is_not_for() {
    let lab = Lab::new();
    for field in FIELDS.iter().filter(|field| field.optional) {
        let (Some(scope), name) = (field.scope, field.name) else { continue };
        let words = FIELDS.iter().find(|other| other.name == scope.selector).unwrap().takes;
        let Takes::Word(words) = words else { panic!("{} takes no words", scope.selector) };
        // Where all words take it, there may be none.
        let other = words.iter().find(|word| !scope.words.contains(word));
        let selected = other.map(|other| flag(scope.selector, other)).unwrap_or_default();
        let value = match field.takes {
            Takes::Word(words) => words[0],
            Takes::TrueOrFalse => "true",
            _ => "1",
        };
        let command = format!("train echo --out run{selected}{}", flag(name, value));
        let says = format!(": expected nothing: it applies to {scope} only\n");
        lab.refuses(2, &command, &[&format!("error: {} ", field.flag()), &says]);
    }
}

/// A value of `field` that is not the one in `table`.
fn another(field: &Field, table: &Table) -> Value {
    match (field.takes, table.get(field.name)) {
        (Takes::Whole(..), Some(Value::Integer(value))) => (value + 1).into(),
        (Takes::Whole(..), _) => 3.into(),
        (Takes::Positive | Takes::Fraction, _) => 0.125.into(),
        (Takes::TrueOrFalse, Some(Value::Boolean(value))) => (!value).into(),
        (Takes::TrueOrFalse, _) => true.into(),
        (Takes::Word(words), value) => {
            // What files leave out at its default is the first.
            let default = field.silent.then_some(words[0]);
            let now = value.and_then(Value::as_str).or(default);
            (*words.iter().find(|word| Some(**word) != now).unwrap()).into()
        }
        (Takes::Text, _) => "another".into(),
        (Takes::Device, _) => "cuda:7".into(),
        (Takes::CheckpointEvery, _) => "never".into(),
    }
}

#[test]
fn another_value_is_another_run_or_experiment_unless_it_is_listed_here() {
    let then = presets::find("echo").unwrap().config;
    let table = resolve::table(&then).unwrap();
    for field in FIELDS {
        let mut changed = table.clone();
        let value = another(field, &table);
        changed.insert(field.name.to_owned(), value.clone());
        let now: Config = changed.try_into().unwrap();
        assert_ne!(now, then, "{}", field.name);

        let alters = match field.name {
            name if ALTER_NOTHING.contains(&name) => Alters::Nothing,
            name if ALTER_THE_RUN.contains(&name) => Alters::Run,
            _ => Alters::Experiment,
        };
        assert_eq!(field.alters, alters, "{}", field.name);
        let said = changes(&then, &now).unwrap();
        let says = format!("{} is {value}, but was ", field.name);
        assert_eq!(said.is_none(), alters == Alters::Nothing, "{said:?}");
        assert!(said.is_none_or(|said| said.starts_with(&says)), "{says}");
    }
}
