//! Beam search: the most probable sequences of ids, K hypotheses of each source at a time.
//!
//! Below, S is the number of searches of each source: R, or 1 for an ensemble. A decoder computes
//! K rows for each source, side by side; a model without a decoder gives the log-probabilities of
//! every position at once, and the search is over sequences of them.

use tch::{Device, Kind, TchError, Tensor};

use crate::model::layers::twin::Input;
use crate::model::network::{Network, Outputs, State};
use crate::tensor::device;

/// How sequences are searched.
///
/// Hypotheses are ranked by their score, the log-probability over lengthᵅ, where the length counts
/// the end. It is what OpenNMT calls `avg` for α = 1, and fairseq `lenpen`; Wu et al. 2016
/// (arXiv:1609.08144, eq. 14) take ((5 + length)/6)ᵅ instead. Among equals the hypothesis of the
/// earlier one comes first, then that of the lower id.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// K: hypotheses of a source that are kept after every step.
    pub width: i64,
    /// α: 0 ranks by log-probability, 1 by its mean over the ids.
    pub length_penalty: f64,
    /// The id that finishes a hypothesis, which then keeps its score and its place in the beam.
    pub end: Option<i64>,
    /// The replicas whose log-probabilities' mean is searched, as one model; `None`: each replica
    /// searches alone.
    pub ensemble: Option<Vec<i64>>,
}

/// A sequence that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// Its ids, to the end where it has one.
    pub ids: Vec<i64>,
    /// The sum of their log-probabilities; of an ensemble, of their means.
    pub log_probability: f64,
    /// What it is ranked by.
    pub score: f64,
}

impl Search {
    /// Searches what `network` says to `source`. Returns that, and the state after the batch. A decoder is fed a
    /// zero vector first, or the model's start id, and then the ids of its hypothesis.
    ///
    /// # Errors
    /// If `state` is not the network's, shapes do not match, or memory is short.
    pub fn run(
        &self,
        network: &Network,
        source: Input<'_>,
        state: &State,
    ) -> Result<(Found, State), TchError> {
        let (replicas, rows) = (network.replicas(), source.rows()?);
        let searches = if self.ensemble.is_some() { 1 } else { replicas };
        let (mut speaker, next) = Speaker::new(network, source, state, self.width)?;
        let mut beam = Beam::new([searches, rows, self.width], network.device())?;
        for step in 0..network.output_steps() {
            let logits = speaker.logits(step, beam.steps.last())?;
            beam.grow(&self.log_probabilities(&logits)?, self)?;
            if self.end.is_some() && beam.is_finished()? {
                break;
            }
        }
        Ok((beam.found(network.output_steps(), self)?, next))
    }

    /// What is searched of `logits` `(R, B, …, V)`: their log-probabilities `(S, B, …, V)` float64,
    /// in which no two of them become equal.
    fn log_probabilities(&self, logits: &Tensor) -> Result<Tensor, TchError> {
        let each = logits.f_log_softmax(-1, Kind::Double)?;
        let Some(replicas) = &self.ensemble else { return Ok(each) };
        let replicas = device::upload(replicas, &[-1], logits.device())?;
        each.f_index_select(0, &replicas)?.f_mean_dim([0].as_slice(), true, None::<Kind>)
    }

    /// The scores of hypotheses of such log-probabilities and lengths.
    fn scores(&self, totals: &Tensor, lengths: &Tensor) -> Result<Tensor, TchError> {
        match self.length_penalty {
            0.0 => Ok(totals.shallow_clone()),
            alpha => totals.f_div(&lengths.f_pow_tensor_scalar(alpha)?),
        }
    }
}

/// What says the next ids of hypotheses.
enum Speaker<'a> {
    /// Logits `(R, Tout, B, V)` that depend on the source alone.
    AtOnce(Tensor),
    /// A decoder.
    StepByStep {
        network: &'a Network,
        /// B · K.
        rows: i64,
        /// Of so many rows.
        outputs: Outputs,
        /// K.
        width: i64,
    },
}

impl<'a> Speaker<'a> {
    /// One that has read `source`, for K = `width` hypotheses, and the state after it.
    fn new(
        network: &'a Network,
        source: Input<'_>,
        state: &State,
        width: i64,
    ) -> Result<(Self, State), TchError> {
        if !network.has_decoder() {
            let (logits, next) = network.forward(source, None, state)?;
            return Ok((Self::AtOnce(logits), next));
        }
        let (outputs, next) = network.encode(source, state)?;
        let rows = network.replicas() * source.rows()?;
        let all = Tensor::f_arange(rows, (Kind::Int64, network.device()))?;
        let all = all.f_repeat_interleave_self_int(width, 0, None)?;
        let (rows, outputs) = (width * source.rows()?, outputs.choose_rows(&all)?);
        Ok((Self::StepByStep { network, rows, outputs, width }, next))
    }

