//! The messages of ONNX's onnx.proto that an exported model needs, with the numbers that their fields have there. What
//! may be zero is optional, so that it is written then too.

use prost::Message;

/// A file.
#[derive(Clone, PartialEq, Message)]
pub struct ModelProto {
    #[prost(int64, tag = "1")]
    pub ir_version: i64,
    #[prost(string, tag = "2")]
    pub producer_name: String,
    #[prost(string, tag = "3")]
    pub producer_version: String,
    #[prost(message, optional, tag = "7")]
    pub graph: Option<GraphProto>,
    #[prost(message, repeated, tag = "8")]
    pub opset_import: Vec<OperatorSetIdProto>,
}

/// Whose operators are used, in which version; without a domain ONNX's own.
#[derive(Clone, PartialEq, Message)]
pub struct OperatorSetIdProto {
    #[prost(int64, tag = "2")]
    pub version: i64,
}

/// Operators in an order in which each finds its inputs.
#[derive(Clone, PartialEq, Message)]
pub struct GraphProto {
    #[prost(message, repeated, tag = "1")]
    pub node: Vec<NodeProto>,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, repeated, tag = "5")]
    pub initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    pub input: Vec<ValueInfoProto>,
    #[prost(message, repeated, tag = "12")]
    pub output: Vec<ValueInfoProto>,
}

/// An operator. An empty name stands for an input or an output that is left out.
#[derive(Clone, PartialEq, Message)]
pub struct NodeProto {
    #[prost(string, repeated, tag = "1")]
    pub input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    pub output: Vec<String>,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(string, tag = "4")]
    pub op_type: String,
    #[prost(message, repeated, tag = "5")]
    pub attribute: Vec<AttributeProto>,
}

/// A setting of an operator: one of its values, and which of them.
#[derive(Clone, PartialEq, Message)]
pub struct AttributeProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(int64, optional, tag = "3")]
    pub i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    pub s: Option<Vec<u8>>,
    #[prost(float, repeated, packed = "false", tag = "7")]
    pub floats: Vec<f32>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    pub ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub strings: Vec<Vec<u8>>,
    #[prost(enumeration = "AttributeType", tag = "20")]
    pub r#type: i32,
}

/// Which value an attribute has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum AttributeType {
    /// None.
    Undefined = 0,
    /// `i`.
    Int = 2,
    /// `s`.
    String = 3,
    /// `floats`.
    Floats = 6,
    /// `ints`.
    Ints = 7,
    /// `strings`.
    Strings = 8,
}

/// Numbers that a file holds, as little-endian bytes.
#[derive(Clone, PartialEq, Message)]
pub struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    pub dims: Vec<i64>,
    #[prost(enumeration = "DataType", tag = "2")]
    pub data_type: i32,
    #[prost(string, tag = "8")]
    pub name: String,
    #[prost(bytes = "vec", tag = "9")]
    pub raw_data: Vec<u8>,
}

/// An element type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum DataType {
    /// None.
    Undefined = 0,
    /// 32 bits.
    Float = 1,
    /// Whole numbers of 32 bits.
    Int32 = 6,
    /// Of 64 bits.
    Int64 = 7,
    /// True or false.
    Bool = 9,
}

/// An input or an output of a graph.
#[derive(Clone, PartialEq, Message)]
pub struct ValueInfoProto {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(message, optional, tag = "2")]
    pub r#type: Option<TypeProto>,
}

/// The type of a value.
#[derive(Clone, PartialEq, Message)]
pub struct TypeProto {
    #[prost(message, optional, tag = "1")]
    pub tensor_type: Option<TensorTypeProto>,
}

/// Of a tensor: TypeProto.Tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorTypeProto {
    #[prost(enumeration = "DataType", tag = "1")]
    pub elem_type: i32,
    #[prost(message, optional, tag = "2")]
    pub shape: Option<TensorShapeProto>,
}

/// The axes of a tensor.
#[derive(Clone, PartialEq, Message)]
pub struct TensorShapeProto {
    #[prost(message, repeated, tag = "1")]
    pub dim: Vec<DimensionProto>,
}

/// The length of an axis, a number or a name: TensorShapeProto.Dimension.
#[derive(Clone, PartialEq, Message)]
pub struct DimensionProto {
    #[prost(int64, optional, tag = "1")]
    pub dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub dim_param: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::about::Dim;
    use crate::export::onnx::graph::{Graph, Kind, int, ints, text, texts};
    use crate::export::weights::Weight;

    /// As ONNX's own Python package writes the same graph, byte for byte.
    #[test]
    fn a_file_has_the_bytes_of_onnxs_own() {
        let mut graph = Graph::default();
        graph.input("x", Kind::Int64, &[Dim::Named("batch"), Dim::Size(0)], "");
        graph.weight("w", &Weight { shape: vec![1, 2], values: vec![1.0, 2.0] });
        graph.add("Softmax", &["x"], vec![int("axis", -1)]);
        let activations = texts("activations", &["HardSigmoid"]);
        let attributes = vec![text("direction", "reverse"), activations, ints("perm", &[0])];
        graph.add("LSTM", &["Softmax_0.0", "", "w"], attributes);
        let (model, _) = graph.finish("g");
        let model = ModelProto { producer_version: "1.2.3".to_owned(), ..model };
        let expected: [&[u8]; 15] = [
            b"\x08\x0a\x12\x06seqlab\x1a\x051.2.3:\xe3\x01",
            // The first node, its attribute and the number -1.
            b"\x0a\x3c\x0a\x01x\x12\x0bSoftmax_0.0\x1a\x0bSoftmax_0.0\"\x07Softmax",
            b"*\x14\x0a\x04axis\x18",
            &[0xff; 9],
            b"\x01\xa0\x01\x02",
            // The second.
            b"\x0a\x71\x0a\x0bSoftmax_0.0\x0a\x00\x0a\x01w",
            b"\x12\x08LSTM_1.0\x1a\x08LSTM_1.0\"\x04LSTM",
            b"*\x17\x0a\tdirection\"\x07reverse\xa0\x01\x03",
            b"*\x1d\x0a\x0bactivationsJ\x0bHardSigmoid\xa0\x01\x08",
            b"*\x0b\x0a\x04perm@\x00\xa0\x01\x07",
            b"\x12\x01g",
            // The weight.
            b"*\x13\x08\x01\x08\x02\x10\x01B\x01wJ\x08\x00\x00\x80?\x00\x00\x00@",
            // The input.
            b"Z\x18\x0a\x01x\x12\x13\x0a\x11\x08\x07\x12\x0d\x0a\x07",
            b"\x12\x05batch\x0a\x02\x08\x00",
            // The operators' version.
            b"B\x02\x10\x16",
        ];
        assert_eq!(model.encode_to_vec(), expected.concat());
    }
}
