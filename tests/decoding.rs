//! Beam search, beside searches written out: of every sequence, and of a beam in loops.

#[path = "common/models.rs"]
mod models;

use std::cell::RefCell;
use std::collections::HashMap;

use models::{layers_of, with_more_layers};
use rand::RngExt;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::{Config, Dtype, Feedback, presets};
use seqlab::engine::libtorch::{free_running, most_probable};
use seqlab::model::Model;
use seqlab::model::layers::twin::Input;
use seqlab::model::network::Network;
use seqlab::tensor::device::{download, host, upload};
use seqlab::tensor::parameters::Parameters;
use seqlab::train::decode::{Found, Hypothesis, Search};
use tch::{Kind, Tensor};

const REPLICAS: i64 = 3;
const ROWS: i64 = 2;

/// A model of each family, with other layers too.
fn configs(dtype: Dtype) -> Vec<Config> {
    let small = |name| {
        let config = presets::find(name).unwrap().config;
        let length = config.length.map(|_| 12);
        let sizes = Config { vocab: 4, units: 3, n_in: 3, n_out: 3, length, ..config };
        Config { stateful: false, replicas: REPLICAS, dtype, ..sizes }
    };
    let presets = ["echo", "partial-echo-2", "reverse"];
    presets.iter().flat_map(|name| with_more_layers(&small(name))).collect()
}

/// A model with weights that `scale` multiplies, so that it prefers some ids to others.
fn model(config: &Config, scale: f64) -> Network {
    let specs = Model::new(config).parameters();
    let kind = seqlab::tensor::device::kind(config.dtype);
    let mut parameters = Parameters::zeros(specs, config.replicas, kind, host()).unwrap();
    parameters.initialise(&config.seeds(), 1, &|_| Ok(())).unwrap();
    let _ = parameters.flat().shallow_clone().f_mul_scalar_(scale).unwrap();
    Network::new(config, &parameters).unwrap()
}

/// The same sources for every replica.
fn source(config: &Config) -> Tensor {
    let mut random = Stream::new(3, Purpose::Training).at(0);
    let ids: Vec<i64> =
        (0..ROWS * config.n_in).map(|_| random.random_range(0..config.vocab)).collect();
    let source = upload(&ids, &[1, ROWS, -1], host()).unwrap();
    source.expand([config.replicas, -1, -1], false)
}

fn search(width: i64, length_penalty: f64, end: Option<i64>) -> Search {
    Search { width, length_penalty, end, ensemble: None }
}

fn run(network: &Network, source: &Tensor, search: &Search) -> Found {
    let run = || search.run(network, Input::Ids(source, None), &network.zero_state(ROWS).unwrap());
    tch::no_grad(run).unwrap().0
}

/// The log-probabilities `(R, B, V)` of what comes after the ids `before`, in all replicas and rows.
fn after(network: &Network, source: &Tensor, before: &[i64]) -> Tensor {
    let zero = network.zero_state(ROWS).unwrap();
    let logits = if network.has_decoder() {
        let (mut outputs, _) = network.encode(Input::Ids(source, None), &zero).unwrap();
        let mut logits = network.step(Input::Zeros(ROWS), &mut outputs).unwrap();
        for &id in before {
            let ids = Tensor::full([source.size()[0], ROWS, 1], id, (Kind::Int64, host()));
            logits = network.step(Input::Ids(&ids, None), &mut outputs).unwrap();
        }
        logits
    } else {
        let (logits, _) = network.forward(Input::Ids(source, None), None, &zero).unwrap();
        logits.select(1, before.len() as i64)
    };
    logits.log_softmax(-1, Kind::Double)
}

/// A model, and what it says to a source after every prefix that was asked for.
struct Case {
    network: Network,
    source: Tensor,
    known: RefCell<HashMap<Vec<i64>, Vec<f64>>>,
}

impl Case {
    fn new(config: &Config) -> Self {
        Self { network: model(config, 4.0), source: source(config), known: RefCell::default() }
    }

    /// Log-probabilities after the ids `before`, in one row, of some replicas in the mean.
    fn after(&self, replicas: &[i64], row: i64, before: &[i64]) -> Vec<f64> {
        let mut known = self.known.borrow_mut();
        let all = known.entry(before.to_vec()).or_insert_with(|| {
            tch::no_grad(|| download(&after(&self.network, &self.source, before)).unwrap())
        });
        let vocab = all.len() / (REPLICAS * ROWS) as usize;
        let first = |k: i64| (k * ROWS + row) as usize * vocab;
        let mean =
            |id| replicas.iter().map(|&k| all[first(k) + id]).sum::<f64>() / replicas.len() as f64;
        (0..vocab).map(mean).collect()
    }

    /// What a beam search of plain lists finds.
    fn search(&self, search: &Search, replicas: &[i64], row: i64) -> Vec<Hypothesis> {
        let is_finished = |ids: &[i64]| search.end.is_some_and(|end| ids.last() == Some(&end));
        let mut beam = vec![Hypothesis { ids: vec![], log_probability: 0.0, score: 0.0 }];
        for _ in 0..self.network.output_steps() {
            let mut all = Vec::new();
            for one in beam {
                if is_finished(&one.ids) {
                    all.push(one);
                    continue;
                }
                for (id, log_probability) in
                    self.after(replicas, row, &one.ids).into_iter().enumerate()
                {
                    let ids = [&one.ids[..], &[id as i64]].concat();
                    let log_probability = one.log_probability + log_probability;
                    let length = (ids.len() as f64).powf(search.length_penalty);
                    all.push(Hypothesis { ids, log_probability, score: log_probability / length });
                }
            }
            all.sort_by(|a, b| b.score.total_cmp(&a.score));
            all.truncate(search.width as usize);
            beam = all;
        }
        beam
    }
}

