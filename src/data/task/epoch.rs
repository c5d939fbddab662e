//! An epoch's samples, and batches of them.

use std::ops::Range;

use super::Task;
use crate::config::Features;
use crate::data::batch::{Batch, Lengths, Sequences};

/// Writes sample `index` of one replica's epoch over zeros: `(index, source (Tin), target (Tout))`,
/// of numbers those of a time step beside each other. Returns how many time steps source and target
/// have.
pub type Write<'a, T> = Box<dyn Fn(usize, &mut [T], &mut [T]) -> [usize; 2] + 'a>;

/// One replica's epoch.
pub enum Draw<'a> {
    /// Of ids.
    Ids(Write<'a, i64>),
    /// Of numbers.
    Numbers(Write<'a, f64>),
}

/// One epoch's data of every replica.
pub struct Epoch<'a> {
    pub(super) task: &'a Task,
    /// Time steps of a source and of a target, with their padding.
    pub(super) steps: [usize; 2],
    pub(super) replicas: Vec<Draw<'a>>,
}

impl<'a> Epoch<'a> {
    /// The samples in `range`, of every replica.
    pub fn batch(&self, range: Range<usize>) -> Batch {
        let ids = self.replicas.iter().filter_map(|draw| match draw {
            Draw::Ids(write) => Some(write),
            Draw::Numbers(_) => None,
        });
        let numbers = self.replicas.iter().filter_map(|draw| match draw {
            Draw::Ids(_) => None,
            Draw::Numbers(write) => Some(write),
        });
        match self.task.features {
            None => self.drawn(range, ids, self.task.start, |ids, _| Sequences::Ids(ids)),
            Some(_) => self.drawn(range, numbers, 0.0, |values, features| Sequences::Numbers {
                values,
                features: features as usize,
            }),
        }
    }

    /// The samples in `range` as every replica's `writes` has them, made into `sequences` by their
    /// numbers and how many a time step has; a decoder is fed `first` first.
    fn drawn<'b, T: Copy + Default + 'b>(
        &self,
        range: Range<usize>,
        writes: impl Iterator<Item = &'b Write<'a, T>>,
        first: T,
        sequences: fn(Vec<T>, i64) -> Sequences,
    ) -> Batch
    where
        'a: 'b,
    {
        let (teacher_forced, [n_in, n_out]) = (self.task.teacher_forced, self.steps);
        let features = self.task.features.unwrap_or(Features::OF_IDS);
        let [read, said] = [n_in * features.source as usize, n_out * features.target as usize];
        let rows = self.replicas.len() * range.len();
        let mut source = vec![T::default(); rows * read];
        let mut target = vec![T::default(); rows * said];
        let samples = writes.flat_map(|write| range.clone().map(move |i| (write, i)));
        let places = source.chunks_exact_mut(read).zip(target.chunks_exact_mut(said));
        let mut lengths = Lengths { source: Vec::new(), target: Vec::new() };
        for ((write, index), (source, target)) in samples.zip(places) {
            let [of_source, of_target] = write(index, source, target);
            lengths.source.push(of_source as i64);
            lengths.target.push(of_target as i64);
        }
        let fed =
            teacher_forced.then(|| shift_right(&target, said, features.target as usize, first));

        Batch {
            replicas: self.replicas.len(),
            size: range.len(),
            decoder_input: fed.map(|fed| sequences(fed, features.target)),
            source: sequences(source, features.source),
            target: sequences(target, features.target),
            lengths: self.task.lengths_vary().then_some(lengths),
        }
    }
}

/// Every row of `width` ids or numbers moved a time step of `features` to the right, behind
/// `first`.
fn shift_right<T: Copy>(target: &[T], width: usize, features: usize, first: T) -> Vec<T> {
    let mut shifted = vec![first; target.len()];
    for (to, from) in shifted.chunks_exact_mut(width).zip(target.chunks_exact(width)) {
        to[features..].copy_from_slice(&from[..width - features]);
    }
    shifted
}
