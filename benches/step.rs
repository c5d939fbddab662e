//! One optimiser step of seqlab beside that of a plain tch program: `nn::lstm`, one-hot inputs,
//! `nn::Adam`, loss and accuracy read after every step. `cargo bench --bench step`
//!
//! The plain program has sigmoid gates, the only ones of `nn::lstm`.

mod common;

use common::experiments;
use criterion::{Criterion, criterion_group, criterion_main};
use seqlab::base::rng::Purpose;
use seqlab::config::Config;
use seqlab::data::batch::Batch;
use seqlab::data::task::Task;
use seqlab::tensor::device;
use seqlab::train::trainer::Trainer;
use tch::nn::{self, Module, OptimizerConfig, RNN};
use tch::{Kind, Tensor};

fn first_batch(config: &Config) -> Batch {
    let task = Task::new(config);
    task.epoch(&config.seeds(), Purpose::Training, 0).batch(0..config.batch_size as usize)
}

fn steps(criterion: &mut Criterion) {
    let default_threads = tch::get_num_threads();
    for (name, config) in experiments() {
        let mut group = criterion.benchmark_group(name);
        let batch = first_batch(&config);

        device::set_threads(device::threads(&config));
        let mut trainer = Trainer::new(&config, device::host()).expect("a trainer");
        group.bench_function("seqlab", |b| b.iter(|| trainer.learn(&batch).expect("a step")));

        tch::set_num_threads(default_threads);
        let mut plain = Plain::new(&config);
        group.bench_function("plain tch", |b| b.iter(|| plain.step(&batch)));
        group.finish();
    }
}

/// The same experiment as one writes it with tch's own layers.
struct Plain {
    config: Config,
    encoder: nn::LSTM,
    decoder: Option<nn::LSTM>,
    dense: nn::Linear,
    optimizer: nn::Optimizer,
    _store: nn::VarStore,
}

impl Plain {
    fn new(config: &Config) -> Self {
        let store = nn::VarStore::new(device::host());
        let path = store.root();
        let &Config { vocab, units, .. } = config;
        let lstm = |name: &str, inputs| nn::lstm(&path / name, inputs, units, Default::default());
        let decoder_inputs = match (config.return_sequences, config.feedback) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(vocab),
            (None, None) => Some(units),
        };
        Self {
            config: config.clone(),
            encoder: lstm("encoder", vocab),
            decoder: decoder_inputs.map(|inputs| lstm("decoder", inputs)),
            dense: nn::linear(&path / "dense", units, vocab, Default::default()),
            optimizer: nn::Adam::default().build(&store, 1e-3).expect("an optimiser"),
            _store: store,
        }
    }

    fn step(&mut self, batch: &Batch) -> (f64, f64) {
        let vocab = self.config.vocab;
        let ids = |ids: &[i64]| Tensor::from_slice(ids).view([batch.size as i64, -1]);
        let one_hot = |values: &[i64]| ids(values).one_hot(vocab).to_kind(Kind::Float);
        let (mut output, state) = self.encoder.seq(&one_hot(batch.source.ids()));
        if let Some(decoder) = &self.decoder {
            output = match &batch.decoder_input {
                Some(input) => decoder.seq_init(&one_hot(input.ids()), &state).0,
                None => {
                    let code = state.h().squeeze_dim(0).unsqueeze(1);
                    decoder.seq(&code.repeat([1, self.config.n_out, 1])).0
                }
            };
        }
        let logits = self.dense.forward(&output).view([-1, vocab]);
        let target = ids(batch.target.ids()).view([-1]);
        let loss = logits.cross_entropy_for_logits(&target);
        self.optimizer.backward_step(&loss);
        (loss.double_value(&[]), logits.accuracy_for_logits(&target).double_value(&[]))
    }
}

criterion_group!(benches, steps);
criterion_main!(benches);
