//! The flags of `seqlab data`.

use std::io::Write;

use anyhow::Result;
use clap::{Arg, Args};

use super::fields::Fields;
use super::train::of_training;
use crate::base::error::UserError;
use crate::base::input::quoted;
use crate::commands;
use crate::config::{Invalid, TaskKind};
use crate::resolve::{FILES, Given};

#[derive(Debug, Args)]
#[command(mut_args(without_files))]
pub(super) struct DataArgs {
    /// File of pairs to train on; with --task series, --inputs, --targets or --series-tokens, a series
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    fields: Fields,
}

/// The fields that tell that a file holds a series.
const OF_SERIES: [&str; 5] = ["inputs", "targets", "series_tokens", "decimal", "missing"];

/// A flag of `data`, which has its file as an operand and knows those of [`FILES`] only to refuse them.
fn without_files(flag: Arg) -> Arg {
    let names_file = FILES.iter().any(|(field, _)| flag.get_id() == field);
    flag.hide(names_file)
}

impl DataArgs {
    /// Does it; what it prints as its result goes to `out`.
    ///
    /// # Errors
    /// Those of the command.
    pub(super) fn run(self, out: &mut dyn Write) -> Result<()> {
        commands::data(&of_training(self.given()?, false)?, out)
    }

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
