//! What the runs of a sweep came to: which is best in validation, and what each field did to that.
//! Read from a directory with the plan and the runs alone. No time is in it, so that it does not depend
//! on what was interrupted.

mod effects;
mod markdown;

use std::path::Path;

use anyhow::{Result, anyhow};
use serde::Serialize;

use crate::base::error::UserError;
use crate::base::input::{self, if_there};
use crate::base::shell;
use crate::base::statistics::Distribution;
use crate::config::{Config, CurveMetric, Direction};
use crate::files::directory::Directory;
use crate::reports::files;
use crate::resolve::{self, Plan};
use crate::run::curves::{CurveRow, records};
use crate::run::run_dir::{Place, RunDir, write_whole};
use crate::run::summary::{Evaluation, Summary};
use crate::train::gain::{Rule, Seen};
pub use effects::{Effect, Group};

/// The plan's file in the directory of a sweep.
pub const PLAN: &str = "plan.toml";

/// The runs of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// What they are compared by.
    pub metric: CurveMetric,
    /// Whether that gains by falling or by rising.
    pub direction: Direction,
    /// Names of the fields that are swept.
    pub fields: Vec<String>,
    /// All of them, by number.
    pub runs: Vec<Run>,
    /// Numbers of the finished ones, the best first; those of which a replica has diverged come last.
    pub ranking: Vec<usize>,
    /// What each field did.
    pub effects: Vec<Effect>,
}

/// A run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its number in the plan.
    pub run: usize,
    /// Values of the fields that are swept.
    pub values: Vec<String>,
    /// How far it is.
    pub status: Status,
    /// R.
    pub replicas: usize,
    /// Replicas that diverged, and have no part in the figures.
    pub diverged: usize,
    /// Each replica's best validated row; `None` if it diverged, or the run is not finished.
    pub best: Vec<Option<Best>>,
    /// What these come to; `None` if there is none.
    pub figure: Option<Distribution>,
    /// The mean over replicas of what the evaluation after training came to.
    pub evaluation: Option<Evaluated>,
    /// Its rows of the joined `curves.csv`; empty if it is not finished.
    #[serde(skip)]
    pub curves: String,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It is trained and evaluated.
    Finished,
    /// It was begun, or all its replicas diverged, so that it cannot be finished.
    Unfinished,
    /// It is not begun.
    Missing,
}

/// A row of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Best {
    /// Its metric.
    pub value: f64,
    /// Its step.
    pub step: i64,
}

/// Means over replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluated {
    /// Of the loss.
    pub loss: Option<f64>,
    /// Of the token accuracy.
    pub token_accuracy: Option<f64>,
    /// Of the share of sequences that are right as a whole.
    pub sequence_accuracy: Option<f64>,
}

/// The plan in the directory `path`; `None` if there is none.
///
/// # Errors
/// If it cannot be read, or was changed.
pub fn plan_in(path: &Path) -> Result<Option<Plan>> {
    let file = path.join(PLAN);
    let shown = input::shown(&file);
    let unreadable = |e| UserError::usage(format!("cannot read {shown}: {e}"));
    let bytes = if_there(input::read(&file, input::RECORD)).map_err(unreadable)?;
    bytes.map(|bytes| Plan::parse(&shown, &bytes)).transpose()
}

impl Sweep {
    /// The runs of `plan` in the directory `path`.
    ///
    /// # Errors
    /// If none is finished, or one is damaged or of something else than the plan.
    pub fn read(path: &Path, plan: &Plan) -> Result<Self> {
        let rule = rule(plan.metric);
        let run = |number| Run::read(&path.join(Plan::name(number)), plan, number, &rule);
        let runs: Result<Vec<Run>> = (0..plan.runs()).map(run).collect();
        let runs = runs?;
        if runs.iter().all(|run| run.status != Status::Finished) {
            let error = UserError::usage(format!("{}: no run is finished", input::shown(path)));
            let words = ["sweep".as_ref(), "run".as_ref(), path.as_os_str(), "--all".as_ref()];
            return Err(error.hint(format!("`{}` trains them", shell::command(&words))).into());
        }
        Ok(Self::new(plan, runs))
    }

    fn new(plan: &Plan, runs: Vec<Run>) -> Self {
        let Rule { metric, direction, .. } = rule(plan.metric);
        let fields = plan.fields.clone();
        let mut ranking: Vec<usize> =
            (0..runs.len()).filter(|&run| runs[run].figure.is_some()).collect();
        ranking.sort_by(|&a, &b| runs[a].order(&runs[b], direction));
        let effects = (0..fields.len()).map(|field| Effect::of(field, plan, &runs, direction));
        Self { metric, direction, effects: effects.collect(), fields, runs, ranking }
    }

