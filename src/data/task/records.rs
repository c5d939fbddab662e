//! What a run keeps of its data, in files of its directory.

use serde::Serialize;

use super::kind::Record;
use crate::base::error::UserError;
use crate::base::rng::Purpose;
use crate::data::files::vocabulary::Vocabulary;

/// The files in which runs keep what they know of their data, and how each begins.
pub const RECORDS: [(&str, &str); 5] = [
    ("data.json", "{\n  \"files\": ["),
    ("source-vocabulary.txt", "<padding>\n"),
    ("target-vocabulary.txt", "<padding>\n"),
    ("scaling.tsv", "role\tmean\tdeviation\tcolumn\n"),
    ("vocabulary.txt", "<padding>\n"),
];

/// The parts of a file, as `data.json` and people have them.
pub(super) const PARTS: [Purpose; 3] =
    [Purpose::Training, Purpose::Validation, Purpose::Evaluation];

/// The text of `data.json`: a line for each of `files`, and how many samples each of [`PARTS`] has.
pub(super) fn data_record(files: &[impl Serialize], counts: [usize; 3]) -> String {
    let line = |file| format!("    {}", serde_json::to_string(file).unwrap_or_default());
    let files: Vec<String> = files.iter().map(line).collect();
    let [training, validation, evaluation] = counts;
    format!(
        "{{\n  \"files\": [\n{}\n  ],\n  \"training\": {training},\n  \"validation\": {validation},\n  \
         \"evaluation\": {evaluation}\n}}\n",
        files.join(",\n"),
    )
}

/// The vocabulary in the file `name` that a run kept, of so many ids.
pub(super) fn recorded_vocabulary(
    record: &Record<'_>,
    name: &str,
    size: i64,
) -> Result<Vocabulary, UserError> {
    let unreadable = |e: String| UserError::failure(format!("{name} of the run: {e}"));
    let text = record(name).map_err(|e| unreadable(format!("{e:#}")))?;
    let vocabulary = Vocabulary::from_text(&text).map_err(unreadable)?;
    match vocabulary.len() as i64 == size {
        true => Ok(vocabulary),
        false => Err(unreadable(format!("{} ids, not {size}", vocabulary.len()))),
    }
}
