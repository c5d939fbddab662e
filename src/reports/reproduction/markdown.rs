//! A reproduction as text: `report.md` and the table on the terminal.

use std::fmt::Write;

use super::{
    Against, BREAK, ENOUGH_REPLICAS, Experiment, Figures, Judged, LATE_EPOCHS, Reproduction, SOLVED,
};
use crate::base::input::printable;
use crate::base::statistics::{Distribution, figure};
use crate::reports::markdown::{escaped, pipes};
use crate::reports::tables::{table, thousands};

/// What stands where there is nothing.
const NOTHING: &str = "–";

impl Reproduction {
    /// The text of `report.md`.
    pub fn markdown(&self) -> String {
        let mut text = "# Published beside measured\n\n".to_owned();
        let caveats = self.caveats(escaped);
        let (verdicts, references) = (self.overview(), self.references());
        let each = EACH.to_owned();
        for section in [caveats, verdicts, references, self.curves(), self.lengths(), each] {
            text += &section;
        }
        for experiment in &self.experiments {
            text += &experiment.section();
        }
        text
    }

    /// The verdicts, in Markdown.
    pub fn overview(&self) -> String {
        let changed = if self.has_changed() { CHANGED } else { "" };
        format!("{VERDICTS}{changed}\n{}", pipes(&self.verdicts(escaped)))
    }

    /// The table for the terminal.
    pub fn table(&self) -> String {
        self.caveats(printable) + &table(&self.verdicts(printable))
    }

    /// What keeps the runs from being a result, their names as `shown`, with an empty line after each sentence.
    pub(in crate::reports) fn caveats(&self, shown: fn(&str) -> String) -> String {
        let few = self.experiments.iter().filter(|e| e.replicas < ENOUGH_REPLICAS);
        let few: Vec<String> = few.map(|e| shown(&e.name)).collect();
        let mut text = String::new();
        if !few.is_empty() {
            let few = few.join(", ");
            let _ = writeln!(
                text,
                "A quick look, no result: fewer than {ENOUGH_REPLICAS} replicas of {few}.\n"
            );
        }
        for experiment in self.experiments.iter().filter(|e| e.worse_than_guessing > 0) {
            let Experiment { name, worse_than_guessing, replicas, .. } = experiment;
            let _ = writeln!(
                text,
                "{}: {worse_than_guessing} of {replicas} replicas ended far worse than a model that knows \
                 nothing, whose loss is the logarithm of the number of ids.\n",
                shown(name)
            );
        }
        if !self.unfinished.is_empty() {
            let names: Vec<String> = self.unfinished.iter().map(|name| shown(name)).collect();
            let _ = writeln!(text, "Not finished: {}.\n", names.join(", "));
        }
        if !self.imported.is_empty() {
            let names: Vec<String> = self.imported.iter().map(|name| shown(name)).collect();
            let _ = writeln!(text, "Imported, not trained: {}.\n", names.join(", "));
        }
        text
    }

    fn has_changed(&self) -> bool {
        self.experiments.iter().any(|experiment| experiment.changed.is_some())
    }

    /// A row an experiment, a header above, names as `shown`. Where presets were changed, the last
    /// column says how.
    pub(in crate::reports) fn verdicts(&self, shown: fn(&str) -> String) -> Vec<Vec<String>> {
        let header = [
            "experiment",
            "published loss",
            "loss",
            "verdict",
            "published accuracy",
            "accuracy",
            "verdict",
            "exact sequences",
        ];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let has_changed = self.has_changed();
        rows[0].extend(has_changed.then(|| "changed".to_owned()));
        for experiment in &self.experiments {
            let measured = &experiment.measured;
            let figure = |of: fn(&Figures) -> Option<Judged>| {
                let judged = experiment.published.as_ref().and_then(of);
                let words = judged.map(|judged| [published(&judged), verdict(&judged)]);
                words.unwrap_or([NOTHING, NOTHING].map(str::to_owned))
            };
            let [loss, loss_verdict] = figure(|figures| figures.loss);
            let [accuracy, accuracy_verdict] = figure(|figures| figures.accuracy);
            let mut row = vec![
                shown(&experiment.name),
                loss,
                spread(measured.loss.as_ref()),
                loss_verdict,
                accuracy,
                spread(measured.accuracy.as_ref()),
                accuracy_verdict,
                spread(measured.sequence_accuracy.as_ref()),
            ];
            let changed = experiment.changed.as_deref().unwrap_or(NOTHING);
            row.extend(has_changed.then(|| changed.to_owned()));
            rows.push(row);
        }
        rows
    }

    /// The comparison with an independent implementation, if any.
    fn references(&self) -> String {
        let rows = self.reference_rows(escaped);
        if rows.is_empty() {
            return String::new();
        }
        format!("{}{}", REFERENCES.replace("LATE_EPOCHS", &LATE_EPOCHS.to_string()), pipes(&rows))
    }

