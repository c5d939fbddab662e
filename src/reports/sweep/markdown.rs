//! A sweep as text: `report.md` and the table on the terminal.

use std::fmt::Write;

use super::{Run, Status, Sweep};
use crate::base::input::printable;
use crate::base::statistics::figure;
use crate::config::Direction;
use crate::reports::markdown::{escaped, pipes};
use crate::reports::tables::{or_dash, table};
use crate::resolve::Plan;

/// Runs that the table on the terminal shows at most, the best.
const SHOWN: usize = 20;

impl Sweep {
    /// The text of `report.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!("# Sweep\n\n{}", self.about());
        text += &self.best(escaped);
        let _ = write!(text, "\n## Runs\n\n{}", pipes(&self.ranked(self.ranking.len(), escaped)));
        text += "\n## Effect of each field\n\nMeans of the runs of each value, whatever their other \
                 values are; runs of which a replica diverged are left out.\n";
        for rows in self.effects(escaped) {
            let _ = write!(text, "\n{}", pipes(&rows));
        }
        text
    }

    /// The tables for the terminal.
    pub fn table(&self) -> String {
        let mut text = self.about() + &self.best(printable) + "\n";
        text += &table(&self.ranked(SHOWN, printable));
        let more = self.ranking.len().saturating_sub(SHOWN);
        if more > 0 {
            let _ = writeln!(text, "and {more} others, in report.md");
        }
        for rows in self.effects(printable) {
            let _ = write!(text, "\n{}", table(&rows));
        }
        text
    }

    /// What is compared, and what is missing.
    fn about(&self) -> String {
        let (metric, total) = (self.metric, self.runs.len());
        let way = if self.direction == Direction::Min { "lowest" } else { "highest" };
        let finished = self.with(Status::Finished).len();
        let mut text = format!(
            "{finished} of {total} runs are finished. A run's {metric} is the mean over its replicas, of \
             each the {way} of its validated rows, with Student's 95 % interval.\n"
        );
        for (status, what) in [
            (Status::Unfinished, "Not finished, or diverged in all replicas"),
            (Status::Missing, "Not begun"),
        ] {
            let names = self.with(status);
            if !names.is_empty() {
                let _ = writeln!(text, "\n{what}: {}.", names.join(", "));
            }
        }
        text
    }

    /// Names of the runs that are so far.
    fn with(&self, status: Status) -> Vec<String> {
        let runs = self.runs.iter().filter(|run| run.status == status);
        runs.map(|run| Plan::name(run.run)).collect()
    }

    /// The best run, with its values as `shown`.
    fn best(&self, shown: fn(&str) -> String) -> String {
        let Some(run) = self.ranking.first().map(|&run| &self.runs[run]) else {
            return "\nNo run has a replica that did not diverge.\n".to_owned();
        };
        let values = self.fields.iter().zip(&run.values);
        let values: Vec<String> =
            values.map(|(name, value)| format!("{} {}", shown(name), shown(value))).collect();
        let (name, metric) = (Plan::name(run.run), self.metric);
        let measured = or_dash(run.figure.as_ref());
        let steps: Vec<String> = run.best.iter().flatten().map(|of| of.step.to_string()).collect();
        let mut text = format!(
            "\nBest: {name} ({}), {metric} {measured}, at step {}.\n",
            values.join(", "),
            steps.join(", ")
        );
        if let Some(of) = &run.evaluation {
            let number = |value: Option<f64>| or_dash(value.map(figure));
            let (loss, tokens) = (number(of.loss), number(of.token_accuracy));
            let exact = number(of.sequence_accuracy);
            let _ = writeln!(
                text,
                "Evaluated after its training: loss {loss}, token accuracy {tokens}, exact sequences {exact}."
            );
        }
        text
    }

    /// A row a run, the best first, a header above, values as `shown`.
    fn ranked(&self, most: usize, shown: fn(&str) -> String) -> Vec<Vec<String>> {
        let mut header = vec!["run".to_owned()];
        header.extend(self.fields.iter().map(|name| shown(name)));
        header.extend([shown(&self.metric.to_string()), "95 % interval".to_owned()]);
        let diverged = self.runs.iter().any(|run| run.diverged > 0);
        header.extend(diverged.then(|| "diverged".to_owned()));
        let row = |run: &Run| {
            let mut row = vec![Plan::name(run.run)];
            row.extend(run.values.iter().map(|value| shown(value)));
            let interval = run.figure.as_ref().and_then(|figure| figure.confidence_95);
            let interval =
                interval.map(|[low, high]| format!("{} to {}", figure(low), figure(high)));
            row.extend([or_dash(run.figure.as_ref()), or_dash(interval)]);
            row.extend(diverged.then(|| run.diverged.to_string()));
            row
        };
        let ranked = self.ranking.iter().take(most).map(|&run| row(&self.runs[run]));
        std::iter::once(header).chain(ranked).collect()
    }

    /// A table for each field.
    fn effects(&self, shown: fn(&str) -> String) -> Vec<Vec<Vec<String>>> {
        let metric = shown(&self.metric.to_string());
        let of = |effect: &super::Effect| {
            let name = shown(&effect.field);
            let mut rows =
                vec![vec![name, "runs".to_owned(), format!("mean {metric}"), "best".to_owned()]];
            rows.extend(effect.groups.iter().map(|group| {
                let figures = &group.figures;
                let (n, best) = (figures.n.to_string(), figure(group.best));
                vec![shown(&group.value), n, figures.to_string(), best]
            }));
            rows
        };
        self.effects.iter().map(of).collect()
    }
}
