//! PyTorch: `model.safetensors`, a state dict, and `model.py`, which has the module that loads it.

use anyhow::Result;

use super::NamedFile;
use super::weights::{Weight, Weights};
use crate::config::Config;
use crate::model::layers::Layer;
use crate::model::{Model, Node};

/// The module.
const MODULE: &str = include_str!("model.py");

/// The files of the model that `config` describes, with `weights`.
///
/// # Errors
/// None that weights can have.
pub fn files(config: &Config, weights: &Weights) -> Result<Vec<NamedFile>> {
    let nodes = Model::new(config).nodes;
    let state = Weights(nodes.iter().flat_map(|node| of_node(node, weights)).collect());
    let bytes = state.to_safetensors()?;
    Ok(vec![("model.py".to_owned(), MODULE.into()), ("model.safetensors".to_owned(), bytes)])
}

/// The weights of a node under PyTorch's names.
fn of_node(node: &Node, weights: &Weights) -> Vec<(String, Weight)> {
    let matrix = |name: &str| weights.of(&node.name, name).transposed();
    let named = |name: &str, weight: Weight| (format!("{}.{name}", node.name), weight);
    match &node.layer {
        Layer::Lstm(_) => of_lstm(&node.name, weights),
        Layer::Embedding(_) => {
            vec![named("weight", weights.of(&node.name, "embeddings").clone())]
        }
        Layer::Dense(_) => vec![
            named("weight", matrix("kernel")),
            named("bias", weights.of(&node.name, "bias").clone()),
        ],
        layer @ Layer::Attention(_) => {
            let all = layer.spec().weights().into_iter();
            let weight = |name: &str| match weights.of(&node.name, name) {
                vector if vector.shape.len() == 1 => named(name, vector.clone()),
                matrix => named(&format!("{name}.weight"), matrix.transposed()),
            };
            all.map(|of| weight(of.name)).collect()
        }
        Layer::Bidirectional(_) => Vec::new(),
    }
}

/// Those of the LSTM `node` as a layer of its stack: `nn.LSTM` has two biases, of which the second is zero here.
fn of_lstm(node: &str, weights: &Weights) -> Vec<(String, Weight)> {
    let (stack, place) = place(node);
    let bias = weights.of(node, "bias").clone();
    let zeros = Weight::vector(vec![0.0; bias.values.len()]);
    let all = [
        ("weight_ih", weights.of(node, "kernel").transposed()),
        ("weight_hh", weights.of(node, "recurrent_kernel").transposed()),
        ("bias_ih", bias),
        ("bias_hh", zeros),
    ];
    all.map(|(name, weight)| (format!("{stack}.{name}_{place}"), weight)).into()
}

/// The stack of the LSTM `node`, and what `nn.LSTM` calls its place there: `encoder` and `l1_reverse` of
/// `encoder_2.backward`.
fn place(node: &str) -> (&str, String) {
    let (layer, direction) = node.split_once('.').unwrap_or((node, "forward"));
    let reverse = if direction == "backward" { "_reverse" } else { "" };
    let numbered = layer.rsplit_once('_').and_then(|(stack, n)| Some((stack, n.parse().ok()?)));
    let (stack, number): (&str, usize) = numbered.unwrap_or((layer, 1));
    (stack, format!("l{}{reverse}", number - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_its_place_in_its_stack() {
        let of = |node| {
            let (stack, place) = place(node);
            format!("{stack} {place}")
        };
        assert_eq!(of("lstm"), "lstm l0");
        assert_eq!(of("decoder_2"), "decoder l1");
        assert_eq!(of("encoder.forward"), "encoder l0");
        assert_eq!(of("encoder_12.backward"), "encoder l11_reverse");
    }

    /// PyTorch has Keras's order of gates, and rows where Keras has columns.
    #[test]
    fn the_gates_of_one_unit_are_in_pytorchs_order() {
        let matrix = |values: Vec<f32>| Weight { shape: vec![1, 4], values };
        let all = [
            ("lstm.kernel", matrix(vec![1.0, 2.0, 3.0, 4.0])),
            ("lstm.recurrent_kernel", matrix(vec![5.0, 6.0, 7.0, 8.0])),
            ("lstm.bias", Weight::vector(vec![9.0, 10.0, 11.0, 12.0])),
        ];
        let weights = Weights(all.map(|(name, weight)| (name.to_owned(), weight)).into());
        let found = of_lstm("lstm", &weights);
        let column = |values: Vec<f32>| Weight { shape: vec![4, 1], values };
        let expected = [
            ("lstm.weight_ih_l0", column(vec![1.0, 2.0, 3.0, 4.0])),
            ("lstm.weight_hh_l0", column(vec![5.0, 6.0, 7.0, 8.0])),
            ("lstm.bias_ih_l0", Weight::vector(vec![9.0, 10.0, 11.0, 12.0])),
            ("lstm.bias_hh_l0", Weight::vector(vec![0.0; 4])),
        ];
        assert_eq!(found, expected.map(|(name, weight)| (name.to_owned(), weight)));
    }
}