    /// Its rows, a header above, names as `shown`; empty if there is none.
    pub(in crate::reports) fn reference_rows(&self, shown: fn(&str) -> String) -> Vec<Vec<String>> {
        let mut rows = Vec::new();
        let first = self.experiments.iter().map(|e| (e, shown(&e.name), &e.reference));
        let again = self.experiments.iter();
        let again = again.map(|e| (e, format!("{}, again", shown(&e.name)), &e.reference_again));
        for (experiment, name, reference) in first.chain(again) {
            let Some(reference) = reference else { continue };
            let measured = &experiment.measured;
            let mut add = |what: &str, measured: Option<&Distribution>, against: &Against| {
                let apart = against.standard_errors.map_or(NOTHING.to_owned(), signed);
                let reference = against.distribution.as_ref();
                let seeds = reference.map_or(0, |reference| reference.n);
                rows.push(vec![
                    name.clone(),
                    what.to_owned(),
                    format!("{} ({seeds})", spread(reference)),
                    format!("{} ({})", spread(measured), experiment.replicas),
                    apart,
                ]);
            };
            add("loss", measured.late_loss.as_ref(), &reference.loss);
            add("accuracy", measured.late_accuracy.as_ref(), &reference.accuracy);
            let (token, exact) = (&measured.token_accuracy, &measured.sequence_accuracy);
            add("token accuracy", token.as_ref(), &reference.token_accuracy);
            add("exact sequences", exact.as_ref(), &reference.sequence_accuracy);
        }
        if !rows.is_empty() {
            let header =
                ["experiment", "", "independent (seeds)", "seqlab (seeds)", "standard errors"];
            rows.insert(0, header.map(str::to_owned).to_vec());
        }
        rows
    }

    /// How far the published curves are, if there are any.
    fn curves(&self) -> String {
        let mut rows = Vec::new();
        for experiment in &self.experiments {
            let figures = experiment.published.as_ref();
            let Some(distance) = figures.and_then(|figures| figures.curve_distance) else {
                continue;
            };
            let mut row = vec![escaped(&experiment.name), experiment.preset.clone()];
            let parts = [distance.whole, distance.before, distance.after];
            row.extend(parts.map(|distance| format!("{distance:.3}")));
            rows.push(row);
        }
        if rows.is_empty() {
            return String::new();
        }
        let epoch = thousands(BREAK);
        let [before, after] = [format!("to epoch {epoch}"), format!("after {epoch}, anew")];
        let header = ["experiment", "published curve of", "whole", &before, &after];
        rows.insert(0, header.map(str::to_owned).to_vec());
        format!("{CURVES}{}", pipes(&rows))
    }

    /// What became of runs of a preset that differ in the target's length.
    pub fn lengths(&self) -> String {
        let mut text = String::new();
        let mut left: Vec<&Experiment> = self.experiments.iter().collect();
        while let Some(first) = left.first() {
            let (preset, n_out) = (first.preset.clone(), first.n_out);
            let of_preset: Vec<_> = left.extract_if(.., |e| e.preset == preset).collect();
            if of_preset.iter().any(|e| e.n_out != n_out) {
                text += &format!("{LENGTHS}{}", by_length(&of_preset))
                    .replace("PRESET", &preset)
                    .replace("SOLVED", &SOLVED.to_string());
            }
        }
        text
    }
}

/// What a model of `units` units gets right after `epochs` epochs, target by target length.
fn by_length(experiments: &[&Experiment]) -> String {
    let mut lengths: Vec<i64> = experiments.iter().map(|e| e.n_out).collect();
    let mut sizes: Vec<[i64; 2]> = experiments.iter().map(|e| [e.units, e.epochs]).collect();
    lengths.sort_unstable();
    lengths.dedup();
    sizes.sort_unstable();
    sizes.dedup();
    let size = |&[units, epochs]: &[i64; 2]| format!("{units} units, {} epochs", thousands(epochs));
    let mut rows = vec![std::iter::once("ids".to_owned()).chain(sizes.iter().map(size)).collect()];
    for length in lengths {
        let exact = |size: &[i64; 2]| {
            let here = |e: &&&Experiment| e.n_out == length && [e.units, e.epochs] == *size;
            let found = experiments.iter().find(here);
            let exact = found.and_then(|e| e.measured.sequence_accuracy.as_ref());
            let solved = exact.is_some_and(|exact| exact.mean >= SOLVED);
            if solved { format!("**{}**", spread(exact)) } else { spread(exact) }
        };
        let row = std::iter::once(length.to_string()).chain(sizes.iter().map(exact));
        rows.push(row.collect::<Vec<_>>());
    }
    pipes(&rows)
}

const VERDICTS: &str = "\
Loss and token accuracy are those of the last epoch as Keras logs them: each batch before its update.
Exact sequences are the share of fresh sequences that the trained model gets right as a whole,
free-running. Measured figures are mean ± standard deviation over replicas. A published figure is
`reproduced` if it lies among the replicas' or inside their 95 % prediction interval; otherwise what was
measured is `better` or `worse`. Behind the verdict: from the measured mean to the published figure, in
standard deviations over replicas.
";

