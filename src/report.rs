//! What the commands print for people.

use std::fmt::Display;

use anyhow::Result;
use serde_json::json;

use crate::config::{Config, EngineChoice};
use crate::curves::PredictionRow;
use crate::input::printable;
use crate::memory::{Estimate, gib};
use crate::model::{LayerSpec, Model};
use crate::parameters::ParameterSpec;
use crate::presets;
use crate::summary::ReplicaSummary;

/// Columns of text, [`printable`], each as wide as its widest cell; the first row is the header.
pub fn table(rows: &[Vec<String>]) -> String {
    let shown = |row: &Vec<String>| row.iter().map(|cell| printable(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(shown).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |c: usize| rows.iter().map(|row| row[c].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
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
    let layers = Model::new(config).layers(config.batch_size);
    let count = |layer: &LayerSpec| layer.parameters.iter().map(ParameterSpec::count).sum::<i64>();
    let weight = |weight: &ParameterSpec| json!({ "name": weight.name, "shape": weight.shape, "parameters": weight.count() });
    let layer = |layer: &LayerSpec| {
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
    for layer in Model::new(config).layers(config.batch_size) {
        let count: i64 = layer.parameters.iter().map(|p| p.count()).sum();
        total += count;
        rows.push(vec![
            layer.name.into(),
            layer.kind.into(),
            shape(&layer.output),
            thousands(count),
        ]);
        for weight in &layer.parameters {
            let name = weight.name.rsplit('.').next().unwrap_or_default();
            rows.push(vec![
                format!("  {name}"),
                String::new(),
                shape(&weight.shape),
                thousands(weight.count()),
            ]);
        }
    }
    format!(
        "{}: {}{} {}, {} gates, engine {engine}\n\n{}\ntotal parameters: {}\nmemory to train: about {}\n",
        config.preset,
        if config.stateful { "stateful " } else { "" },
        config.family,
        config.task,
        config.gate_activation,
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

/// Each replica's figures of the last epoch of training, and those of its evaluation.
pub fn results(replicas: &[ReplicaSummary]) -> String {
    let known = |value: Option<f64>| or_dash(value.map(|value| format!("{value:.4}")));
    let mut rows = vec![row([
        "seed",
        "train loss",
        "train accuracy",
        "fresh samples",
        "eval loss",
        "token accuracy",
        "exact sequences",
    ])];
    for replica in replicas {
        let evaluation = replica.evaluation.as_ref();
        let diverged = replica.diverged_at_step.map(|step| format!("diverged at step {step}"));
        rows.push(vec![
            replica.seed.to_string(),
            diverged.unwrap_or_else(|| known(replica.train_loss)),
            known(replica.train_accuracy),
            or_dash(evaluation.map(|evaluation| evaluation.samples)),
            known(evaluation.and_then(|evaluation| evaluation.loss)),
            known(evaluation.map(|evaluation| evaluation.token_accuracy)),
            known(evaluation.map(|evaluation| evaluation.sequence_accuracy)),
        ]);
    }
    table(&rows)
}

/// Expected beside predicted sequences, as the tutorials print them.
pub fn predictions(examples: &[PredictionRow]) -> String {
    let mut rows = vec![row(["source", "expected", "predicted", ""])];
    for example in examples {
        rows.push(vec![
            example.source.clone(),
            example.expected.clone(),
            example.predicted.clone(),
            if example.correct { "" } else { "wrong" }.to_owned(),
        ]);
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
