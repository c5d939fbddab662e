//! A study as text: `report.md` and the table on the terminal.

use std::fmt::Write;

use super::{Average, Column, Figures, Judged, Run, Standing, Study};
use crate::base::input::printable;
use crate::base::statistics::Distribution;
use crate::reports::markdown::{escaped, pipes};
use crate::reports::reproduction::ENOUGH_REPLICAS;
use crate::reports::tables::{table, thousands};
use crate::resolve::Beside;

/// What stands where there is nothing.
const NOTHING: &str = "–";

/// An error rate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rate {
    Wer,
    Per,
}

impl Study {
    /// The text of `report.md`.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}\n\n{}", escaped(&self.title), self.caveats(escaped));
        text += FIGURES;
        if !self.notes.is_empty() {
            let lines: Vec<String> = self.notes.lines().map(escaped).collect();
            let _ = writeln!(text, "\n{}", lines.join("\n"));
        }
        let _ = write!(text, "\n## Word error rates\n\n{}", pipes(&self.rows(Rate::Wer, true)));
        let _ = write!(text, "\n## Symbol error rates\n\n{}", pipes(&self.rows(Rate::Per, true)));
        text += &self.sources();
        let _ = write!(text, "\n## Data\n\nTo be had: {}.\n", escaped(&self.data));
        text += EACH;
        let seconds: f64 = self.runs.iter().map(|run| run.train_seconds).sum();
        let _ = writeln!(text, "\nTraining took {:.0} minutes in all.", seconds / 60.0);
        for run in &self.runs {
            text += &run.section();
        }
        text
    }

    /// The table for the terminal.
    pub fn table(&self) -> String {
        self.caveats(printable) + &table(&self.rows(Rate::Wer, false))
    }

    /// What keeps the runs from being the study, their names as `shown`.
    fn caveats(&self, shown: fn(&str) -> String) -> String {
        let few = self.runs.iter().filter(|run| run.replicas < ENOUGH_REPLICAS);
        let few = few.map(|run| run.name.clone()).collect();
        let diverged = self.runs.iter().filter(|run| run.diverged > 0);
        let diverged = diverged.map(|run| format!("{} of {}", run.diverged, run.name)).collect();
        let mut text = String::new();
        for (what, names) in [
            (format!("A quick look, no result: fewer than {ENOUGH_REPLICAS} replicas"), &few),
            ("Not finished".to_owned(), &self.unfinished),
            ("Not begun".to_owned(), &self.missing),
            ("Replicas together not evaluated".to_owned(), &self.without_ensemble),
            ("Replicas that diverged, without a part in the figures".to_owned(), &diverged),
        ] {
            let names: Vec<String> = names.iter().map(|name| shown(name)).collect();
            if !names.is_empty() {
                let _ = writeln!(text, "{what}: {}.\n", names.join(", "));
            }
        }
        text
    }

    /// A row a run, a header above, the average below; the `whole` has intervals and is Markdown.
    fn rows(&self, rate: Rate, whole: bool) -> Vec<Vec<String>> {
        // Of what nobody published, there is no column.
        let average = &self.average.figures;
        let all = || self.runs.iter().map(|run| &run.figures).chain([average]);
        let used = |i: &usize| all().any(|figures| rate.judged(&figures.published[*i]).is_some());
        let used: Vec<usize> = (0..self.columns.len()).filter(used).collect();
        let name = match rate {
            Rate::Wer => "WER",
            Rate::Per => "PER",
        };
        let mut header = vec!["run".to_owned(), name.to_owned()];
        header.extend(whole.then(|| "95 % of the mean".to_owned()));
        header.push("ensemble".to_owned());
        header.extend((whole && rate == Rate::Wer).then(|| "95 %".to_owned()));
        header.extend(used.iter().map(|&i| self.columns[i].heading(whole)));
        let row = |name: String, figures: &Figures| {
            let of_seeds = rate.of_seeds(figures);
            let mut row = vec![name, spread(of_seeds)];
            let of_mean = of_seeds.and_then(|all| all.confidence_95);
            row.extend(whole.then(|| interval(of_mean)));
            let (together, wer_95) = rate.together(figures);
            row.push(together.map_or(NOTHING.to_owned(), two));
            row.extend((whole && rate == Rate::Wer).then(|| interval(wer_95)));
            row.extend(used.iter().map(|&i| judged(rate.judged(&figures.published[i]))));
            row
        };
        let mut rows = vec![header];
        let shown = if whole { escaped } else { printable };
        rows.extend(self.runs.iter().map(|run| row(shown(&run.name), &run.figures)));
        rows.push(row(self.average.heading(), average));
        rows
    }

    /// Who published what.
    fn sources(&self) -> String {
        let mut text = String::new();
        for Column { name, source, .. } in &self.columns {
            let _ = writeln!(text, "- {}: {}", escaped(name), escaped(source));
        }
        if text.is_empty() { text } else { format!("\n## Published\n\n{text}") }
    }
}