    /// Writes `report.json`, `report.md`, `runs.csv` and `curves.csv` into the directory `path`.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        files::write(path, &self.json()?, &self.markdown())?;
        let directory = Directory::open(path)?;
        write_whole(&directory, &path.join("runs.csv"), &self.csv()?)?;
        write_whole(&directory, &path.join("curves.csv"), &self.curves())
    }

    /// The text of `report.json`.
    ///
    /// # Errors
    /// None that a sweep from [`Sweep::read`] can have.
    pub fn json(&self) -> Result<String> {
        files::json(self)
    }

    /// The text of `runs.csv`: a row for each run of the plan.
    fn csv(&self) -> Result<String> {
        let metric = self.metric.to_string();
        let of_metric = ["sd", "low_95", "high_95"].map(|of| format!("{metric}_{of}"));
        let evaluation = ["loss", "token_accuracy", "sequence_accuracy"];
        let mut header = vec!["run".to_owned(), "status".to_owned()];
        header.extend(self.fields.iter().cloned());
        header.extend(["replicas".to_owned(), "diverged".to_owned(), metric]);
        header.extend(of_metric);
        header.extend(evaluation.map(|of| format!("evaluation_{of}")));
        let rows = self.runs.iter().map(Run::record);
        records(std::iter::once(Ok(header)).chain(rows.map(Ok)))
    }

    /// The text of the joined `curves.csv`: the rows of all finished runs, but for the time they took.
    fn curves(&self) -> String {
        let header = format!("run,{}\n", CurveRow::TIMELESS.join(","));
        header + &self.runs.iter().map(|run| run.curves.as_str()).collect::<String>()
    }
}

impl Run {
    /// The run `number` of `plan`, in the directory `path`.
    fn read(path: &Path, plan: &Plan, number: usize, rule: &Rule) -> Result<Self> {
        let planned = plan.config(number)?;
        let mut run = Self {
            run: number,
            values: plan.values(number),
            status: Status::Missing,
            replicas: planned.replicas as usize,
            diverged: 0,
            best: vec![None; planned.replicas as usize],
            figure: None,
            evaluation: None,
            curves: String::new(),
        };
        if RunDir::place(path)? == Place::Free {
            return Ok(run);
        }
        let (directory, config) = RunDir::open(path)?;
        if let Some(changes) = resolve::changes(&planned, &config)? {
            let error = format!("{}: is not the plan's: {changes} there", input::shown(path));
            return Err(UserError::usage(error).into());
        }
        match directory.read_training(&config)? {
            Some(summary) => {
                let rows = directory.read_curves(Some(&summary))?;
                let damaged = |e| anyhow!("{} is damaged: {e}", input::shown(path));
                run.finish(&config, &summary, &rows, rule).map_err(damaged)?;
                run.curves = numbered(number, &rows)?;
            }
            None => run.status = Status::Unfinished,
        }
        Ok(run)
    }

    /// Takes what the finished run came to.
    fn finish(
        &mut self,
        config: &Config,
        summary: &Summary,
        rows: &[CurveRow],
        rule: &Rule,
    ) -> Result<(), String> {
        let replicas = &summary.replicas;
        if replicas.len() != self.replicas || rows.iter().any(|row| row.replica >= self.replicas) {
            return Err(format!("expected {} replicas, as config.toml has", config.replicas));
        }
        let mut seen = vec![Seen::default(); self.replicas];
        for row in rows.iter().filter(|row| replicas[row.replica].diverged_at_step.is_none()) {
            let value = rule.value(row).filter(|value| value.is_finite());
            if let Some(value) = value.filter(|value| rule.gains(&mut seen[row.replica], *value)) {
                self.best[row.replica] = Some(Best { value, step: row.step });
            }
        }
        let values: Vec<f64> = self.best.iter().flatten().map(|best| best.value).collect();
        self.status = Status::Finished;
        self.diverged = replicas.iter().filter(|of| of.diverged_at_step.is_some()).count();
        self.figure = distribution(rule.metric, &values);
        let evaluations = replicas.iter().filter_map(|replica| replica.evaluation.as_ref());
        self.evaluation = Evaluated::of(&evaluations.collect::<Vec<_>>());
        Ok(())
    }

    /// Whether it comes before `other`: the better one, or of equal ones the first.
    fn order(&self, other: &Self, direction: Direction) -> std::cmp::Ordering {
        let mean = |run: &Self| {
            let mean = run.figure.as_ref().map_or(f64::NAN, |figure| figure.mean);
            if direction == Direction::Min { mean } else { -mean }
        };
        let lost = |run: &Self| run.diverged > 0;
        let figures = mean(self).total_cmp(&mean(other));
        lost(self).cmp(&lost(other)).then(figures).then(self.run.cmp(&other.run))
    }

