//! Curves of all runs in one coordinate system: as a drawing, and as numbers for the page's script.

use std::fmt::Write;

use anyhow::Result;
use serde::Serialize;

use super::axis::{Axis, label, rounded};
use super::curve::{Point, points, thinned};
use super::run::Run;
use crate::reports::reproduction::{Experiment, Judged};
use crate::run::curves::CurveRow;

/// Stretches of a curve for the script, and of one that is drawn: four points at most in each.
const STRETCHES: [usize; 2] = [125, 50];
/// Runs from which on a curve has the fewer points, the more they are.
const MANY_RUNS: usize = 40;

/// From which ratio on of the largest loss to the smallest a logarithmic axis is the better one.
const LOGARITHMIC: f64 = 10.0;

/// How many times the steps of the shortest run the longest has at least where a logarithmic axis of steps is the
/// better one.
const LONGER: i64 = 10;

/// The drawing's size, and the room around its axes, in pixels: left, right, above, below.
const SIZE: [f64; 2] = [640.0, 320.0];
const ROOM: [f64; 4] = [52.0, 14.0, 10.0, 40.0];

/// A column of `curves.csv`, and what it is called.
type Column = (&'static str, fn(&CurveRow) -> Option<f64>);

/// A kind of chart.
struct Panel {
    name: &'static str,
    /// From 0 to 1, whatever is drawn.
    is_share: bool,
    columns: &'static [Column],
}

const PANELS: [Panel; 2] = [
    Panel {
        name: "Loss",
        is_share: false,
        columns: &[("training", |row| Some(row.loss)), ("validation", |row| row.val_loss)],
    },
    Panel {
        name: "Accuracy",
        is_share: true,
        columns: &[
            ("training", |row| row.accuracy),
            ("validation", |row| row.val_accuracy),
            ("validation, whole sequences", |row| row.val_sequence_accuracy),
        ],
    },
];

/// A run's curves in a chart, one for each of its columns; without points where there is none.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lines(Vec<Vec<Point>>);

/// What was published of a run, in a chart.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Marks {
    /// The lowest and the highest figure of the last epoch.
    span: Option<[f64; 2]>,
    /// Steps and losses of a curve.
    curve: Vec<(i64, f64)>,
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// What it is of.
    pub name: &'static str,
    /// Its drawing, an SVG element.
    pub drawing: String,
    /// What kinds of lines it has.
    pub kinds: Vec<Kind>,
    /// Whether its script begins with a logarithmic axis.
    logarithmic: bool,
    /// Whether its axis of steps is a logarithmic one to begin with.
    logarithmic_steps: bool,
    /// Its panel.
    panel: usize,
}

/// A kind of line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Kind {
    /// What it shows.
    pub name: &'static str,
    /// The number of its column, from which its dashes follow.
    pub column: usize,
}

impl Lines {
    /// Those of a run with these `rows`, of every panel.
    pub(super) fn of_all(rows: &[CurveRow]) -> Vec<Self> {
        let curve = |column: &Column| thinned(&points(rows, column.1), STRETCHES[0]);
        PANELS.iter().map(|panel| Self(panel.columns.iter().map(curve).collect())).collect()
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.0.iter().flatten()
    }
}

impl Marks {
    /// Those of `experiment`, whose curves are `rows`, of every panel.
    pub(super) fn of_all(experiment: Option<&Experiment>, rows: &[CurveRow]) -> Vec<Self> {
        let published = experiment.and_then(|of| of.published.as_ref());
        let span = |of: Option<Judged>| of.map(|of| [of.low, of.high]);
        let per_epoch = rows.last().map_or(1.0, |row| row.step as f64 / row.epoch as f64);
        let place = |&(epoch, loss): &(i64, f64)| ((epoch as f64 * per_epoch) as i64, loss);
        let curve = published.and_then(|of| of.curve.as_ref());
        let curve = curve.map_or(Vec::new(), |curve| curve.iter().map(place).collect());
        vec![
            Self { span: span(published.and_then(|of| of.loss)), curve },
            Self { span: span(published.and_then(|of| of.accuracy)), curve: Vec::new() },
        ]
    }
}

/// [`STRETCHES`] of so many runs.
fn stretches(runs: usize) -> [usize; 2] {
    STRETCHES.map(|of| (of * MANY_RUNS / runs.max(MANY_RUNS)).max(5))
}

/// The charts that have anything to show.
pub(super) fn charts(runs: &[Run]) -> Vec<Chart> {
    let steps = |run: &Run| run.lines.iter().flat_map(|of| of.points()).map(|at| at.step).max();
    let [shortest, longest] = [
        runs.iter().filter_map(steps).min().unwrap_or(1),
        runs.iter().filter_map(steps).max().unwrap_or(1),
    ];
    let logarithmic = longest >= LONGER * shortest;
    (0..PANELS.len()).filter_map(|panel| Chart::of(panel, runs, logarithmic)).collect()
}

