//! PyTorch: `model.safetensors`, a state dict, and `model.py`, which has the module that loads it; and the way back, from
//! a state dict with these names to the weights.

use anyhow::Result;

use super::NamedFile;
use super::given::{Expected, Given};
use super::weights::{Weight, Weights};
use crate::base::error::UserError;
use crate::config::Config;
use crate::model::layers::Layer;
use crate::model::{Model, Node};

/// The module.
const MODULE: &str = include_str!("model.py");

/// How a state dict becomes a file that [`read`] takes.
const SAVED_BY: &str = "save(model, \"trained.safetensors\") of the exported model.py, or \
                        safetensors.torch.save_file(model.state_dict(), \"trained.safetensors\"), writes one";

/// A tensor of the state dict.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    /// The weight that it holds.
    ours: String,
    /// Its name there.
    theirs: String,
    /// How it holds it.
    form: Form,
}

/// How a tensor of the state dict holds a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As it is.
    Same,
    /// With rows for columns.
    Transposed,
    /// As a second bias that is added to the first: zeros, until PyTorch trains it.
    Added,
}

/// The files of the model that `config` describes, with `weights`.
///
/// # Errors
/// None that weights can have.
pub fn files(config: &Config, weights: &Weights) -> Result<Vec<NamedFile>> {
    let state = places(config).map(|place| (place.theirs.clone(), place.holds(weights)));
    let bytes = Weights(state.collect()).to_safetensors()?;
    Ok(vec![("model.py".to_owned(), MODULE.into()), ("model.safetensors".to_owned(), bytes)])
}

/// The weights of the model that `config` describes, of the state dict in `file`.
///
/// # Errors
/// If it has not exactly the tensors that [`files`] writes, or other shapes or types, or numbers that are not finite.
pub fn read(config: &Config, file: &Given<'_>) -> Result<Weights, UserError> {
    let shapes = Expected::of(config);
    let expected = places(config).map(|place| {
        let mut shape = shapes.shape(&place.ours);
        if place.form == Form::Transposed {
            shape.reverse();
        }
        (place.theirs, shape)
    });
    let state = file.read(&Expected(expected.collect()), SAVED_BY)?;
    let mut weights = Weights::default();
    for Place { ours, theirs, form } in places(config) {
        let held = state.named(&theirs);
        match form {
            Form::Same => drop(weights.0.insert(ours, held.clone())),
            Form::Transposed => drop(weights.0.insert(ours, held.transposed())),
            Form::Added => {
                weights.0.entry(ours).and_modify(|first| first.add(held));
            }
        }
    }
    Ok(weights)
}

/// The tensors of the state dict; a bias comes before what is added to it.
fn places(config: &Config) -> impl Iterator<Item = Place> {
    Model::new(config).nodes.into_iter().flat_map(|node| of_node(&node))
}

impl Place {
    /// What it holds of `weights`.
    fn holds(&self, weights: &Weights) -> Weight {
        let weight = weights.named(&self.ours);
        match self.form {
            Form::Same => weight.clone(),
            Form::Transposed => weight.transposed(),
            Form::Added => Weight::vector(vec![0.0; weight.values.len()]),
        }
    }
}

/// Those of a node, under PyTorch's names.
fn of_node(node: &Node) -> Vec<Place> {
    let place = |ours: &str, theirs: &str, form| Place {
        ours: format!("{}.{ours}", node.name),
        theirs: format!("{}.{theirs}", node.name),
        form,
    };
    match &node.layer {
        Layer::Lstm(_) => of_lstm(&node.name),
        Layer::Embedding(_) => vec![place("embeddings", "weight", Form::Same)],
        Layer::Dense(_) => {
            vec![place("kernel", "weight", Form::Transposed), place("bias", "bias", Form::Same)]
        }
        layer @ Layer::Attention(_) => {
            let all = layer.spec().weights().into_iter();
            let of = |name: &str, axes: usize| match axes {
                1 => place(name, name, Form::Same),
                _ => place(name, &format!("{name}.weight"), Form::Transposed),
            };
            all.map(|weight| of(weight.name, weight.shape.len())).collect()
        }
        Layer::Bidirectional(_) => Vec::new(),
    }
}

/// Those of the LSTM `node` as a layer of its stack: `nn.LSTM` has two biases.
fn of_lstm(node: &str) -> Vec<Place> {
    let (stack, place) = place(node);
    let all = [
        ("kernel", "weight_ih", Form::Transposed),
        ("recurrent_kernel", "weight_hh", Form::Transposed),
        ("bias", "bias_ih", Form::Same),
        ("bias", "bias_hh", Form::Added),
    ];
    let of = |(ours, theirs, form)| Place {
        ours: format!("{node}.{ours}"),
        theirs: format!("{stack}.{theirs}_{place}"),
        form,
    };
    all.map(of).into()
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
        let held = |place: Place| (place.theirs.clone(), place.holds(&weights));
        let found: Vec<_> = of_lstm("lstm").into_iter().map(held).collect();
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
