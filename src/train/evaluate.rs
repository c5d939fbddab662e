//! Evaluation on sequences that are never trained on: no gradient, no target in sight of the model.

use std::ops::Range;

use anyhow::Result;
use tch::{Device, TchError};

use crate::base::input::quoted;
use crate::base::rng::Purpose;
use crate::config::{Attention, Config};
use crate::data::batch::{Batch, Sequences, Steps};
use crate::data::task::{Epoch, Task};
use crate::data::writing::Writing;
use crate::engine::{self, Answers, Inference};
use crate::model::network::Network;
use crate::run::curves::PredictionRow;
use crate::run::summary::{Evaluation, Frequent};
use crate::tensor::device;
use crate::tensor::parameters::Parameters;
use crate::train::decode::{Search, Searching};
use crate::train::forecast::{Errors, Naive};
use crate::train::score::{Scoring, Tally};

/// One evaluated sequence.
#[derive(Debug)]
pub struct Prediction<'a> {
    /// Replica.
    pub replica: usize,
    /// What it is for, and its place in the epoch's samples.
    pub sample: (Purpose, usize),
    /// What the model read.
    pub source: Steps<'a>,
    /// What it should have said. It may have more time steps than the model says.
    pub expected: Steps<'a>,
    /// What it said.
    pub predicted: Steps<'a>,
}

impl Prediction<'_> {
    /// The same as text, for sequences of `task`.
    pub fn row(&self, task: &Task, writing: Writing) -> PredictionRow {
        let target = |steps: Steps<'_>| match steps {
            Steps::Ids(ids) => task.target(task.before_end(ids), writing),
            Steps::Numbers(numbers) => task.target_numbers(numbers),
        };
        let is_right = || Scoring::of(task).is_right(self.expected.ids(), self.predicted.ids());
        let (source, correct) = match self.source {
            Steps::Ids(ids) => (task.source(ids, writing), Some(is_right())),
            Steps::Numbers(numbers) => (task.source_numbers(numbers), None),
        };
        let (expected, predicted) = (target(self.expected), target(self.predicted));
        let (purpose, index) = self.sample;
        let [source, expected] = task.texts(purpose, index).unwrap_or([source, expected]);
        PredictionRow { replica: self.replica, source, expected, predicted, correct }
    }
}

/// A trained model with what it takes to evaluate it.
pub struct Evaluator<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// Its task.
    pub task: &'a Task,
    /// Its weights.
    pub parameters: &'a Parameters,
    /// The model that computes with them.
    pub network: &'a Network,
    /// Where the model computes.
    pub device: Device,
    /// What is searched for the answers; `None`: the decoder is fed its outputs, as in training's
    /// validation.
    pub search: Option<Search>,
}

