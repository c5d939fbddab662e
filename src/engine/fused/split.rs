//! How the threads of a step share it: by rows of the batch, or by units of the layers. Sizes alone decide, and
//! so neither threads nor the machine change a bit of the result.
//!
//! By rows, each thread runs other rows through the whole model, and updates other rows of the weights: in
//! every step all weights that one thread has changed, with their transposed copies, pass to the others. By
//! units, each thread has other units of every layer, and their weights stay where they are: what passes is
//! what the units compute, at every time step, and at each of them the threads wait for one another. Few rows
//! and many weights are for the one, many rows for the other.

use crate::config::{Config, Dtype};
use crate::kernels::thread_pool::MOST_PARTS;
use crate::model::Model;

/// Units of a part: so many that its products have whole panels, and take longer than a wait.
const UNITS: usize = 64;

/// The share of the time steps that sequences with lengths of their own have on the average: few are as long as the
/// longest, which decides about how many steps there are room for.
const RAGGED: f64 = 0.5;

/// How many bytes pass in the time that threads need to wait for one another: a microsecond or two.
const WAIT: f64 = 4096.0;

/// The model of a validated configuration in as many parts as the fused engine computes it in: 1 where rows are
/// shared out.
pub fn model(config: &Config) -> Model {
    let model = Model::new(config);
    let number = if config.dtype == Dtype::Float64 { 8.0 } else { 4.0 };
    let parts = match Passing::new(&model, config.batch_size as f64, number) {
        Some(Passing { by_rows, by_units }) if by_units < by_rows => most_parts(&model),
        _ => 1,
    };
    model.in_parts(parts)
}

/// As many parts as the narrowest layer that goes from step to step has units for, an even number so that two
/// threads have equally many.
fn most_parts(model: &Model) -> usize {
    let specs = model.nodes.iter().map(|node| node.layer.spec());
    let recurrent = specs.filter(|spec| spec.costs(1).sequential_steps > 0.0);
    match recurrent.map(|spec| spec.width() as usize).min() {
        Some(units) if units >= UNITS => {
            (2 * (units + UNITS).div_euclid(2 * UNITS)).clamp(2, MOST_PARTS)
        }
        _ => 1,
    }
}

/// Bytes that pass from one thread to another in a step that two share, with the waits that take as long.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Passing {
    by_rows: f64,
    by_units: f64,
}

impl Passing {
    /// Those of a batch of `rows` rows and numbers of `number` bytes; none where a layer cannot be divided.
    fn new(model: &Model, rows: f64, number: f64) -> Option<Self> {
        let (mut by_rows, mut by_units) = (2.0 * WAIT, WAIT);
        let steps = if model.ragged { RAGGED } else { 1.0 };
        for node in &model.nodes {
            let spec = node.layer.spec();
            let exchange = spec.exchange(node)?;
            by_units += steps * (rows * exchange.numbers * number + exchange.waits * WAIT);
            // Half of each weight is the other thread's, and so is half of its copy.
            let weights = spec.weights().into_iter();
            let numbers =
                weights.map(|weight| weight.count() * if weight.transposed { 1.0 } else { 0.5 });
            by_rows += numbers.sum::<f64>() * number;
        }
        Some(Self { by_rows, by_units })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Attention, presets};

    fn config(preset: &str) -> Config {
        presets::find(preset).unwrap().config
    }

    #[test]
    fn few_rows_of_many_units_are_split_by_units() {
        let reverse = config("reverse");
        let parts = |config: &Config| model(config).parts();
        for (preset, expected) in [
            ("echo", 1),
            ("echo-lag", 1),
            ("partial-echo-2", 2),
            ("partial-echo-4", 4),
            ("reverse", 2),
            ("padded-echo-attention", 2),
            ("reverse-400-40", 1),
        ] {
            assert_eq!(parts(&config(preset)), expected, "{preset}");
        }
        // From letters to sounds, as in the recipe of the shared task: of 24 and 20 at most, and of 58 and 49.
        let sounds = |n_in, n_out| Config {
            n_in,
            n_out,
            n_in_min: Some(1),
            vocab: 74,
            embedding: 128,
            bidirectional: true,
            attention: Attention::Dot,
            dropout: 0.3,
            ..reverse.clone()
        };
        assert_eq!([sounds(24, 20), sounds(58, 49)].map(|config| parts(&config)), [2, 1]);
        let more = [
            Config { embedding: 8, ..reverse.clone() },
            Config { embedding: 64, bidirectional: true, layers: 2, ..reverse.clone() },
        ];
        assert!(more.iter().all(|config| parts(config) == 2), "embedded, stacked, both ways");
        let sized = |batch_size, units| parts(&Config { batch_size, units, ..reverse.clone() });
        assert_eq!([16, 32, 256, 4096].map(|batch| sized(batch, 128)), [2, 2, 1, 1]);
        assert_eq!(
            [32, 63, 64, 191, 192, 1024, 9999].map(|units| sized(32, units)),
            [1, 1, 2, 2, 4, 8, 8]
        );
    }

    /// What `partial-echo-2` was counted to pass by hand.
    #[test]
    fn what_passes_is_what_was_counted() {
        let model = Model::new(&config("partial-echo-2"));
        let Passing { by_rows, by_units } = Passing::new(&model, 21.0, 4.0).unwrap();
        let (encoder, decoder) = ([100.0, 150.0], [150.0, 150.0]);
        let kernels = encoder[0] / 2.0 + encoder[1] + decoder[0] + decoder[1] + 0.5 + 0.5;
        let weights = 600.0 * kernels + 150.0 * 100.0 + 50.0;
        assert_eq!(by_rows, 4.0 * weights + 2.0 * WAIT);
        // h and terms of its gradient at seven time steps, of the one that the decoder reads, logits.
        let numbers = 21.0 * (7.0 * 150.0 + 75.0 + 2.0 * 100.0);
        let waits = (2.0 * 5.0 + 1.0) + (2.0 * 2.0 + 3.0) + 2.0 + 1.0;
        assert_eq!(by_units, 4.0 * numbers + waits * WAIT);
    }

    /// Of a score each has a term and gives half of the sums, there and back; of what kernels multiply, half is the
    /// other's, and so is half of each term of its gradient; and so it is with the layer behind.
    #[test]
    fn what_attention_passes_is_what_was_counted() {
        let mut model = Model::new(&config("padded-echo-attention"));
        model.nodes.retain(|node| node.name.starts_with("attention"));
        let Passing { by_units, .. } = Passing::new(&model, 3.0, 8.0).unwrap();
        let scores = 2.0 * 5.0 * 5.0;
        let (kernels, dense) = (5.0 * 150.0 + 5.0 * 150.0, 5.0 * 150.0);
        let waits = (3.0 + 3.0 + 1.0) + (2.0 + 2.0) + 1.0;
        assert_eq!(by_units, 8.0 * 3.0 * (scores + kernels + dense) + waits * WAIT);
    }

    #[test]
    fn neither_threads_nor_replicas_decide() {
        let one = config("partial-echo-4");
        for (threads, replicas) in [(None, 1), (Some(1), 1), (Some(8), 1), (Some(2), 16)] {
            let other = Config { threads, replicas, ..one.clone() };
            assert_eq!(model(&other).parts(), model(&one).parts());
        }
    }
}