    /// The logits `(R, B, K, V)` of step `step`, or `(R, B, 1, V)` where they are the same for every
    /// hypothesis; `before` is the step before.
    fn logits(&mut self, step: i64, before: Option<&Step>) -> Result<Tensor, TchError> {
        let (network, rows, outputs, width) = match self {
            Self::AtOnce(logits) => return logits.f_select(1, step)?.f_unsqueeze(2),
            Self::StepByStep { network, rows, outputs, width } => (network, *rows, outputs, *width),
        };
        let replicas = network.replicas();
        let logits = match before {
            None => match network.start(rows)? {
                Some(start) => network.step(Input::Ids(&start, None), outputs)?,
                None => network.step(Input::Zeros(rows), outputs)?,
            },
            Some(Step { parents, ids }) => {
                network.choose_states(outputs, &rows_of(parents, replicas)?)?;
                let ids = ids.f_expand([replicas, -1, -1], false)?;
                let ids = ids.f_reshape([replicas, rows, 1])?;
                network.step(Input::Ids(&ids, None), outputs)?
            }
        };
        logits.f_unflatten(1, [-1, width])
    }
}

/// The rows `(R · B · K)` of a decoder, counted over its replicas, that `parents` `(S, B, K)` are.
fn rows_of(parents: &Tensor, replicas: i64) -> Result<Tensor, TchError> {
    let (_, rows, width) = parents.size3()?;
    let first = Tensor::f_arange(replicas * rows, (Kind::Int64, parents.device()))?;
    let first = first.f_mul_scalar(width)?.f_view([replicas, rows, 1])?;
    parents.f_add(&first)?.f_reshape([-1])
}

/// What a step did, each `(S, B, K)` int64.
struct Step {
    /// The number of the hypothesis that each continues.
    parents: Tensor,
    /// The id that it adds.
    ids: Tensor,
}

/// The hypotheses of every source, the best first.
struct Beam {
    /// Their log-probabilities `(S, B, K)` float64; −∞ where there are not so many.
    totals: Tensor,
    /// Their lengths `(S, B, K)` float64, the end included.
    lengths: Tensor,
    /// Which have said the end, `(S, B, K)` bool.
    finished: Tensor,
    steps: Vec<Step>,
}

impl Beam {
    /// One hypothesis without ids for each of `(S, B)` sources, in a beam of K, on `device`.
    fn new(size: [i64; 3], device: Device) -> Result<Self, TchError> {
        let of = |kind| Tensor::f_zeros(size, (kind, device));
        let others = Tensor::f_arange(size[2], (Kind::Int64, device))?.f_gt(0)?;
        Ok(Self {
            totals: of(Kind::Double)?.f_masked_fill(&others, f64::NEG_INFINITY)?,
            lengths: of(Kind::Double)?,
            finished: of(Kind::Bool)?,
            steps: Vec::new(),
        })
    }

    /// Continues every hypothesis by every id, and keeps the best. `next` has the log-probabilities
    /// of the ids, `(S, B, K, V)`, or `(S, B, 1, V)` if they are the same for all hypotheses.
    fn grow(&mut self, next: &Tensor, search: &Search) -> Result<(), TchError> {
        let vocab = next.size4()?.3;
        let width = self.totals.size3()?.2;
        let next = self.finish(next, search.end)?;
        let totals = self.totals.f_unsqueeze(-1)?.f_add(&next)?;
        let lengths = self.lengths.f_add(&self.finished.f_logical_not()?)?;
        let scores = search.scores(&totals, &lengths.f_unsqueeze(-1)?)?;
        let (best, none) = largest(&scores.f_flatten(2, 3)?, width)?;

        let parents = best.f_floor_divide_scalar(vocab)?;
        let ids = best.f_remainder(vocab)?;
        let totals = totals.f_flatten(2, 3)?.f_gather(-1, &best, false)?;
        self.totals = totals.f_masked_fill(&none, f64::NEG_INFINITY)?;
        self.lengths = lengths.f_gather(-1, &parents, false)?;
        self.finished = self.finished.f_gather(-1, &parents, false)?;
        if let Some(end) = search.end {
            self.finished = self.finished.f_logical_or(&ids.f_eq(end)?)?;
        }
        self.steps.push(Step { parents, ids });
        Ok(())
    }