impl Evaluator<'_> {
    /// Evaluates every replica on a fresh set of `samples` samples ([`Task::fresh_set`]) of its own
    /// stream for `purpose`, and hands each sequence to `each`. An ensemble is one replica, with the
    /// data of the first. What is searched has no loss: it is no probability of the target.
    ///
    /// A stateful model reads a sequence's windows as in training: batch by batch, its state
    /// carried from one to the next, starting at zero.
    ///
    /// # Errors
    /// libtorch's and those of `each`.
    pub fn run(
        &self,
        purpose: Purpose,
        samples: usize,
        mut each: impl FnMut(Prediction<'_>) -> Result<()>,
    ) -> Result<Vec<Evaluation>> {
        let mut model = self.inference()?;
        let mut seeds = self.config.seeds();
        if self.ensemble() {
            seeds.truncate(1);
        }
        let scoring = Scoring::of(self.task);
        let mut scores: Vec<Scores> = seeds.iter().map(|_| Scores::new(scoring)).collect();
        let hypotheses = self.search.as_ref().map_or(1, |search| search.width);
        let plan = self.plan(purpose, samples, hypotheses);
        let Plan { epochs, per_epoch, stride, side_by_side } = plan;
        for first in (0..epochs).step_by(side_by_side) {
            let last = epochs.min(first + side_by_side as u64);
            let group: Vec<Epoch> =
                (first..last).map(|e| self.task.epoch(&seeds, purpose, e)).collect();
            for start in (0..per_epoch).step_by(stride) {
                let range = start..per_epoch.min(start + stride);
                let batches: Vec<Batch> = group.iter().map(|e| e.batch(range.clone())).collect();
                // The target in another shape, which only training may see.
                let batch = Batch { decoder_input: None, ..Batch::concat(&batches) };
                let goes_on = self.config.stateful && start > 0;
                let Answers { answers, losses } = model.answer(&batch, goes_on)?;
                for (scores, loss) in scores.iter_mut().zip(losses) {
                    scores.tally.add_loss(loss * batch.size as f64);
                }
                let of = (purpose, range);
                for prediction in predictions(&batch, &answers, of, self.task.end()) {
                    let Prediction { replica, expected, predicted, .. } = prediction;
                    scores[replica].tally.add(expected.ids(), predicted.ids());
                    self.compare(&mut scores[replica], &prediction);
                    each(prediction)?;
                }
            }
        }
        let of_all = scores.iter().zip(seeds);
        Ok(of_all.map(|(scores, seed)| self.evaluation(scores, seed)).collect())
    }

    /// Adds the forecast of a series, and the naive ones beside it, to `scores`; other predictions are
    /// none.
    fn compare(&self, scores: &mut Scores, prediction: &Prediction<'_>) {
        let &Prediction { expected, predicted, sample: (purpose, index), .. } = prediction;
        let (Steps::Numbers(expected), Steps::Numbers(predicted)) = (expected, predicted) else {
            if let Some(ids) = self.task.naive_ids(purpose, index) {
                scores.naive.add(expected.ids(), ids);
            }
            return;
        };
        let last = self.task.last_known(purpose, index);
        if let (Some(scaling), Some(last)) = (self.task.scaling(), last) {
            scores.errors.add(scaling, expected, predicted, &last);
        }
    }

    /// What `scores`, of the replica of `seed`, come to.
    fn evaluation(&self, scores: &Scores, seed: u64) -> Evaluation {
        let Scores { tally, errors, naive } = scores;
        let frequent = tally.most_predicted().zip(tally.most_expected());
        let most_frequent_prediction = frequent.map(|(predicted, expected)| Frequent {
            text: quoted(&self.task.target(predicted.ids, Writing::Own)),
            share: predicted.share,
            target_share: expected.share,
        });
        let target = self.task.most_frequent_target(seed);
        Evaluation {
            most_frequent_prediction,
            most_frequent_target_accuracy: target.and_then(|ids| tally.accuracy_of(&ids)),
            forecast: self.task.scaling().and_then(|scaling| errors.figures(scaling)),
            naive: naive.figures(),
            ..tally.evaluation()
        }
    }

    /// How the set is cut into batches, some of whose samples may be longer than those of the
    /// training.
    fn plan(&self, purpose: Purpose, samples: usize, hypotheses: i64) -> Plan {
        let [source, target] = self.task.longest(purpose).map(|steps| steps as i64);
        let &Config { n_in, n_out, .. } = self.config;
        let wide =
            Config { n_in: n_in.max(source), n_out: n_out.max(target), ..self.config.clone() };
        let most = rows_at_once(&wide, hypotheses, device::is_host(self.device));
        Plan::new(&wide, most, self.task.fresh_set(purpose, samples))
    }

    fn ensemble(&self) -> bool {
        self.search.as_ref().is_some_and(|search| search.ensemble.is_some())
    }

    /// What answers batches.
    fn inference(&self) -> Result<Box<dyn Inference + '_>, TchError> {
        let &Self { config, task, parameters, network, device, ref search } = self;
        match search {
            Some(search) => Ok(Box::new(Searching::new(search, config, network, device))),
            None => engine::inference(config, parameters, network, device, task.end()),
        }
    }
}

/// What is counted of one replica.
#[derive(Debug)]
struct Scores {
    /// Answers of ids.
    tally: Tally,
    /// Forecasts of numbers.
    errors: Errors,
    /// What naive forecasts of tokens would have said.
    naive: Naive,
}

impl Scores {
    /// Nothing so far.
    fn new(scoring: Scoring) -> Self {
        let (tally, naive) = (Tally::new(scoring), Naive::new(scoring));
        Self { tally, errors: Errors::default(), naive }
    }
}

/// How a fresh set is cut into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    epochs: u64,
    per_epoch: usize,
    /// Rows of an epoch in a batch.
    pub stride: usize,
    /// Epochs in a batch.
    pub side_by_side: usize,
}

impl Plan {
    /// For a set of so many epochs with so many samples each, at most `most` rows at once.
    pub fn new(config: &Config, most: usize, (epochs, mut per_epoch): (u64, usize)) -> Self {
        let stride = if config.stateful {
            let batch_size = config.batch_size as usize;
            // A state that is carried on fits whole batches only.
            per_epoch = per_epoch.next_multiple_of(batch_size);
            batch_size
        } else {
            per_epoch.min(most)
        };
        let side_by_side = (most / stride).clamp(1, epochs.max(1) as usize);
        Self { epochs, per_epoch, stride, side_by_side }
    }
}

