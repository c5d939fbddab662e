//! What the commands print for people.

use std::collections::HashMap;
use std::fmt::Display;

use anyhow::Result;
use serde_json::json;

use crate::base::input::printable;
use crate::base::statistics::{Distribution, figure};
use crate::base::width::{graphemes, padded, width};
use crate::config::presets;
use crate::config::{Config, EngineChoice};
use crate::model::Model;
use crate::model::summary::LayerSummary;
use crate::run::curves::{CurveRow, PredictionRow};
use crate::run::summary::{Evaluation, ForecastErrors, NaiveAccuracies, ReplicaSummary, Stopping};
use crate::tensor::parameters::ParameterSpec;
use crate::train::memory::{Estimate, gib};

/// Columns of text, [`printable`], each as wide as its widest cell; the first row is the header.
pub fn table(rows: &[Vec<String>]) -> String {
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |c: usize| rows.iter().map(|row| width(&row[c])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| padded(cell, width));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// `value`, or a dash where there is none.
pub fn or_dash(value: Option<impl Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

/// The presets with family, size and published numbers.
pub fn list() -> String {
    let mut rows = vec![row([
        "preset",
        "family",
        "units",
        "ids",
        "epochs",
        "loss",
        "accuracy",
        "published by",
    ])];
    for preset in presets::all() {
        let config = &preset.config;
        rows.push(vec![
            preset.name.to_owned(),
            config.family.to_string(),
            config.units.to_string(),
            format!("{}→{} of {}", config.n_in, config.n_out, config.vocab),
            config.epochs.to_string(),
            or_dash(preset.loss),
            or_dash(preset.accuracy),
            preset.source.to_owned(),
        ]);
    }
    let about = presets::all().into_iter().map(|p| vec![p.name.to_owned(), p.about.to_owned()]);
    format!("{}\n{}", table(&rows), table(&about.collect::<Vec<_>>()))
}

/// [`list`] as JSON, with every preset's configuration.
///
/// # Errors
/// None that a preset can have.
pub fn list_json() -> Result<String> {
    Ok(serde_json::to_string_pretty(&presets::all())? + "\n")
}

/// [`architecture`] as JSON.
///
/// # Errors
/// None that a valid configuration can have.
pub fn architecture_json(
    config: &Config,
    engine: EngineChoice,
    memory: &Estimate,
) -> Result<String> {
    let layers = Model::new(config).summary(config.batch_size);
    let count =
        |layer: &LayerSummary| layer.parameters.iter().map(ParameterSpec::count).sum::<i64>();
    let weight = |weight: &ParameterSpec| json!({ "name": weight.name, "shape": weight.shape, "parameters": weight.count() });
    let layer = |layer: &LayerSummary| {
        json!({
            "name": layer.name,
            "type": layer.kind,
            "output_shape": layer.output,
            "parameters": count(layer),
            "weights": layer.parameters.iter().map(weight).collect::<Vec<_>>(),
        })
    };
    let whole = json!({
        "preset": config.preset,
        "engine": engine,
        "optimizer": config.optimizer,
        "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        "parameters": layers.iter().map(count).sum::<i64>(),
        "memory_bytes": memory.bytes() as u64,
    });
    Ok(serde_json::to_string_pretty(&whole)? + "\n")
}

/// Layers, shapes in Keras's layout and parameter counts of the model of `config`, the `engine` that
/// trains it, and the host's memory that it takes.
pub fn architecture(config: &Config, engine: EngineChoice, memory: &Estimate) -> String {
    let shape = |shape: &[i64]| {
        let sizes: Vec<String> = shape.iter().map(i64::to_string).collect();
        format!("({})", sizes.join(", "))
    };
    let mut rows = vec![row(["layer", "type", "output or weight shape", "parameters"])];
    let mut total = 0;
    for layer in Model::new(config).summary(config.batch_size) {
        let own = format!("{}.", layer.name);
        let count: i64 = layer.parameters.iter().map(|p| p.count()).sum();
        total += count;
        rows.push(vec![layer.name, layer.kind.into(), shape(&layer.output), thousands(count)]);
        for weight in &layer.parameters {
            rows.push(vec![
                format!("  {}", weight.name.strip_prefix(&own).unwrap_or(&weight.name)),
                String::new(),
                shape(&weight.shape),
                thousands(weight.count()),
            ]);
        }
    }
    format!(
        "{}: {}{} {}, {} gates, optimizer {}, engine {engine}\n\n{}\ntotal parameters: {}\nmemory to train: about {}\n",
        config.preset,
        if config.stateful { "stateful " } else { "" },
        config.family,
        config.task,
        config.gate_activation,
        config.optimizer,
        table(&rows),
        thousands(total),
        gib(memory.bytes())
    )
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: i64) -> String {
    let digits = n.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// Each replica's figures of the last epoch of training, of its last validation if it is among the rows
/// `validated`, and of its evaluation; those of several in the mean, and a word on those that ended far
/// worse than a model that knows nothing of `vocab` ids, and on those that answer all sources alike.
pub fn results(replicas: &[ReplicaSummary], validated: &[CurveRow], vocab: i64) -> String {
    let of = |value: fn(&ReplicaSummary) -> Option<f64>| replicas.iter().map(value).collect();
    let evaluation = |value: fn(&Evaluation) -> Option<f64>| {
        replicas.iter().map(|replica| value(replica.evaluation.as_ref()?)).collect()
    };
    let mut columns = vec![
        Column::new("train loss", of(|replica| replica.train_loss)),
        Column::new("train accuracy", of(|replica| replica.train_accuracy)),
    ];
    for (replica, cell) in replicas.iter().zip(&mut columns[0].cells) {
        if let Some(step) = replica.diverged_at_step {
            *cell = format!("diverged at step {step}");
        }
    }
    columns.extend(stopping(replicas));
    columns.extend(validation(replicas, validated));
    columns.extend([
        samples(replicas),
        Column::new("eval loss", evaluation(|evaluation| evaluation.loss)),
        Column::new("token accuracy", evaluation(|e| e.token_accuracy)),
        Column::new("exact sequences", evaluation(|e| e.sequence_accuracy)),
    ]);
    let rates: Vec<Option<f64>> = evaluation(|e| e.symbol_error_rate);
    if rates.iter().any(Option::is_some) {
        columns.push(Column::new(SYMBOL_ERRORS, rates));
    }
    columns.extend(forecast(replicas));
    columns.extend(naive(replicas));
    // Numbers have none.
    columns.retain(|column| vocab > 0 || !ACCURACIES.contains(&column.name));
    let mut rows = vec![vec!["seed".to_owned()]];
    rows.extend(replicas.iter().map(|replica| vec![replica.seed.to_string()]));
    rows.extend((replicas.len() > 1).then(|| vec!["mean ± sd".to_owned()]));
    for Column { name, cells, mean } in columns {
        let cells = std::iter::once(name.to_owned()).chain(cells).chain([mean]);
        rows.iter_mut().zip(cells).for_each(|(row, cell)| row.push(cell));
    }
    table(&rows) + &lost(replicas, vocab) + &alike(replicas)
}

/// How far the replicas' forecasts are from what came, beside the naive forecast; none where nothing was
/// forecast.
fn forecast(replicas: &[ReplicaSummary]) -> Vec<Column> {
    let of = |replica: &ReplicaSummary| replica.evaluation.as_ref()?.forecast.clone();
    let errors: Vec<Option<ForecastErrors>> = replicas.iter().map(of).collect();
    if errors.iter().all(Option::is_none) {
        return Vec::new();
    }
    let column = |name, value: fn(&ForecastErrors) -> f64| {
        Column::new(name, errors.iter().map(|errors| errors.as_ref().map(value)).collect())
    };
    vec![
        column("MAE", |errors| errors.mae),
        column("naive MAE", |errors| errors.naive_mae),
        column("RMSE", |errors| errors.rmse),
        column("naive RMSE", |errors| errors.naive_rmse),
    ]
}

/// How often naive forecasts of tokens are right; none where nothing was forecast.
fn naive(replicas: &[ReplicaSummary]) -> Vec<Column> {
    let of = |replica: &ReplicaSummary| replica.evaluation.as_ref()?.naive.clone();
    let naive: Vec<Option<NaiveAccuracies>> = replicas.iter().map(of).collect();
    if naive.iter().all(Option::is_none) {
        return Vec::new();
    }
    let column = |(name, value): (&'static str, OfNaive)| {
        Column::new(name, naive.iter().map(|naive| naive.as_ref().map(value)).collect())
    };
    NAIVE.into_iter().map(column).collect()
}

/// A figure of naive forecasts of tokens.
type OfNaive = fn(&NaiveAccuracies) -> f64;

/// The columns of naive forecasts of tokens.
const NAIVE: [(&str, OfNaive); 4] = [
    ("naive: most frequent", |of| of.most_frequent.token_accuracy),
    ("exact", |of| of.most_frequent.sequence_accuracy),
    ("naive: last", |of| of.last.token_accuracy),
    ("exact", |of| of.last.sequence_accuracy),
];

/// The column of the symbol error rate.
const SYMBOL_ERRORS: &str = "symbol error rate";

/// The columns of results of ids alone.
const ACCURACIES: [&str; 5] =
    ["train accuracy", "val accuracy", "val exact", "token accuracy", "exact sequences"];

/// What several replicas come to together.
pub fn ensemble(evaluation: &Evaluation) -> String {
    let samples = evaluation.samples.to_string();
    let accuracies = [evaluation.token_accuracy, evaluation.sequence_accuracy];
    let accuracies = accuracies.map(|accuracy| or_dash(accuracy.map(figure)));
    let mut header = row(["seed", "fresh samples", "token accuracy", "exact sequences"]);
    let mut figures = row(["ensemble", &samples, &accuracies[0], &accuracies[1]]);
    if let Some(rate) = evaluation.symbol_error_rate {
        header.push(SYMBOL_ERRORS.to_owned());
        figures.push(figure(rate));
    }
    for (name, value) in NAIVE {
        let Some(naive) = &evaluation.naive else { break };
        header.push(name.to_owned());
        figures.push(figure(value(naive)));
    }
    table(&[header, figures]) + &answers_alike("The ensemble", evaluation).unwrap_or_default()
}

/// A column of results.
struct Column {
    name: &'static str,
    /// A cell a replica.
    cells: Vec<String>,
    /// Mean ± standard deviation over the replicas that have a figure.
    mean: String,
}

impl Column {
    fn new(name: &'static str, figures: Vec<Option<f64>>) -> Self {
        let known: Vec<f64> = figures.iter().copied().flatten().collect();
        let cells = figures.into_iter().map(|value| or_dash(value.map(figure))).collect();
        Self { name, cells, mean: or_dash(Distribution::of(&known)) }
    }
}

/// How many samples each replica was evaluated on.
fn samples(replicas: &[ReplicaSummary]) -> Column {
    let samples = |replica: &ReplicaSummary| replica.evaluation.as_ref().map(|e| e.samples);
    let cells = replicas.iter().map(|replica| or_dash(samples(replica))).collect();
    Column { name: "fresh samples", cells, mean: String::new() }
}

/// Where early stopping ended each replica's training, and where it was best; none if it was off.
fn stopping(replicas: &[ReplicaSummary]) -> Vec<Column> {
    if replicas.iter().all(|replica| replica.early_stopping.is_none()) {
        return Vec::new();
    }
    let column = |name, value: fn(&Stopping) -> Option<i64>| {
        let own =
            |replica: &ReplicaSummary| or_dash(replica.early_stopping.as_ref().and_then(value));
        Column { name, cells: replicas.iter().map(own).collect(), mean: String::new() }
    };
    vec![
        column("stopped at step", |stopping| stopping.stopped_at_step),
        column("best at step", |stopping| Some(stopping.best_step)),
    ]
}

/// Columns of the replicas' rows in `validated`; none if there is no row.
fn validation(replicas: &[ReplicaSummary], validated: &[CurveRow]) -> Vec<Column> {
    let rows: HashMap<u64, &CurveRow> = validated.iter().map(|row| (row.seed, row)).collect();
    let column = |name, value: fn(&CurveRow) -> Option<f64>| {
        let own = |replica: &ReplicaSummary| value(rows.get(&replica.seed)?);
        Column::new(name, replicas.iter().map(own).collect())
    };
    if rows.is_empty() {
        return Vec::new();
    }
    vec![
        column("val loss", |row| row.val_loss),
        column("val accuracy", |row| row.val_accuracy),
        column("val exact", |row| row.val_sequence_accuracy),
    ]
}

/// A line that names the replicas that ended far worse than a model that knows nothing, if there are any.
fn lost(replicas: &[ReplicaSummary], vocab: i64) -> String {
    let lost = replicas.iter().filter(|replica| replica.is_worse_than_guessing(vocab));
    let seeds: Vec<String> = lost.map(|replica| replica.seed.to_string()).collect();
    if seeds.is_empty() {
        return String::new();
    }
    format!(
        "Far worse than a model that knows nothing, whose loss is ln {vocab} = {:.4}: seed {}.\n\
         A lower --learning-rate may help.\n",
        (vocab as f64).ln(),
        seeds.join(", ")
    )
}

/// A line for each replica that answers all sources alike.
fn alike(replicas: &[ReplicaSummary]) -> String {
    let line = |(k, replica): (usize, &ReplicaSummary)| {
        let who = match replicas.len() {
            1 => "The model".to_owned(),
            _ => format!("Replica {k} (seed {})", replica.seed),
        };
        answers_alike(&who, replica.evaluation.as_ref()?)
    };
    replicas.iter().enumerate().filter_map(line).collect()
}

/// A line that says what `who` answers almost all sources, and how that compares to knowing nothing of
/// them; `None` if the answers differ.
fn answers_alike(who: &str, evaluation: &Evaluation) -> Option<String> {
    let frequent = evaluation.answers_alike()?;
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let (share, text) = (percent(frequent.share), printable(&frequent.text));
    let said = format!("{who} answers {share} of the sources alike, with \"{text}\"");
    let target = evaluation.most_frequent_target_accuracy.map(|share| {
        let share = percent(share);
        format!("; the most frequent target of the training part would be right for {share}")
    });
    Some(said + &target.unwrap_or_default() + ".\n")
}

/// The columns of sequences beside each other.
const SEQUENCES: [&str; 3] = ["source", "expected", "predicted"];

/// Expected beside predicted sequences, as the tutorials print them, each with the seed of its replica
/// where there are several. Where lines would take more than `most` columns, sequences are shortened in the
/// middle.
pub fn predictions(examples: &[PredictionRow], seeds: &[u64], most: Option<usize>) -> String {
    let several = seeds.len() > 1;
    let row = |seed: &str, sequences: [&str; 3], wrong: &str| {
        let seed = several.then_some(seed);
        let cells = seed.into_iter().chain(sequences).chain([wrong]);
        cells.map(str::to_owned).collect::<Vec<_>>()
    };
    let rows = |most: usize| {
        let mut rows = vec![row("seed", SEQUENCES, "")];
        for example in examples {
            let ids = [&example.source, &example.expected, &example.predicted];
            let [source, expected, predicted] = ids.map(|ids| shortened(&printable(ids), most));
            let wrong = if example.correct == Some(false) { "wrong" } else { "" };
            let seed = seeds[example.replica].to_string();
            rows.push(row(&seed, [&source, &expected, &predicted], wrong));
        }
        table(&rows)
    };
    let longest = |text: &str| text.lines().map(width).max().unwrap_or(0);
    let whole = rows(usize::MAX);
    match most {
        Some(most) if longest(&whole) > most => {
            let beside = longest(&rows(0)).saturating_sub(SEQUENCES.concat().len());
            rows(most.saturating_sub(beside) / SEQUENCES.len())
        }
        _ => whole,
    }
}

/// What an id and many a word are narrower than: they stay whole or are left out.
const WORD: usize = 8;

/// `text` in at most `most` columns: its beginning and its end, with … for what is between. It is cut
/// between words, or between characters where the words are too long.
fn shortened(text: &str, most: usize) -> String {
    if width(text) <= most {
        return text.to_owned();
    }
    let cut = ends(&text.split(' ').collect::<Vec<_>>(), " ", most);
    match cut.as_str() {
        "…" if most >= WORD => ends(&graphemes(text), "", most),
        _ => cut,
    }
}

/// The first and the last of `pieces`, which stand `between` each other, with … for those in the middle.
fn ends(pieces: &[&str], between: &str, most: usize) -> String {
    let (mut first, mut last) = (0, pieces.len());
    let mut left = most.saturating_sub(width("…"));
    while first < last {
        let from_the_start = first <= pieces.len() - last;
        let next = if from_the_start { pieces[first] } else { pieces[last - 1] };
        let Some(rest) = left.checked_sub(width(next) + width(between)) else { break };
        left = rest;
        if from_the_start { first += 1 } else { last -= 1 }
    }
    [&pieces[..first], &["…"], &pieces[last..]].concat().join(between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::summary::{Accuracies, Frequent};

    fn total(preset: &str) -> i64 {
        let config = presets::find(preset).unwrap().config;
        Model::new(&config).parameters().iter().map(|p| p.count()).sum()
    }

    #[test]
    fn parameter_counts_are_keras_s() {
        assert_eq!(total("echo-tutorial"), 11_780);
        assert_eq!(total("partial-echo-2"), 346_300);
        assert_eq!(total("reverse"), 190_899);
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(thousands), ["0", "999", "1,000", "12,345,678"]);
    }

    fn summary(seed: u64, train_loss: f64, eval_loss: f64) -> ReplicaSummary {
        let evaluation = Evaluation {
            samples: 40,
            loss: Some(eval_loss),
            token_accuracy: Some(0.5),
            sequence_accuracy: Some(0.25),
            ..Evaluation::default()
        };
        ReplicaSummary {
            seed,
            diverged_at_step: None,
            early_stopping: None,
            train_loss: Some(train_loss),
            train_accuracy: Some(0.5),
            evaluation: Some(evaluation),
        }
    }

    #[test]
    fn several_replicas_have_a_mean_of_those_that_are_left() {
        let diverged = ReplicaSummary {
            diverged_at_step: Some(4),
            train_loss: None,
            train_accuracy: None,
            evaluation: None,
            ..summary(3, 0.0, 0.0)
        };
        let text = results(&[summary(1, 1.0, 2.0), summary(2, 3.0, 2.0), diverged], &[], 100);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[3].starts_with("3          diverged at step 4  -"), "{text}");
        let words: Vec<&str> = lines[4].split_whitespace().collect();
        let mean = "mean ± sd 2.0000 ± 1.4142 0.5000 ± 0.0000 2.0000 ± 0.0000 0.5000 ± 0.0000";
        assert_eq!(words.join(" "), format!("{mean} 0.2500 ± 0.0000"));
        assert!(!results(&[summary(1, 1.0, 2.0)], &[], 100).contains("mean"));
    }

    #[test]
    fn what_is_far_worse_than_guessing_is_said() {
        let text = results(&[summary(1, 1.0, 1.0), summary(7, 5.5e31, 15.0)], &[], 51);
        let said = "a model that knows nothing, whose loss is ln 51 = 3.9318: seed 7.\n";
        assert!(text.contains(said) && text.contains("5.50e31"), "{text}");
    }

    #[test]
    fn sequences_are_shortened_in_the_middle_by_whole_ids() {
        let ids = "11 12 13 14 15 16 17";
        assert_eq!(shortened(ids, 20), ids);
        assert_eq!(shortened(ids, 19), "11 12 13 … 15 16 17");
        assert_eq!(shortened(ids, 18), "11 12 13 … 16 17");
        assert_eq!(shortened(ids, 3), "…");
        assert_eq!(shortened(ids, 0), "…");
    }

    #[test]
    fn text_is_shortened_by_what_its_reader_takes_for_characters() {
        let long = "internationalisation";
        assert_eq!(shortened(long, 20), long);
        assert_eq!(shortened(long, 9), "inte…tion");
        assert_eq!(shortened("한국어발음사전", 10), "한국…사전");
        // The same, decomposed.
        let jamo = "\u{1112}\u{1161}\u{11ab}";
        assert_eq!(shortened(&jamo.repeat(9), 10), format!("{0}{0}…{0}{0}", jamo));
        let accents = |n| "e\u{301}".repeat(n);
        assert_eq!(shortened(&accents(12), 8), format!("{}…{}", accents(4), accents(3)));
        assert_eq!(shortened(&format!("a {}", "b".repeat(30)), 12), "a …");
    }

    #[test]
    fn columns_are_as_wide_as_what_is_shown() {
        let rows = [["e\u{301}t", "1"], ["日本", "2"], ["a\u{1b}[2J", "3"], ["한", "4"]];
        let text = table(&rows.map(row));
        let shown = "e\u{301}t          1\n日本        2\na\\u{1b}[2J  3\n한          4\n";
        assert_eq!(text, shown);
        for line in text.lines() {
            assert_eq!(width(line), 13, "{line}");
        }
    }

    #[test]
    fn symbol_errors_are_shown_where_there_are_any() {
        let mut replicas = [summary(1, 1.0, 2.0), summary(2, 1.0, 2.0)];
        assert!(!results(&replicas, &[], 100).contains(SYMBOL_ERRORS));
        let ensemble_of = |of: &ReplicaSummary| ensemble(of.evaluation.as_ref().unwrap());
        assert!(!ensemble_of(&replicas[0]).contains(SYMBOL_ERRORS));
        replicas[1].evaluation.as_mut().unwrap().symbol_error_rate = Some(1.125);
        let text = results(&replicas, &[], 100);
        let ends: Vec<&str> = text.lines().map(|line| &line[line.len() - 6..]).collect();
        assert_eq!(ends, ["r rate", "     -", "1.1250", "1.1250"], "{text}");
        assert!(ensemble_of(&replicas[1]).ends_with("1.1250\n"));
    }

    #[test]
    fn naive_forecasts_of_tokens_stand_beside_the_model() {
        let mut replicas = [summary(1, 1.0, 2.0), summary(2, 1.0, 2.0)];
        assert!(!results(&replicas, &[], 9).contains("naive"));
        let of =
            |token_accuracy, sequence_accuracy| Accuracies { token_accuracy, sequence_accuracy };
        let naive = NaiveAccuracies { most_frequent: of(0.5, 0.25), last: of(0.125, 0.0625) };
        let evaluation = replicas[1].evaluation.as_mut().unwrap();
        evaluation.naive = Some(naive);
        let ensemble = ensemble(evaluation);
        for text in [results(&replicas, &[], 9), ensemble] {
            let header = text.lines().next().unwrap();
            assert!(header.contains("naive: most frequent") && header.contains("naive: last"));
            let figures: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
            assert!(figures.ends_with(&["0.5000", "0.2500", "0.1250", "0.0625"]), "{text}");
        }
    }

    #[test]
    fn a_model_that_answers_all_alike_is_named() {
        let mut replicas = [summary(3, 1.0, 2.0), summary(4, 1.0, 2.0)];
        let frequent = Frequent { text: "a b\u{1b}".to_owned(), share: 0.982, target_share: 0.1 };
        let evaluation = replicas[1].evaluation.as_mut().unwrap();
        evaluation.most_frequent_prediction = Some(frequent);
        evaluation.most_frequent_target_accuracy = Some(0.0125);
        let text = results(&replicas, &[], 100);
        let says = "answers 98.2 % of the sources alike, with \"a b\\u{1b}\"; the most frequent \
                    target of the training part would be right for 1.2 %.\n";
        assert!(text.ends_with(&format!("\nReplica 1 (seed 4) {says}")), "{text}");
        let alone = results(&replicas[1..], &[], 100);
        assert!(alone.ends_with(&format!("\nThe model {says}")), "{alone}");
        let evaluation = replicas[1].evaluation.as_mut().unwrap();
        assert!(ensemble(evaluation).ends_with(&format!("\nThe ensemble {says}")));
        evaluation.most_frequent_target_accuracy = None;
        assert!(ensemble(evaluation).ends_with("with \"a b\\u{1b}\".\n"));
        evaluation.most_frequent_prediction.as_mut().unwrap().share = 0.8;
        assert!(!ensemble(evaluation).contains("alike"));
    }

    #[test]
    fn examples_fit_the_width_and_say_whose_they_are() {
        let ids: Vec<i64> = (100..140).collect();
        let ids = crate::data::writing::spaced(&ids);
        let row = |replica, correct| PredictionRow {
            replica,
            source: ids.clone(),
            expected: ids.clone(),
            predicted: ids.clone(),
            correct: Some(correct),
        };
        let rows = [row(0, true), row(1, false)];
        let whole = predictions(&rows, &[7, 8], None);
        assert!(whole.lines().nth(1).unwrap().starts_with("7     100 101 "), "{whole}");
        assert!(whole.contains(&ids), "{whole}");
        for width in [60, 80, 200] {
            let text = predictions(&rows, &[7, 8], Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= width), "{text}");
            assert!(text.contains("100 ") && text.contains(" … ") && text.contains(" 139"));
        }
        assert_eq!(predictions(&rows, &[7, 8], Some(10_000)), whole);
        assert!(predictions(&rows[..1], &[7], None).starts_with("source "));
    }
}