impl Chart {
    fn of(panel: usize, runs: &[Run], logarithmic_steps: bool) -> Option<Self> {
        let Panel { name, is_share, columns, .. } = PANELS[panel];
        let lines: Vec<&Lines> = runs.iter().map(|run| &run.lines[panel]).collect();
        let means = || lines.iter().flat_map(|of| of.points()).map(|point| point.mean);
        let steps = || lines.iter().flat_map(|of| of.points()).map(|point| point.step as f64);
        let end = steps().reduce(f64::max)?;
        let begin = if logarithmic_steps { steps().fold(end, f64::min) } else { 0.0 };
        let [least, most] = [means().fold(f64::INFINITY, f64::min), means().fold(0.0, f64::max)];
        let logarithmic = !is_share && least > 0.0 && most > LOGARITHMIC * least;
        let vertical = match (is_share, logarithmic) {
            (true, _) => Axis { low: 0.0, high: 1.0, logarithmic },
            (false, true) => Axis { low: least / 1.2, high: 1.2 * most, logarithmic },
            (false, false) => Axis { low: least.min(0.0), high: 1.05 * most, logarithmic },
        };
        let horizontal = Axis { low: begin, high: end, logarithmic: logarithmic_steps };
        let is_used = |column: &usize| lines.iter().any(|of| !of.0[*column].is_empty());
        let kind = |column: usize| Kind { name: columns[column].0, column };
        let kinds = (0..columns.len()).filter(is_used).map(kind).collect();
        let marks = runs.iter().map(|run| &run.marks[panel]);
        let [_, stretches] = stretches(runs.len());
        let drawing = Drawing { axes: [horizontal, vertical], stretches, text: String::new() };
        let drawing = drawing.whole(name, lines.iter().copied().zip(marks));
        Some(Self { name, drawing, kinds, logarithmic, logarithmic_steps, panel })
    }
}

/// An SVG element that grows.
struct Drawing {
    axes: [Axis; 2],
    /// Stretches of a curve.
    stretches: usize,
    text: String,
}

impl Drawing {
    /// The drawing of each run's lines and marks.
    fn whole<'a>(
        mut self,
        name: &str,
        runs: impl Iterator<Item = (&'a Lines, &'a Marks)>,
    ) -> String {
        let [width, height] = SIZE;
        let _ = write!(
            self.text,
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{name} over optimiser steps\">"
        );
        self.grid();
        let runs: Vec<(&Lines, &Marks)> = runs.collect();
        for (i, (lines, _)) in runs.iter().enumerate() {
            self.bands(Run::color(&i), lines);
        }
        for (i, (lines, marks)) in runs.iter().enumerate() {
            self.lines(Run::color(&i), lines);
            self.marks(Run::color(&i), lines, marks);
        }
        self.text + "</svg>"
    }

    /// Where a step and a value lie, in pixels.
    fn place(&self, step: f64, value: f64) -> [f64; 2] {
        let [left, right, above, below] = ROOM;
        let x = left + self.axes[0].place(step) * (SIZE[0] - left - right);
        let y = SIZE[1] - below - self.axes[1].place(value) * (SIZE[1] - above - below);
        [x, y].map(|pixel| (10.0 * pixel).round() / 10.0)
    }

    fn grid(&mut self) {
        let [horizontal, vertical] = self.axes;
        let [left, bottom] = self.place(horizontal.low, vertical.low);
        let [right, top] = self.place(horizontal.high, vertical.high);
        for tick in vertical.ticks() {
            let [_, y] = self.place(0.0, tick);
            let _ = write!(
                self.text,
                "<path class=\"grid\" d=\"M{left},{y}H{right}\"/>\
                 <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
                left - 6.0,
                y + 4.0,
                label(tick)
            );
        }
        for tick in horizontal.ticks() {
            let [x, _] = self.place(tick, vertical.low);
            let _ = write!(
                self.text,
                "<path class=\"grid\" d=\"M{x},{top}V{bottom}\"/>\
                 <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                label(tick)
            );
        }
        let _ = write!(
            self.text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">optimiser steps</text>",
            (left + right) / 2.0,
            SIZE[1] - 6.0
        );
    }

    /// `points` in a row.
    fn path(&self, points: impl Iterator<Item = (i64, f64)>) -> String {
        let place = |(step, value): (i64, f64)| {
            let [x, y] = self.place(step as f64, value);
            format!("{x},{y}")
        };
        points.map(place).collect::<Vec<_>>().join("L")
    }

    fn bands(&mut self, color: usize, lines: &Lines) {
        for curve in &lines.0 {
            let few = thinned(curve, self.stretches);
            if few.iter().all(|point| point.low == point.high) {
                continue;
            }
            let up = self.path(few.iter().map(|point| (point.step, point.high)));
            let back = self.path(few.iter().rev().map(|point| (point.step, point.low)));
            let _ = write!(self.text, "<path class=\"band c{color}\" d=\"M{up}L{back}Z\"/>");
        }
    }

    fn lines(&mut self, color: usize, lines: &Lines) {
        for (column, curve) in lines.0.iter().enumerate().filter(|(_, curve)| !curve.is_empty()) {
            let few = thinned(curve, self.stretches);
            let path = self.path(few.iter().map(|point| (point.step, point.mean)));
            let _ = write!(self.text, "<path class=\"line c{color} k{column}\" d=\"M{path}\"/>");
        }
    }

    /// Diamonds for published figures, and rings for points of a published curve.
    fn marks(&mut self, color: usize, lines: &Lines, marks: &Marks) {
        let end = lines.points().map(|point| point.step).max().unwrap_or(0);
        for value in marks.span.into_iter().flatten() {
            let [x, y] = self.place(end as f64, value);
            let _ = write!(
                self.text,
                "<path class=\"mark c{color}\" d=\"M{x},{y}m0,-6l5,6l-5,6l-5,-6z\"/>"
            );
        }
        for (step, value) in &marks.curve {
            let [x, y] = self.place(*step as f64, *value);
            let _ = write!(
                self.text,
                "<circle class=\"ring c{color}\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>"
            );
        }
    }
}