/// Rows of a batch of each replica, with so many hypotheses each, that keep its probabilities within
/// some tens of megabytes, the gates of an LSTM and the outputs of further layers within half a
/// gigabyte, and its products within some tenths of a second, for which an end that was asked for
/// waits. A GPU, which is not `on_host`, multiplies faster and has two gigabytes for the gates.
pub fn rows_at_once(config: &Config, hypotheses: i64, on_host: bool) -> usize {
    let models = config.replicas.saturating_mul(hypotheses);
    let row = |width: i64| models.saturating_mul(width).max(1);
    let features = config.features();
    let (read, said) = features.map_or((0, config.vocab), |of| (of.source, of.target));
    let probabilities = row(config.n_out.saturating_mul(said));
    let ways = 1 + i64::from(config.bidirectional);
    // The outputs of further layers are kept beside the gates of one.
    let kept = (ways * config.layers - 1) * config.units + config.embedding;
    let attended = attended(config);
    let gates = row(config.n_in.saturating_mul(4 * config.units + kept + attended + read));
    let steps = config.n_in.saturating_add(config.n_out);
    let products =
        steps.saturating_mul(4 * config.units).saturating_mul(ways * config.layers * config.units);
    let pairs = config.n_in.saturating_mul(config.n_out);
    let products = row(products.saturating_add(pairs.saturating_mul(attended)));
    let (most_gates, most_products) = if on_host { (1 << 27, 1 << 34) } else { (1 << 29, 1 << 38) };
    let most = ((1 << 22) / probabilities).min(most_gates / gates).min(most_products / products);
    most.clamp(1, 4096) as usize
}

/// Numbers that an attention holds for each step of a source.
fn attended(config: &Config) -> i64 {
    let width = (1 + i64::from(config.bidirectional)) * config.units;
    match config.attention {
        Attention::None => 0,
        Attention::Dot | Attention::General => 2 * width,
        // Keys, their sums with queries, and the tanh of these.
        Attention::Additive => 4 * width,
    }
}

/// Every sample of `batch`, which are `samples` of each epoch for `purpose`, beside the ids `(R, B, Tout)` or numbers predicted for it, without padding
/// and what is behind the `end` that is predicted.
fn predictions<'a>(
    batch: &'a Batch,
    predicted: &'a Sequences,
    (purpose, samples): (Purpose, Range<usize>),
    end: Option<i64>,
) -> impl Iterator<Item = Prediction<'a>> {
    let rows = batch.replicas * batch.size;
    (0..rows).map(move |number| {
        let lengths = batch.lengths.as_ref();
        let read = lengths.map(|lengths| lengths.source[number] as usize);
        let asked = lengths.map(|lengths| lengths.target[number] as usize);
        let source = batch.source.row(number, rows, read);
        let expected = batch.target.row(number, rows, asked);
        let predicted = match (predicted.row(number, rows, None), end) {
            (Steps::Ids(ids), Some(end)) => Steps::Ids(until(ids, end)),
            (Steps::Numbers(numbers), _) => Steps::Numbers(match expected {
                Steps::Numbers(expected) => &numbers[..expected.len()],
                Steps::Ids(_) => numbers,
            }),
            (whole, None) => whole,
        };
        let sample = (purpose, samples.start + number % batch.size % samples.len());
        Prediction { replica: number / batch.size, sample, source, expected, predicted }
    })
}

/// `ids` up to the first `end`, and with it.
pub fn until(ids: &[i64], end: i64) -> &[i64] {
    let place = ids.iter().position(|&id| id == end);
    &ids[..place.map_or(ids.len(), |place| place + 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn a_batch_has_as_many_rows_less_as_there_are_hypotheses_more() {
        let config = presets::find("reverse").unwrap().config;
        let long = Config { n_in: 400, units: 256, ..config };
        let rows = |hypotheses| rows_at_once(&long, hypotheses, true);
        let [one, eight] = [1, 8].map(rows);
        assert!((one / 8 - 1..=one / 8 + 1).contains(&eight), "{one}, {eight}");
        assert!(one < 4096 && rows(1 << 30) == 1);
        let set = (1, one);
        assert_eq!(Plan::new(&long, one, set).stride, one);
        assert_eq!(Plan::new(&long, eight, set).stride, eight);
    }

    #[test]
    fn a_gpu_has_more_rows_at_once_where_products_limit_them() {
        let reverse = presets::find("reverse").unwrap().config;
        let long = Config { n_in: 400, units: 256, ..reverse.clone() };
        let [[host, gpu], [short, short_too]] = [long, reverse]
            .map(|config| [true, false].map(|on_host| rows_at_once(&config, 1, on_host)));
        assert!(gpu > 4 * host && short == short_too, "{host}, {gpu}, {short}, {short_too}");
    }
}