const CHANGED: &str = "\
What trains something else than its preset, by the flags under `changed`, is not the published experiment:
it gets no verdict.
";

const REFERENCES: &str = "
Beside an independent implementation: the same mathematics in JAX, other seeds. Loss and accuracy are
means over the last LATE_EPOCHS epochs, or over the only one. The last column is the difference of the
means in its standard errors. `again` is a second such implementation, `scripts/reference.py`: the first
evaluated every seed on 2,048 sequences, this one on 16,384.

";

const CURVES: &str = "
## Distance from the published curve

Root mean square of the difference of the logarithms of the losses, over the published epochs: all of
them; those before the published loss of `partial-echo-4` jumps; those after, set beside the beginning of
the measured curve, as if training had begun anew.

";

const LENGTHS: &str = "
## How long a sequence is learned

Exact sequences of `PRESET` by the ids of a target, the units of a layer and the epochs; bold where the mean
is at least SOLVED.

";

const EACH: &str = "
## Each experiment
";

impl Experiment {
    /// How it was made, and everything that was measured.
    fn section(&self) -> String {
        let last = self.seed + self.replicas as i64 - 1;
        let mut text = format!(
            "\n### {}\n\n```sh\n{}\n```\n\n{} replicas, seeds {} to {last}, {} steps each in {:.1} s; \
             seqlab {} with libtorch {}, {} engine, {} thread(s) on {}: {}.\n\n",
            escaped(&self.name),
            self.command,
            self.replicas,
            self.seed,
            thousands(self.steps),
            self.train_seconds,
            escaped(&self.seqlab),
            escaped(&self.libtorch),
            escaped(&self.engine),
            self.threads,
            escaped(&self.device),
            escaped(&self.machine),
        );
        if self.diverged > 0 {
            let _ = writeln!(
                text,
                "{} of the replicas diverged; the figures are those of the others.\n",
                self.diverged
            );
        }
        let header = ["", "mean", "sd", "95 % of the mean", "median", "smallest", "largest"];
        let mut rows = vec![header.map(str::to_owned).to_vec()];
        let measured = &self.measured;
        for (what, distribution) in [
            ("loss, last epoch", &measured.loss),
            ("accuracy, last epoch", &measured.accuracy),
            ("loss, last epochs", &measured.late_loss),
            ("accuracy, last epochs", &measured.late_accuracy),
            ("token accuracy, fresh", &measured.token_accuracy),
            ("exact sequences, fresh", &measured.sequence_accuracy),
            ("symbol error rate, fresh", &measured.symbol_error_rate),
        ] {
            rows.extend(distribution.as_ref().map(|distribution| cells(what, distribution)));
        }
        text += &pipes(&rows);
        let sequences = &measured.sequences;
        let [low, high] = sequences.wilson_95;
        let _ = writeln!(
            text,
            "\n{} of {} fresh sequences exact: Wilson 95 % {low:.4} to {high:.4}.",
            thousands(sequences.right as i64),
            thousands(sequences.tried as i64),
        );
        if let Some(changed) = &self.changed {
            let _ = writeln!(text, "Changed: `{}` with `{changed}`.", self.preset);
        } else if let Some(figures) = &self.published {
            let figure =
                |judged: &Option<Judged>| judged.as_ref().map_or(NOTHING.into(), published);
            let (loss, accuracy) = (figure(&figures.loss), figure(&figures.accuracy));
            let source = &figures.source;
            let _ = writeln!(text, "Published: loss {loss}, accuracy {accuracy} ({source}).");
        }
        text
    }
}

fn cells(what: &str, distribution: &Distribution) -> Vec<String> {
    let &Distribution { mean, sd, confidence_95, median, min, max, .. } = distribution;
    let interval = |[low, high]: [f64; 2]| format!("{} to {}", figure(low), figure(high));
    vec![
        what.to_owned(),
        figure(mean),
        sd.map_or(NOTHING.into(), figure),
        confidence_95.map_or(NOTHING.into(), interval),
        figure(median),
        figure(min),
        figure(max),
    ]
}

/// Mean ± standard deviation.
fn spread(distribution: Option<&Distribution>) -> String {
    distribution.map_or(NOTHING.to_owned(), Distribution::to_string)
}

fn published(judged: &Judged) -> String {
    crate::config::presets::Published { low: judged.low, high: judged.high }.to_string()
}

fn verdict(judged: &Judged) -> String {
    let distance = judged.distance.map_or("no spread".to_owned(), |d| format!("{} sd", signed(d)));
    format!("{} ({distance})", judged.verdict)
}

/// With its sign and one decimal.
fn signed(x: f64) -> String {
    // No sign before what rounds to zero.
    if x.abs() < 0.05 { "0.0".to_owned() } else { format!("{x:+.1}") }
}
