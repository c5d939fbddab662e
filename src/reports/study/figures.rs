//! Error rates in per cent, and how published ones stand to them.

use serde::Serialize;

use crate::base::statistics::{Distribution, Proportion, mean_95};
use crate::resolve::{Beside, Published};
use crate::run::ensemble::Ensemble;
use crate::run::summary::Evaluation;

/// Published figures have two decimals; each stands for all numbers that round to it.
const ROUNDING: f64 = 5e-3;

/// Error rates of one model, in per cent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rates {
    /// Word error rate: 100 · (1 − sequence accuracy).
    pub wer: f64,
    /// 100 · symbol error rate; `None` where targets have no end.
    pub per: Option<f64>,
}

/// What all replicas of a run come to as one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Together {
    /// How many replicas.
    pub replicas: usize,
    /// The wrong answers of a run; of an average, of each of its runs.
    pub wrong: Vec<Proportion>,
    /// Word error rate.
    pub wer: f64,
    /// Its 95 % interval over test samples: Wilson's, or of an average [`mean_95`].
    pub wer_95: Option<[f64; 2]>,
    /// Symbol error rate.
    pub per: Option<f64>,
}

/// What a run's replicas came to, and the published figures beside.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figures {
    /// Word error rate over replicas.
    pub wer: Option<Distribution>,
    /// Symbol error rate over replicas.
    pub per: Option<Distribution>,
    /// All replicas as one model.
    pub ensemble: Option<Together>,
    /// By column of the study.
    pub published: Vec<Standing>,
}

/// The figures of one column.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Standing {
    /// Word error rate.
    pub wer: Option<Judged>,
    /// Symbol error rate.
    pub per: Option<Judged>,
}

/// A published figure beside what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Judged {
    /// What was published.
    pub figure: f64,
    /// What was measured, seen from there; `None` where no interval is known.
    pub verdict: Option<Verdict>,
}

/// What was measured, seen from what was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole 95 % interval lies below the published rate.
    Better,
    /// The published rate lies in the interval.
    Within,
    /// The whole interval lies above it.
    Worse,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Better => "better",
            Self::Within => "within",
            Self::Worse => "worse",
        })
    }
}

impl Judged {
    fn new(figure: f64, interval: Option<[f64; 2]>) -> Self {
        let verdict = interval.map(|[low, high]| match () {
            () if high < figure - ROUNDING => Verdict::Better,
            () if low > figure + ROUNDING => Verdict::Worse,
            () => Verdict::Within,
        });
        Self { figure, verdict }
    }
}

impl Rates {
    /// Those of `evaluation`; `None` if it is not of sequences that are right or wrong.
    pub fn of(evaluation: &Evaluation) -> Option<Self> {
        let right = evaluation.sequence_accuracy?;
        let per = evaluation.symbol_error_rate.map(|rate| 100.0 * rate);
        Some(Self { wer: 100.0 * (1.0 - right), per })
    }

    /// The mean of `all`.
    pub(super) fn mean(all: &[Self]) -> Option<Self> {
        let wer: Vec<f64> = all.iter().map(|rates| rates.wer).collect();
        let per: Option<Vec<f64>> = all.iter().map(|rates| rates.per).collect();
        Some(Self { wer: mean(&wer)?, per: per.and_then(|per| mean(&per)) })
    }
}

/// The mean of `values`; `None` if there are none.
pub(super) fn mean(values: &[f64]) -> Option<f64> {
    Distribution::of(values).map(|all| all.mean)
}

impl Together {
    /// That of `ensemble`.
    pub fn of(Ensemble { seeds, evaluation }: &Ensemble) -> Option<Self> {
        let Rates { wer, per } = Rates::of(evaluation)?;
        let wrong = (wer / 100.0 * evaluation.samples as f64).round();
        let wrong = vec![Proportion::new(wrong as u64, evaluation.samples as u64)];
        Some(Self { replicas: seeds.len(), wer, wer_95: in_percent(mean_95(&wrong)), per, wrong })
    }

    /// The mean of `all`.
    pub(super) fn mean(all: &[&Self]) -> Option<Self> {
        let rates: Vec<Rates> = all.iter().map(|of| Rates { wer: of.wer, per: of.per }).collect();
        let Rates { wer, per } = Rates::mean(&rates)?;
        let wrong: Vec<Proportion> = all.iter().flat_map(|of| of.wrong.clone()).collect();
        let replicas = all.iter().map(|of| of.replicas).min()?;
        Some(Self { replicas, wer, wer_95: in_percent(mean_95(&wrong)), per, wrong })
    }
}

fn in_percent(interval: Option<[f64; 2]>) -> Option<[f64; 2]> {
    interval.map(|ends| ends.map(|end| 100.0 * end))
}