fn assert_same(got: &[Hypothesis], expected: &[Hypothesis], what: &str) {
    let ids = |of: &[Hypothesis]| of.iter().map(|one| one.ids.clone()).collect::<Vec<_>>();
    assert_eq!(ids(got), ids(expected), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        for (a, b) in [(got.log_probability, expected.log_probability), (got.score, expected.score)]
        {
            assert!((a - b).abs() < 1e-12, "{what}: {got:?}, {expected:?}");
        }
    }
}

/// Compares what is found for every replica and row with searches in loops.
fn check(config: &Config, case: &Case, search: &Search) {
    let found = run(&case.network, &case.source, search).hypotheses(usize::MAX).unwrap();
    let each = search.ensemble.clone().map(|together| vec![together]);
    let each = each.unwrap_or((0..config.replicas).map(|k| vec![k]).collect());
    assert_eq!(found.len(), each.len() * ROWS as usize);
    for (s, replicas) in each.into_iter().enumerate() {
        for row in 0..ROWS {
            let what = format!("{}: {search:?} of {replicas:?}, row {row}", layers_of(config));
            let got = &found[s * ROWS as usize + row as usize];
            assert_same(got, &case.search(search, &replicas, row), &what);
        }
    }
}

#[test]
fn a_beam_for_every_sequence_finds_all_of_them_in_order() {
    for config in configs(Dtype::Float64) {
        let case = Case::new(&config);
        // 4³ sequences, or 1 + 3 + 9 · 4 with an end.
        for (end, penalty, all) in [(None, 0.0, 64), (Some(0), 0.0, 40), (Some(2), 0.7, 40)] {
            let search = search(64, penalty, end);
            check(&config, &case, &search);
            let found = run(&case.network, &case.source, &search);
            for beam in found.hypotheses(usize::MAX).unwrap() {
                assert_eq!(beam.len(), all, "{}", layers_of(&config));
                let mass: f64 = beam.iter().map(|one| one.log_probability.exp()).sum();
                assert!((mass - 1.0).abs() < 1e-12, "{mass}");
                assert!(beam.is_sorted_by(|a, b| a.score >= b.score));
            }
            assert_eq!(found.hypotheses(2).unwrap()[0].len(), 2);
        }
    }
}

#[test]
fn narrow_beams_keep_what_beams_in_loops_keep() {
    for config in configs(Dtype::Float64) {
        let case = Case::new(&config);
        for width in [1, 2, 5] {
            for (end, penalty) in [(None, 0.0), (Some(0), 0.0), (Some(1), 1.0), (Some(3), 0.5)] {
                check(&config, &case, &search(width, penalty, end));
            }
        }
    }
}

#[test]
fn an_ensemble_searches_the_mean_of_its_replicas_log_probabilities() {
    for config in configs(Dtype::Float64) {
        let case = Case::new(&config);
        for ensemble in [vec![0, 1, 2], vec![0, 2], vec![1]] {
            for (width, end) in [(1, None), (4, None), (3, Some(1))] {
                check(
                    &config,
                    &case,
                    &Search { ensemble: Some(ensemble.clone()), ..search(width, 0.0, end) },
                );
            }
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy() {
    for dtype in [Dtype::Float32, Dtype::Float64] {
        for config in configs(dtype) {
            let (network, source) = (&model(&config, 3.0), &source(&config));
            let zero = network.zero_state(ROWS).unwrap();
            let greedy =
                || free_running(network, Some(Feedback::Argmax), Input::Ids(source, None), &zero);
            let greedy = most_probable(&tch::no_grad(greedy).unwrap().0).unwrap();
            let found = run(network, source, &search(1, 0.0, None));
            assert_eq!(found.best().unwrap(), greedy, "{}", layers_of(&config));
        }
    }
}

#[test]
fn a_replica_finds_what_it_finds_alone() {
    for config in configs(Dtype::Float64) {
        let search = search(3, 0.0, None);
        let together = run(&model(&config, 4.0), &source(&config), &search).hypotheses(3).unwrap();
        for k in 0..REPLICAS {
            let alone = Config { replicas: 1, seed: config.seed + k, ..config.clone() };
            let found = run(&model(&alone, 4.0), &source(&alone), &search).hypotheses(3).unwrap();
            for (got, expected) in together[(k * ROWS) as usize..].iter().zip(&found) {
                assert_same(got, expected, &format!("{}, replica {k}", layers_of(&config)));
            }
        }
    }
}

#[test]
fn among_equals_come_the_earlier_hypothesis_and_the_lower_id() {
    for config in configs(Dtype::Float32) {
        let found = run(&model(&config, 0.0), &source(&config), &search(6, 0.0, None));
        let ids = |beam: &Vec<Hypothesis>| beam.iter().map(|one| one.ids.clone()).collect();
        for beam in found.hypotheses(usize::MAX).unwrap() {
            let ids: Vec<Vec<i64>> = ids(&beam);
            let first = [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 1, 0], [0, 1, 1]];
            assert_eq!(ids, first, "{}", layers_of(&config));
        }
    }
}

/// After its end a hypothesis says it again and again, and nothing else.
#[test]
fn what_is_finished_is_filled_with_the_end() {
    for config in configs(Dtype::Float64) {
        let found = run(&model(&config, 0.0), &source(&config), &search(4, 1.0, Some(0)));
        assert_eq!(found.best().unwrap()[..3], [0, 0, 0]);
        let beam = &found.hypotheses(4).unwrap()[0];
        assert_eq!((&beam[0].ids[..], &beam[1].ids[..]), (&[0][..], &[1, 0][..]), "{beam:?}");
    }
}
