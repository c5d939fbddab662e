//! What a field of a sweep did to the figures of its runs.

use serde::Serialize;

use super::{Run, distribution};
use crate::base::statistics::Distribution;
use crate::config::Direction;
use crate::resolve::Plan;

/// Different numbers of a field up to which each is looked at by itself; more are put into quarters.
const SINGLE: usize = 8;
/// Ranges of as many runs each, in place of single numbers.
const QUARTERS: usize = 4;

/// The figures of the runs by what a field was in them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Effect {
    /// Its name.
    pub field: String,
    /// Its values, or ranges of them.
    pub groups: Vec<Group>,
}

/// Finished runs, without diverged replicas, in which a field was alike.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// The value, or the smallest and the largest.
    pub value: String,
    /// What the means of these runs come to.
    pub figures: Distribution,
    /// The best of these means.
    pub best: f64,
}

impl Effect {
    /// That of the field at this place of `plan`.
    pub(super) fn of(field: usize, plan: &Plan, runs: &[Run], direction: Direction) -> Self {
        let name = &plan.fields[field];
        let counts = |run: &&Run| run.figure.is_some() && run.diverged == 0;
        let mut left: Vec<&Run> = runs.iter().filter(counts).collect();
        let number = |run: &Run| plan.number(run.run, name);
        // Words stay in the order in which they first come.
        left.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal));
        let mut groups: Vec<(String, Vec<&Run>)> = Vec::new();
        for run in &left {
            let value = &run.values[field];
            match groups.iter_mut().find(|(of, _)| of == value) {
                Some((_, runs)) => runs.push(run),
                None => groups.push((value.clone(), vec![run])),
            }
        }
        if groups.len() > SINGLE && left.iter().all(|run| number(run).is_some()) {
            groups = quarters(groups, left.len());
        }
        let group = |(value, runs)| Group::of(value, runs, plan, direction);
        Self { field: name.clone(), groups: groups.into_iter().filter_map(group).collect() }
    }
}

/// The groups, in the order of their numbers, put together to as many runs of `all` each as can be.
fn quarters<'a>(groups: Vec<(String, Vec<&'a Run>)>, all: usize) -> Vec<(String, Vec<&'a Run>)> {
    let mut quarters: Vec<(String, String, Vec<&Run>)> = Vec::new();
    let mut before = 0;
    for (value, runs) in groups {
        let quarter = before * QUARTERS / all;
        before += runs.len();
        match quarters.get_mut(quarter) {
            Some((_, last, others)) => {
                *last = value;
                others.extend(runs);
            }
            None => quarters.push((value.clone(), value, runs)),
        }
    }
    let named = |(first, last, runs): (String, String, Vec<&'a Run>)| match first == last {
        true => (first, runs),
        false => (format!("{first} to {last}"), runs),
    };
    quarters.into_iter().map(named).collect()
}

impl Group {
    fn of(value: String, runs: Vec<&Run>, plan: &Plan, direction: Direction) -> Option<Self> {
        let means = runs.iter().filter_map(|run| Some(run.figure.as_ref()?.mean));
        let figures = distribution(plan.metric, &means.collect::<Vec<_>>())?;
        let best = if direction == Direction::Min { figures.min } else { figures.max };
        Some(Self { value, figures, best })
    }
}
