//! The table of runs: what their replicas came to.

use crate::base::statistics::{Distribution, figure};
use crate::run::curves::CurveRow;
use crate::run::summary::{Evaluation, ReplicaSummary, Summary};

use super::run::Run;

/// What a run has been found to be.
pub(super) struct Seen<'a> {
    /// What it came to, if it is finished.
    summary: Option<&'a Summary>,
    /// The last row of each replica.
    last: Vec<&'a CurveRow>,
    /// The last one with a validation.
    validated: Vec<&'a CurveRow>,
}

/// A column of the table of runs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heading {
    /// What it is called, as on the terminal.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    of: fn(&Seen) -> Vec<Option<f64>>,
}

/// The column of times, which have fewer decimals.
const SECONDS: &str = "seconds";

/// A cell of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// What it is sorted by.
    pub value: f64,
    /// The mean.
    pub mean: String,
    /// The standard deviation over replicas, if there are several.
    pub sd: Option<String>,
}

const HEADINGS: [Heading; 16] = [
    Heading {
        name: "train loss",
        about: "mean over the last epoch, each batch before its update; of a run in progress, the last row",
        of: |seen| seen.trained(|replica| replica.train_loss, |row| Some(row.loss)),
    },
    Heading {
        name: "train accuracy",
        about: "token accuracy, likewise",
        of: |seen| seen.trained(|replica| replica.train_accuracy, |row| row.accuracy),
    },
    Heading {
        name: "val loss",
        about: "of the last validation, free-running",
        of: |seen| seen.validated(|row| row.val_loss),
    },
    Heading {
        name: "val accuracy",
        about: "token accuracy of the last validation",
        of: |seen| seen.validated(|row| row.val_accuracy),
    },
    Heading {
        name: "val exact",
        about: "share of whole sequences that are right in the last validation",
        of: |seen| seen.validated(|row| row.val_sequence_accuracy),
    },
    Heading {
        name: "eval loss",
        about: "of the evaluation after training, free-running",
        of: |seen| seen.evaluated(|of| of.loss),
    },
    Heading {
        name: "token accuracy",
        about: "of the evaluation after training, free-running",
        of: |seen| seen.evaluated(|of| of.token_accuracy),
    },
    Heading {
        name: "exact sequences",
        about: "share of whole sequences that are right in the evaluation after training",
        of: |seen| seen.evaluated(|of| of.sequence_accuracy),
    },
    Heading {
        name: "symbol error rate",
        about: "edits over reference length in the evaluation after training",
        of: |seen| seen.evaluated(|of| of.symbol_error_rate),
    },
    Heading {
        name: "MAE",
        about: "mean absolute error of the forecasts, in the file's units",
        of: |seen| seen.evaluated(|of| Some(of.forecast.as_ref()?.mae)),
    },
    Heading {
        name: "naive MAE",
        about: "that of saying the last value again",
        of: |seen| seen.evaluated(|of| Some(of.forecast.as_ref()?.naive_mae)),
    },
    Heading {
        name: "RMSE",
        about: "root of the mean squared error of the forecasts, in the file's units",
        of: |seen| seen.evaluated(|of| Some(of.forecast.as_ref()?.rmse)),
    },
    Heading {
        name: "naive RMSE",
        about: "that of saying the last value again",
        of: |seen| seen.evaluated(|of| Some(of.forecast.as_ref()?.naive_rmse)),
    },
    Heading {
        name: "naive: most frequent",
        about: "token accuracy of saying the most frequent token of the training part",
        of: |seen| seen.evaluated(|of| Some(of.naive.as_ref()?.most_frequent.token_accuracy)),
    },
    Heading {
        name: "naive: last",
        about: "token accuracy of saying the last token again",
        of: |seen| seen.evaluated(|of| Some(of.naive.as_ref()?.last.token_accuracy)),
    },
    Heading {
        name: SECONDS,
        about: "wall time in the training loop, of all replicas together",
        of: |seen| vec![seen.seconds()],
    },
];

impl<'a> Seen<'a> {
    pub(super) fn new(summary: Option<&'a Summary>, rows: &'a [CurveRow], replicas: usize) -> Self {
        let (mut last, mut validated) = (vec![None; replicas], vec![None; replicas]);
        for row in rows.iter().filter(|row| row.replica < replicas) {
            last[row.replica] = Some(row);
            if row.val_loss.is_some() {
                validated[row.replica] = Some(row);
            }
        }
        let known = |rows: Vec<Option<&'a CurveRow>>| rows.into_iter().flatten().collect();
        Self { summary, last: known(last), validated: known(validated) }
    }

    /// A cell for each column, `None` where no replica has a figure.
    pub(super) fn cells(&self) -> Vec<Option<Cell>> {
        let cell = |heading: &Heading| {
            let known = (heading.of)(self).into_iter().flatten();
            let all = Distribution::of(&known.filter(|x| x.is_finite()).collect::<Vec<_>>())?;
            Some(Cell::of(all, heading.name == SECONDS))
        };
        HEADINGS.iter().map(cell).collect()
    }

    fn trained(
        &self,
        finished: fn(&ReplicaSummary) -> Option<f64>,
        so_far: fn(&CurveRow) -> Option<f64>,
    ) -> Vec<Option<f64>> {
        match self.summary {
            Some(summary) => summary.replicas.iter().map(finished).collect(),
            None => self.last.iter().map(|row| so_far(row)).collect(),
        }
    }

    fn validated(&self, value: fn(&CurveRow) -> Option<f64>) -> Vec<Option<f64>> {
        self.validated.iter().map(|row| value(row)).collect()
    }

    fn evaluated(&self, value: fn(&Evaluation) -> Option<f64>) -> Vec<Option<f64>> {
        let replicas = self.summary.iter().flat_map(|summary| &summary.replicas);
        replicas.map(|replica| value(replica.evaluation.as_ref()?)).collect()
    }

    fn seconds(&self) -> Option<f64> {
        let so_far = self.last.iter().map(|row| row.seconds).reduce(f64::max);
        let trained = self.summary.filter(|summary| summary.imported.is_none());
        trained.map(|summary| summary.train_seconds).or(so_far)
    }
}

impl Cell {
    /// That of a distribution, of times or of anything else.
    fn of(all: Distribution, is_time: bool) -> Self {
        let mean = if is_time { format!("{:.1}", all.mean) } else { figure(all.mean) };
        Self { value: all.mean, mean, sd: all.sd.map(figure) }
    }
}

/// The columns that a run has a figure for. The others are taken out of `runs`.
pub(super) fn used(runs: &mut [Run]) -> Vec<Heading> {
    let is_used: Vec<bool> =
        (0..HEADINGS.len()).map(|i| runs.iter().any(|run| run.cells[i].is_some())).collect();
    for run in runs {
        let mut used = is_used.iter();
        run.cells.retain(|_| used.next().copied().unwrap_or(false));
    }
    HEADINGS.into_iter().zip(is_used).filter_map(|(of, used)| used.then_some(of)).collect()
}