    /// `next` for hypotheses of which those that are finished go on with the end, surely.
    fn finish(&self, next: &Tensor, end: Option<i64>) -> Result<Tensor, TchError> {
        let Some(end) = end else { return Ok(next.shallow_clone()) };
        let vocab = next.size4()?.3;
        let others = Tensor::f_arange(vocab, (Kind::Int64, next.device()))?.f_ne(end)?;
        let only_end = Tensor::f_zeros([vocab], (Kind::Double, next.device()))?;
        let only_end = only_end.f_masked_fill(&others, f64::NEG_INFINITY)?;
        only_end.f_where_self(&self.finished.f_unsqueeze(-1)?, next)
    }

    /// Whether every hypothesis is finished. Waits for the device.
    fn is_finished(&self) -> Result<bool, TchError> {
        let none = self.totals.f_isneginf()?;
        let all = self.finished.f_logical_or(&none)?.f_all()?;
        Ok(device::download(&all)? == [1.0])
    }

    /// The sequences of `n_out` ids, with the end again and again after the end.
    fn found(self, n_out: i64, search: &Search) -> Result<Found, TchError> {
        let scores = search.scores(&self.totals, &self.lengths)?;
        let mut hypothesis = Tensor::f_arange(search.width, (Kind::Int64, scores.device()))?;
        hypothesis = hypothesis.f_expand(scores.size(), false)?;
        let mut said = Vec::new();
        for Step { parents, ids } in self.steps.iter().rev() {
            said.push(ids.f_gather(-1, &hypothesis, false)?);
            hypothesis = parents.f_gather(-1, &hypothesis, false)?;
        }
        said.reverse();
        if let (Some(end), Some(last)) = (search.end, said.last()) {
            let rest = last.f_full_like(end)?;
            said.resize_with(n_out as usize, || rest.shallow_clone());
        }
        let (ids, totals) = (Tensor::f_stack(&said, -1)?, self.totals);
        Ok(Found { ids, totals, scores, lengths: self.lengths })
    }
}

/// The numbers of the `count` largest of the last axis of `scores`, the largest first and the first
/// among equals first, and which of them are −∞, as those are that there are too few of.
fn largest(scores: &Tensor, count: i64) -> Result<(Tensor, Tensor), TchError> {
    let mut left = scores.shallow_clone();
    let (mut best, mut none) = (Vec::new(), Vec::new());
    for _ in 0..count {
        // What libtorch sorts, or takes as the top, has equals in no order.
        let (value, number) = left.f_max_dim(-1, true)?;
        left = left.f_scatter_value(-1, &number, f64::NEG_INFINITY)?;
        none.push(value.f_isneginf()?);
        best.push(number);
    }
    Ok((Tensor::f_cat(&best, -1)?, Tensor::f_cat(&none, -1)?))
}

/// What was found for each source, the best first.
#[derive(Debug)]
pub struct Found {
    /// `(S, B, K, Tout)` int64.
    ids: Tensor,
    /// `(S, B, K)` float64, as are the others.
    totals: Tensor,
    scores: Tensor,
    lengths: Tensor,
}

impl Found {
    /// The best ids `(S, B, Tout)`, row-major.
    ///
    /// # Errors
    /// libtorch's.
    pub fn best(&self) -> Result<Vec<i64>, TchError> {
        device::download_ids(&self.ids.f_select(2, 0)?)
    }

    /// The best hypotheses, `most` or as many as there are, of each of S · B sources.
    ///
    /// # Errors
    /// libtorch's.
    pub fn hypotheses(&self, most: usize) -> Result<Vec<Vec<Hypothesis>>, TchError> {
        let (_, _, width, n_out) = self.ids.size4()?;
        let ids = device::download_ids(&self.ids)?;
        let [totals, scores, lengths] =
            [&self.totals, &self.scores, &self.lengths].map(device::download);
        let (totals, scores, lengths) = (totals?, scores?, lengths?);
        let hypothesis = |k: usize| Hypothesis {
            ids: ids[k * n_out as usize..][..lengths[k] as usize].to_vec(),
            log_probability: totals[k],
            score: scores[k],
        };
        let beams = (0..totals.len()).step_by(width as usize);
        let of = |first: usize| {
            let all = (first..first + width as usize).map(hypothesis);
            all.filter(|one| one.score > f64::NEG_INFINITY).take(most).collect()
        };
        Ok(beams.map(of).collect())
    }
}
