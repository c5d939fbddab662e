//! A model as inference runs it.

use crate::config::Config;
use crate::engine::fused::row_bytes;
use crate::model::{Along, Model};

/// Rows of a block at most: nothing of a forward pass has to stay in the cache, and a weight that is
/// read serves so many.
const MOST_ROWS: usize = 48;

/// Bytes of a block's buffers: sequences that are long have fewer rows at a time, but [`FEW_ROWS`].
const MOST_BYTES: f64 = 64e6;
const FEW_ROWS: usize = 12;

/// A model as it runs in inference from sources of some number of time steps.
pub struct Answering {
    /// Without dropout; a decoder has one time step, and other layers along the target have all of
    /// them for every row.
    pub model: Model,
    /// Which nodes are the decoder's.
    pub decoder: Vec<bool>,
    /// Tin.
    pub source_steps: usize,
    /// Tout.
    pub steps: usize,
}

impl Answering {
    /// That of the validated `config`.
    pub fn new(config: &Config, source_steps: usize) -> Self {
        let n_in = source_steps as i64;
        let without = Config { dropout: 0.0, recurrent_dropout: 0.0, ..config.clone() };
        let mut model = Model::new(&Config { n_in, ..without });
        let (decoder, steps) = (model.decoder(), model.output_steps() as usize);
        let nodes = model.nodes.iter_mut().zip(&decoder);
        for (node, &decodes) in nodes.filter(|(node, _)| node.along == Along::Target) {
            node.ragged = false;
            node.steps = if decodes { 1 } else { node.steps };
        }
        Self { model, decoder, source_steps, steps }
    }

    /// Whether it has a decoder.
    pub fn decodes(&self) -> bool {
        self.decoder.contains(&true)
    }

    /// Bytes of the buffers of a row, for numbers of `number` bytes.
    pub fn row_bytes(&self, number: f64) -> f64 {
        // Answers may be fed again.
        let answers = 2.0 * (self.steps * self.model.output_width()) as f64 * number;
        row_bytes(&self.model, number) + answers
    }

    /// How many rows of a batch of `rows` rows a block has, but for the last.
    pub fn rows_of_blocks(&self, rows: usize, number: f64) -> usize {
        let fit = (MOST_BYTES / self.row_bytes(number)) as usize;
        let blocks = rows.div_ceil(fit.clamp(FEW_ROWS, MOST_ROWS));
        rows.div_ceil(blocks.max(1)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn blocks_are_even_and_of_fewer_rows_where_sequences_are_long() {
        let reverse = presets::find("reverse").map(|preset| preset.config).unwrap();
        let rows_of = |n_in: usize, rows| Answering::new(&reverse, n_in).rows_of_blocks(rows, 4.0);
        assert_eq!([1, 48, 49, 96, 450].map(|rows| rows_of(6, rows)), [1, 48, 25, 48, 45]);
        assert_eq!([1_000, 1_000_000].map(|n_in| rows_of(n_in, 4096)), [17, FEW_ROWS]);
        assert_eq!(rows_of(6, 0), 1);
    }
}