    /// Its row of `runs.csv`.
    fn record(&self) -> Vec<String> {
        let number =
            |value: Option<f64>| value.map(|value| format!("{value:?}")).unwrap_or_default();
        let figure = self.figure.as_ref();
        let end = |side: usize| figure.and_then(|figure| Some(figure.confidence_95?[side]));
        let evaluation =
            |of: fn(&Evaluated) -> Option<f64>| number(self.evaluation.as_ref().and_then(of));
        let mut record = vec![self.run.to_string(), self.status.word().to_owned()];
        record.extend(self.values.iter().cloned());
        record.extend([
            self.replicas.to_string(),
            self.diverged.to_string(),
            number(figure.map(|figure| figure.mean)),
            number(figure.and_then(|figure| figure.sd)),
            number(end(0)),
            number(end(1)),
            evaluation(|of| of.loss),
            evaluation(|of| of.token_accuracy),
            evaluation(|of| of.sequence_accuracy),
        ]);
        record
    }
}

impl Status {
    /// It in a word.
    fn word(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Unfinished => "unfinished",
            Self::Missing => "missing",
        }
    }
}

impl Evaluated {
    fn of(evaluations: &[&Evaluation]) -> Option<Self> {
        let mean = |of: fn(&Evaluation) -> Option<f64>| {
            let values: Option<Vec<f64>> =
                evaluations.iter().map(|evaluation| of(evaluation)).collect();
            Some(Distribution::of(&values?)?.mean)
        };
        (!evaluations.is_empty()).then(|| Self {
            loss: mean(|of| of.loss),
            token_accuracy: mean(|of| of.token_accuracy),
            sequence_accuracy: mean(|of| of.sequence_accuracy),
        })
    }
}

/// `rows` as CSV behind the number of their run, but for the time they took.
fn numbered(run: usize, rows: &[CurveRow]) -> Result<String> {
    records(rows.iter().map(|row| {
        let mut record = vec![run.to_string()];
        record.extend(row.timeless()?);
        Ok(record)
    }))
}

/// What makes one row better than another.
fn rule(metric: CurveMetric) -> Rule {
    let direction = match metric {
        CurveMetric::ValLoss => Direction::Min,
        _ => Direction::Max,
    };
    Rule { metric, direction, min_delta: 0.0, patience: i64::MAX }
}