impl Figures {
    /// Those of replicas with the rates `each`, of all `together`, and of `columns`, of each of which
    /// `published` has the word and the symbol error rate.
    pub(super) fn new(
        each: &[Option<Rates>],
        together: Option<Together>,
        columns: &[Published],
        published: impl Fn(&Published) -> [Option<f64>; 2],
    ) -> Self {
        let wer: Vec<f64> = each.iter().flatten().map(|rates| rates.wer).collect();
        let per: Option<Vec<f64>> = each.iter().flatten().map(|rates| rates.per).collect();
        let wer = Distribution::of_percents(&wer);
        let per = per.and_then(|per| Distribution::of_losses(&per));
        let of_mean = |all: &Option<Distribution>| all.as_ref().and_then(|all| all.confidence_95);
        let standing = |column: &Published| {
            let [wer_95, per_95] = match column.beside {
                Beside::Mean => [of_mean(&wer), of_mean(&per)],
                // What the interval of a rate of symbols is, single answers do not tell.
                Beside::Ensemble => [together.as_ref().and_then(|all| all.wer_95), None],
            };
            let [of_words, of_symbols] = published(column);
            Standing {
                wer: of_words.map(|figure| Judged::new(figure, wer_95)),
                per: of_symbols.map(|figure| Judged::new(figure, per_95)),
            }
        };
        let published = columns.iter().map(standing).collect();
        Self { wer, per, ensemble: together, published }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn column(beside: Beside) -> Published {
        Published {
            name: "theirs".to_owned(),
            source: "somewhere".to_owned(),
            beside,
            macro_wer: None,
            macro_per: None,
            wer: BTreeMap::new(),
            per: BTreeMap::new(),
        }
    }

    fn evaluation(right: f64, symbols: f64) -> Evaluation {
        Evaluation {
            samples: 200,
            sequence_accuracy: Some(right),
            symbol_error_rate: Some(symbols),
            ..Evaluation::default()
        }
    }

    #[test]
    fn the_interval_decides_whether_a_figure_was_beaten() {
        let verdict = |figure| Judged::new(figure, Some([10.0, 12.0])).verdict.unwrap();
        for (figure, expected) in [
            (9.99, Verdict::Worse),
            (9.996, Verdict::Within),
            (11.0, Verdict::Within),
            (12.004, Verdict::Within),
            (12.01, Verdict::Better),
        ] {
            assert_eq!(verdict(figure), expected, "{figure}");
        }
        assert_eq!(Judged::new(9.0, None).verdict, None);
    }

    #[test]
    fn rates_are_of_words_and_of_symbols_in_per_cent() {
        let each = [Some(0.9), None, Some(0.8)]
            .map(|right| Rates::of(&evaluation(right?, (1.0 - right?) / 4.0)));
        let ensemble = Ensemble { seeds: vec![1, 3], evaluation: evaluation(0.91, 0.02) };
        let columns = [Beside::Mean, Beside::Ensemble].map(column);
        let figures =
            Figures::new(&each, Together::of(&ensemble), &columns, |_| [Some(15.0), Some(90.0)]);
        let (wer, per) = (figures.wer.unwrap(), figures.per.unwrap());
        assert!((wer.mean - 15.0).abs() < 1e-9 && (per.mean - 3.75).abs() < 1e-9);
        assert_eq!((wer.n, wer.confidence_95.unwrap()[0]), (2, 0.0));
        let together = figures.ensemble.unwrap();
        assert_eq!(together.wrong, [Proportion::new(18, 200)]);
        assert!((together.wer - 9.0).abs() < 1e-9 && together.per == Some(2.0));
        let [mean, all] = [0, 1].map(|i| figures.published[i].wer.unwrap().verdict);
        assert_eq!((mean, all), (Some(Verdict::Within), Some(Verdict::Better)));
        let [mean, all] = [0, 1].map(|i| figures.published[i].per.unwrap().verdict);
        assert_eq!((mean, all), (Some(Verdict::Better), None));
    }

    #[test]
    fn an_average_has_equal_weights() {
        let of = |seeds, right| Ensemble { seeds, evaluation: evaluation(right, 0.0) };
        let all = [of(vec![1, 2], 0.5), of(vec![1], 0.9)];
        let all: Vec<Together> = all.iter().filter_map(Together::of).collect();
        let mean = Together::mean(&all.iter().collect::<Vec<_>>()).unwrap();
        assert!((mean.wer - 30.0).abs() < 1e-9 && mean.replicas == 1);
        let [low, high] = mean.wer_95.unwrap();
        assert!(high - low < all[0].wer_95.unwrap()[1] - all[0].wer_95.unwrap()[0]);
        assert_eq!(Together::mean(&[]), None);
    }
}