impl Rate {
    fn of_seeds(self, figures: &Figures) -> Option<&Distribution> {
        match self {
            Self::Wer => figures.wer.as_ref(),
            Self::Per => figures.per.as_ref(),
        }
    }

    /// That of all replicas together, and its interval.
    fn together(self, figures: &Figures) -> (Option<f64>, Option<[f64; 2]>) {
        let Some(together) = &figures.ensemble else { return (None, None) };
        match self {
            Self::Wer => (Some(together.wer), together.wer_95),
            Self::Per => (together.per, None),
        }
    }

    fn judged(self, standing: &Standing) -> Option<Judged> {
        match self {
            Self::Wer => standing.wer,
            Self::Per => standing.per,
        }
    }
}

impl Column {
    /// Its name, and what stands beside it if `whole`.
    fn heading(&self, whole: bool) -> String {
        let beside = match self.beside {
            Beside::Mean => "mean",
            Beside::Ensemble => "ensemble",
        };
        match whole {
            true => format!("{} (beside the {beside})", escaped(&self.name)),
            false => self.name.clone(),
        }
    }
}

impl Average {
    fn heading(&self) -> String {
        let which = if self.complete { "all" } else { "these" };
        format!("mean of {which} {}", self.runs)
    }
}

const FIGURES: &str = "\
Error rates on the test files, in per cent, free-running. WER is the share of answers that are not exactly
what was expected, 100 · (1 − sequence accuracy). PER is 100 · symbol error rate: insertions, deletions and
substitutions over the symbols of what was expected, summed over the file. Figures are mean ± standard
deviation over seeds; the ensemble is all seeds as one model, the mean of their log-probabilities. The last
row has equal weights for all runs, its deviation that of the means of each seed.

Behind a published figure is what was measured, seen from there: `better` or `worse` if the whole 95 %
interval is, otherwise `within`. Beside the mean, the interval is Student's, over seeds; beside the ensemble,
which is one model, it is Wilson's of its wrong answers, and for the last row follows from those (Zou and
Donner 2008). A PER has none there. A published figure counts as exact.
";

const EACH: &str = "
## Each run

`DATA` is the directory of the data. All runs, what is finished left as it is, and this report:

```sh
scripts/seqlab reproduce --recipe recipe.toml --data DATA --out OUT
```
";

impl Run {
    /// How it was made.
    fn section(&self) -> String {
        let last = self.seed + self.replicas as i64 - 1;
        format!(
            "\n### {}\n\n```sh\n{}\n```\n\n{} replicas, seeds {} to {last}, {} steps each in {:.0} s; {} answers \
             to the test file; seqlab {} with libtorch {}, {} engine, {} thread(s) on {}: {}.\n",
            escaped(&self.name),
            self.command,
            self.replicas,
            self.seed,
            thousands(self.steps),
            self.train_seconds,
            thousands(self.samples as i64),
            escaped(&self.seqlab),
            escaped(&self.libtorch),
            escaped(&self.engine),
            self.threads,
            escaped(&self.device),
            escaped(&self.machine),
        )
    }
}

/// Mean ± standard deviation.
fn spread(distribution: Option<&Distribution>) -> String {
    let Some(Distribution { mean, sd, .. }) = distribution else { return NOTHING.to_owned() };
    let sd = sd.map(|sd| format!(" ± {}", two(sd))).unwrap_or_default();
    two(*mean) + &sd
}

fn interval(interval: Option<[f64; 2]>) -> String {
    interval.map_or(NOTHING.to_owned(), |[low, high]| format!("{} to {}", two(low), two(high)))
}

fn judged(judged: Option<Judged>) -> String {
    let Some(Judged { figure, verdict }) = judged else { return NOTHING.to_owned() };
    let verdict = verdict.map(|verdict| format!(" {verdict}")).unwrap_or_default();
    two(figure) + &verdict
}

/// With two decimals, as error rates are published.
fn two(x: f64) -> String {
    format!("{x:.2}")
}
