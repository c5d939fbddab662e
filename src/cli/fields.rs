//! The fields of a configuration as flags, made from their declarations.

use clap::builder::PossibleValuesParser;
use clap::error::Error;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use toml::{Table, Value};

use crate::config::{self, FIELDS, Field, Takes, presets};
use crate::resolve;

/// The fields that flags give, a text each; what is not given stays as it is.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Table);

impl Args for Fields {
    fn augment_args(command: Command) -> Command {
        let presets = presets::all();
        let presets: Vec<Table> =
            presets.iter().flat_map(|preset| resolve::table(&preset.config)).collect();
        command
            .allow_negative_numbers(true)
            .args(FIELDS.iter().map(|field| flag(*field, &presets)))
            .after_help(
                "A field of the configuration that is left out is the preset's, or the file's.",
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Fields {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let given = FIELDS.iter().filter_map(|field| {
            let text = matches.get_one::<String>(field.name)?;
            Some((field.name.to_owned(), Value::String(text.clone())))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.extend(Self::from_arg_matches(matches)?.0);
        Ok(())
    }
}

/// The flag of `field`, whose help ends with its default.
fn flag(field: Field, presets: &[Table]) -> Arg {
    let default = match field.left_out {
        Some(what) => what.to_owned(),
        None => common(field.name, presets).unwrap_or("the preset's".to_owned()),
    };
    let flag = Arg::new(field.name)
        // Names have to live as long as the program, which asks for them once.
        .long(field.name.replace('_', "-").leak() as &str)
        .visible_aliases(field.alias)
        .value_name(field.value)
        .help(format!("{} [default: {default}]", field.help()))
        .help_heading(field.section);
    match field.takes {
        Takes::Word(words) => flag.value_parser(PossibleValuesParser::new(words)),
        Takes::Positive | Takes::Fraction => flag.allow_hyphen_values(true),
        _ => flag,
    }
}

/// The value of the field `name`, if it is the same in all `presets`.
fn common(name: &str, presets: &[Table]) -> Option<String> {
    let value = presets.first()?.get(name)?;
    presets.iter().all(|preset| preset.get(name) == Some(value)).then(|| config::written(value))
}