/// That of values of `metric`.
fn distribution(metric: CurveMetric, values: &[f64]) -> Option<Distribution> {
    match metric {
        CurveMetric::ValLoss => Distribution::of_losses(values),
        _ => Distribution::of_shares(values),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::summary::ReplicaSummary;

    const SWEEP: &str = "method = 'grid'\n[base]\npreset = 'echo'\nvalidate_every = 1\n\
                         replicas = 2\n[fields]\nunits = [8, 4]\n\
                         gate_activation = ['sigmoid', 'hard_sigmoid']\nstateful = [true]\n";

    fn plan(text: &str) -> Plan {
        resolve::Sweep::parse("s.toml", text.as_bytes()).unwrap().plan().unwrap()
    }

    /// A finished run with these best values, of replicas that did not diverge.
    fn run(plan: &Plan, run: usize, values: &[f64]) -> Run {
        Run {
            run,
            values: plan.values(run),
            status: Status::Finished,
            replicas: 2,
            diverged: 2 - values.len(),
            best: values.iter().map(|&value| Some(Best { value, step: 40 })).collect(),
            figure: Distribution::of_losses(values),
            evaluation: Some(Evaluated {
                loss: Some(1.25),
                token_accuracy: Some(0.5),
                sequence_accuracy: None,
            }),
            curves: String::new(),
        }
    }

    #[test]
    fn the_report_is_exactly_so() {
        let plan = plan(SWEEP);
        let missing = Run { status: Status::Missing, figure: None, ..run(&plan, 1, &[]) };
        let runs = vec![
            run(&plan, 0, &[1.0, 1.5]),
            missing,
            run(&plan, 2, &[0.5]),
            run(&plan, 3, &[1.0, 1.25]),
        ];
        let sweep = Sweep::new(&plan, runs);
        let expected = "\
# Sweep

3 of 4 runs are finished. A run's val_loss is the mean over its replicas, of each the lowest of its validated rows, with Student's 95 % interval.

Not begun: 0001.

Best: 0003 (units 4, gate_activation hard_sigmoid, stateful true), val_loss 1.1250 ± 0.1768, at step 40, 40.
Evaluated after its training: loss 1.2500, token accuracy 0.5000, exact sequences -.

## Runs

| run | units | gate_activation | stateful | val_loss | 95 % interval | diverged |
| --- | --- | --- | --- | --- | --- | --- |
| 0003 | 4 | hard_sigmoid | true | 1.1250 ± 0.1768 | 0.0000 to 2.7133 | 0 |
| 0000 | 8 | sigmoid | true | 1.2500 ± 0.3536 | 0.0000 to 4.4266 | 0 |
| 0002 | 4 | sigmoid | true | 0.5000 | - | 1 |

## Effect of each field

Means of the runs of each value, whatever their other values are; runs of which a replica diverged are left out.

| units | runs | mean val_loss | best |
| --- | --- | --- | --- |
| 4 | 1 | 1.1250 | 1.1250 |
| 8 | 1 | 1.2500 | 1.2500 |

| gate_activation | runs | mean val_loss | best |
| --- | --- | --- | --- |
| sigmoid | 1 | 1.2500 | 1.2500 |
| hard_sigmoid | 1 | 1.1250 | 1.1250 |

| stateful | runs | mean val_loss | best |
| --- | --- | --- | --- |
| true | 2 | 1.1875 ± 0.0884 | 1.1250 |
";
        assert_eq!(sweep.markdown(), expected);
        let rows = sweep.csv().unwrap();
        let rows: Vec<&str> = rows.lines().collect();
        assert!(rows[1].starts_with("0,finished,8,sigmoid,true,2,0,1.25,0.3535533905932738,0.0,"));
        assert_eq!(rows[2], "1,missing,8,hard_sigmoid,true,2,2,,,,,1.25,0.5,");
        assert_eq!(rows[3], "2,finished,4,sigmoid,true,2,1,0.5,,,,1.25,0.5,");
    }

    #[test]
    fn many_numbers_are_put_into_quarters() {
        let units = "method = 'random'\nsamples = 40\n[base]\npreset = 'echo'\nvalidate_every = 1\n\
                     replicas = 2\n[fields]\nunits = { from = 1, to = 1000 }\n";
        let plan = plan(units);
        // The more units, the better.
        let loss = |number: usize| 1000.0 - plan.number(number, "units").unwrap();
        let runs = (0..40).map(|number| run(&plan, number, &[loss(number); 2])).collect();
        let sweep = Sweep::new(&plan, runs);
        let groups = &sweep.effects[0].groups;
        assert_eq!(groups.iter().map(|group| group.figures.n).collect::<Vec<_>>(), [10; 4]);
        let mut all: Vec<i64> =
            (0..40).map(|number| plan.number(number, "units").unwrap() as i64).collect();
        all.sort();
        assert_eq!(groups[1].value, format!("{} to {}", all[10], all[19]));
        assert_eq!(groups[1].best, 1000.0 - all[19] as f64);
        assert!(groups.windows(2).all(|two| two[0].figures.mean > two[1].figures.mean));
    }

    #[test]
    fn the_best_row_of_each_replica_counts_and_none_of_one_that_diverged() {
        let plan = plan(SWEEP);
        let row = |replica, step, val_loss| CurveRow {
            val_loss,
            ..CurveRow::of_loss(replica, step, 1.0)
        };
        let rows = [
            row(0, 1, Some(f64::NAN)),
            row(0, 2, Some(3.0)),
            row(0, 3, None),
            row(0, 4, Some(2.0)),
            row(0, 5, Some(2.0)),
            row(1, 2, Some(0.5)),
        ];
        let replica = |diverged_at_step| ReplicaSummary {
            seed: 1,
            diverged_at_step,
            early_stopping: None,
            train_loss: None,
            train_accuracy: None,
            evaluation: None,
        };
        let summary = Summary {
            preset: "echo".to_owned(),
            steps: 5,
            train_seconds: 1.0,
            startup_seconds: 1.0,
            device: String::new(),
            engine: String::new(),
            machine: String::new(),
            threads: 1,
            versions: Default::default(),
            git_commit: String::new(),
            config: None,
            init_from: None,
            imported: None,
            curves: None,
            replicas: vec![replica(None), replica(Some(3))],
        };
        let mut found = run(&plan, 0, &[]);
        found.best = vec![None; 2];
        let config = plan.config(0).unwrap();
        found.finish(&config, &summary, &rows, &rule(CurveMetric::ValLoss)).unwrap();
        assert_eq!(found.best, [Some(Best { value: 2.0, step: 4 }), None]);
        assert_eq!((found.diverged, found.figure.unwrap().mean), (1, 2.0));
        let wrong = row(2, 1, None);
        let mut other = run(&plan, 0, &[]);
        assert!(other.finish(&config, &summary, &[wrong], &rule(CurveMetric::ValLoss)).is_err());
    }
}
