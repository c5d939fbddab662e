//! Which rows of a replica's batch a block has.

use std::cmp::Reverse;
use std::ops::Range;

use crate::data::batch::Batch;
use crate::model::Model;

/// Rows of a block: enough for products to be fast, and few enough for the activations of its
/// forward pass to be in the cache still on the backward pass.
const BLOCK_ROWS: usize = 16;

/// How many blocks a replica's batch of `rows` rows is split into.
pub fn block_count(model: &Model, rows: usize) -> usize {
    match rows.div_ceil(BLOCK_ROWS) {
        0 | 1 => 1,
        // Threads share parts instead.
        _ if model.parts() > 1 => 1,
        // Even, so that two threads have equally many.
        n => n.next_multiple_of(2),
    }
}

/// The rows of a replica's batch, the longest first, so that those of a block are of similar lengths.
pub fn by_length(batch: &Batch, replica: usize) -> Vec<usize> {
    let mut rows: Vec<usize> = (0..batch.size).collect();
    if let Some(lengths) = &batch.lengths {
        let first = replica * batch.size;
        let length = |row: &usize| (lengths.source[first + row], lengths.target[first + row]);
        rows.sort_by_key(|row| Reverse(length(row)));
    }
    rows
}

/// Replica by replica, the rows of `batch` in the order in which `blocks` blocks have them; none where rows
/// have no lengths of their own.
///
/// Rows of similar lengths come together, so that few steps of a block have few rows; and either
/// half of the blocks has every other length, so that two threads have equally much to do.
pub fn orders(batch: &Batch, blocks: usize) -> Vec<Vec<usize>> {
    if batch.lengths.is_none() {
        return Vec::new();
    }
    let order = |replica: usize| {
        let rows = by_length(batch, replica);
        if blocks == 1 {
            return rows;
        }
        let half = |which: usize| rows.iter().skip(which).step_by(2).copied();
        // The first half of the blocks has the fewer rows, if any has.
        half(1).chain(half(0)).collect()
    };
    (0..batch.replicas).map(order).collect()
}

/// The rows of each block of a replica's batch of `rows` rows.
pub fn block_ranges(model: &Model, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let blocks = block_count(model, rows);
    (0..blocks).map(move |block| block * rows / blocks..(block + 1) * rows / blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn rows_are_split_into_one_or_an_even_number_of_blocks() {
        let model = Model::new(&presets::find("reverse").unwrap().config);
        let numbers =
            |model: &Model| [1, 16, 17, 32, 33, 64, 65, 256].map(|n| block_count(model, n));
        assert_eq!(numbers(&model), [1, 1, 2, 2, 4, 4, 6, 16]);
        assert_eq!(numbers(&model.in_parts(2)), [1; 8]);
    }
}