/// What the script draws.
#[derive(Serialize)]
struct Data<'a> {
    log_steps: bool,
    charts: Vec<ChartData>,
    runs: Vec<RunData<'a>>,
}

#[derive(Serialize)]
struct ChartData {
    name: &'static str,
    share: bool,
    log: bool,
    kinds: Vec<&'static str>,
}

#[derive(Serialize)]
struct RunData<'a> {
    name: &'a str,
    color: usize,
    /// A list for each chart, in it one for each kind of line.
    lines: Vec<Vec<Curve>>,
    marks: Vec<&'a Marks>,
}

impl<'a> RunData<'a> {
    /// That of the run with this `index`, in `charts`, in so many stretches.
    fn of(index: usize, run: &'a Run, charts: &[Chart], stretches: usize) -> Self {
        let curve = |of: &Vec<Point>| Curve::of(&thinned(of, stretches));
        let lines = |of: &Chart| run.lines[of.panel].0.iter().map(curve).collect();
        Self {
            name: &run.name,
            color: Run::color(&index),
            lines: charts.iter().map(lines).collect(),
            marks: charts.iter().map(|of| &run.marks[of.panel]).collect(),
        }
    }
}

/// A curve, column by column.
#[derive(Default, Serialize)]
struct Curve {
    /// Steps.
    x: Vec<i64>,
    /// Means.
    m: Vec<f64>,
    /// Lower and upper ends of the band; none if there is no band.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    l: Vec<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    h: Vec<f64>,
}

impl Curve {
    fn of(points: &[Point]) -> Self {
        let column = |value: fn(&Point) -> f64| points.iter().map(value).map(rounded).collect();
        let mut curve = Self { m: column(|point| point.mean), ..Self::default() };
        curve.x = points.iter().map(|point| point.step).collect();
        if points.iter().any(|point| point.low < point.high) {
            (curve.l, curve.h) = (column(|point| point.low), column(|point| point.high));
        }
        curve
    }
}

/// The numbers of `charts` and `runs`, as the script reads them.
///
/// # Errors
/// None that finite numbers can have.
pub(super) fn json(charts: &[Chart], runs: &[Run]) -> Result<String> {
    let chart = |of: &Chart| ChartData {
        name: of.name,
        share: PANELS[of.panel].is_share,
        log: of.logarithmic,
        kinds: PANELS[of.panel].columns.iter().map(|column| column.0).collect(),
    };
    let [stretches, _] = stretches(runs.len());
    let run = |(i, run)| RunData::of(i, run, charts, stretches);
    let data = Data {
        log_steps: charts.first().is_some_and(|of| of.logarithmic_steps),
        charts: charts.iter().map(chart).collect(),
        runs: runs.iter().enumerate().map(run).collect(),
    };
    Ok(serde_json::to_string(&data)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_runs_each_has_fewer_points() {
        assert_eq!([1, 40, 80, 10_000].map(stretches), [[125, 50], [125, 50], [62, 25], [5, 5]]);
    }

    #[test]
    fn numbers_have_four_digits() {
        assert_eq!([0.123456, 98765.4, 0.0, 1.0].map(rounded), [0.1235, 98770.0, 0.0, 1.0]);
    }

    #[test]
    fn a_curve_of_one_replica_has_no_band() {
        let at = |step, low| Point { step, mean: 1.0, low, high: 1.0 };
        let json = |points: &[Point]| serde_json::to_string(&Curve::of(points)).unwrap();
        assert_eq!(json(&[at(3, 1.0)]), r#"{"x":[3],"m":[1.0]}"#);
        assert_eq!(json(&[at(3, 0.5)]), r#"{"x":[3],"m":[1.0],"l":[0.5],"h":[1.0]}"#);
    }
}
