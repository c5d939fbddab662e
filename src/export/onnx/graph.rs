//! A graph of ONNX's operators, built from the inputs on.

use super::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, GraphProto, ModelProto, NodeProto,
    OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::export::about::{Dim, Port};
use crate::export::weights::Weight;

/// ONNX's operators as they are since ONNX 1.17.
const OPSET: i64 = 22;
/// The version of the file format of that time.
const IR_VERSION: i64 = 10;

/// The element type of an input or an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Numbers.
    Float,
    /// Lengths.
    Int32,
    /// Ids.
    Int64,
    /// Masks.
    Bool,
}

impl Kind {
    /// What NumPy calls it.
    fn name(self) -> &'static str {
        match self {
            Self::Float => "float32",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::Bool => "bool",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Float => DataType::Float,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Bool => DataType::Bool,
        }
    }
}

/// A tensor of a graph, by its name.
pub type Value = String;

/// A graph under construction.
#[derive(Debug, Default)]
pub struct Graph {
    proto: GraphProto,
    /// What goes in.
    pub inputs: Vec<Port>,
    /// What comes out.
    pub outputs: Vec<Port>,
}

impl Graph {
    /// An input.
    pub fn input(&mut self, name: &str, kind: Kind, shape: &[Dim], is: &str) -> Value {
        self.proto.input.push(value_info(name, kind, shape));
        self.inputs.push(port(name, kind, shape, is));
        name.to_owned()
    }

    /// Makes `value` the output `name`.
    pub fn output(&mut self, value: &str, name: &str, kind: Kind, shape: &[Dim], is: &str) {
        self.proto.node.push(node("Identity", &[value], vec![name.to_owned()], Vec::new()));
        self.proto.output.push(value_info(name, kind, shape));
        self.outputs.push(port(name, kind, shape, is));
    }

    /// Puts the last output before the others.
    pub fn last_output_first(&mut self) {
        self.proto.output.rotate_right(1);
        self.outputs.rotate_right(1);
    }

    /// What `operator` makes of `inputs`.
    pub fn add(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> Value {
        let [value] = self.add_many(operator, inputs, attributes);
        value
    }

    /// The same of an operator with N outputs.
    pub fn add_many<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) -> [Value; N] {
        let number = self.proto.node.len();
        let names = std::array::from_fn(|i| format!("{operator}_{number}.{i}"));
        self.proto.node.push(node(operator, inputs, names.to_vec(), attributes));
        names
    }

    /// Numbers that the file holds, under a name of their own.
    pub fn weight(&mut self, name: &str, weight: &Weight) -> Value {
        let dims: Vec<i64> = weight.shape.iter().map(|&n| n as i64).collect();
        self.constant(name, DataType::Float, dims, weight.bytes())
    }

    /// A vector of whole numbers.
    pub fn whole(&mut self, numbers: &[i64]) -> Value {
        let bytes = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.unnamed(DataType::Int64, vec![numbers.len() as i64], bytes)
    }

    /// One whole number.
    pub fn scalar(&mut self, number: i64) -> Value {
        self.unnamed(DataType::Int64, Vec::new(), number.to_le_bytes().to_vec())
    }

    /// A vector of numbers.
    pub fn numbers(&mut self, numbers: &[f32]) -> Value {
        let weight = Weight::vector(numbers.to_vec());
        self.unnamed(DataType::Float, vec![numbers.len() as i64], weight.bytes())
    }

    fn unnamed(&mut self, kind: DataType, dims: Vec<i64>, bytes: Vec<u8>) -> Value {
        let name = format!("constant_{}", self.proto.initializer.len());
        self.constant(&name, kind, dims, bytes)
    }

    fn constant(&mut self, name: &str, kind: DataType, dims: Vec<i64>, raw_data: Vec<u8>) -> Value {
        let (data_type, name) = (kind as i32, name.to_owned());
        let tensor = TensorProto { dims, data_type, name: name.clone(), raw_data };
        self.proto.initializer.push(tensor);
        name
    }

    /// The whole model, called `name`, with what goes in and what comes out.
    pub fn finish(self, name: &str) -> (ModelProto, [Vec<Port>; 2]) {
        let model = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "seqlab".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            graph: Some(GraphProto { name: name.to_owned(), ..self.proto }),
            opset_import: vec![OperatorSetIdProto { version: OPSET }],
        };
        (model, [self.inputs, self.outputs])
    }
}

/// The setting `name` of an operator: a whole number.
pub fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

/// Several.
pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeType::Ints) }
}

/// Numbers.
pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

/// A word.
pub fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.into()), ..attribute(name, AttributeType::String) }
}

/// Several.
pub fn texts(name: &str, values: &[&str]) -> AttributeProto {
    let strings = values.iter().map(|value| value.as_bytes().to_vec()).collect();
    AttributeProto { strings, ..attribute(name, AttributeType::Strings) }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: name.to_owned(), r#type: kind as i32, ..AttributeProto::default() }
}

fn node(
    operator: &str,
    inputs: &[&str],
    output: Vec<String>,
    attribute: Vec<AttributeProto>,
) -> NodeProto {
    let input = inputs.iter().map(|&name| name.to_owned()).collect();
    let name = output.first().cloned().unwrap_or_default();
    NodeProto { input, name, op_type: operator.to_owned(), output, attribute }
}

fn port(name: &str, kind: Kind, shape: &[Dim], is: &str) -> Port {
    let (name, is) = (name.to_owned(), is.to_owned());
    Port { name, dtype: kind.name(), shape: shape.to_vec(), is }
}

fn value_info(name: &str, kind: Kind, shape: &[Dim]) -> ValueInfoProto {
    let dim = shape.iter().map(|dim| match *dim {
        Dim::Size(size) => DimensionProto { dim_value: Some(size), dim_param: None },
        Dim::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
    });
    let shape = Some(TensorShapeProto { dim: dim.collect() });
    let tensor = TensorTypeProto { elem_type: kind.data_type() as i32, shape };
    let r#type = Some(TypeProto { tensor_type: Some(tensor) });
    ValueInfoProto { name: name.to_owned(), r#type }
}
