// SPDX-License-Identifier: MIT OR Apache-2.0

//! The operators whose effect on shapes, strides and integers is known.

use super::messages::NodeProto;

/// What an operator makes of its inputs, as far as shapes and strides go.
///
/// [`Graph::strides`](super::graph::Graph::strides) and [`Shapes`](super::shapes::Shapes) match on
/// all of them, so that an operator is either known to both or to neither.
#[derive(Clone, Copy, Debug)]
pub enum Operator {
    /// A tensor in an attribute.
    Constant,
    /// The first input as it is, at inference.
    Identity,
    /// The first input converted to another type.
    Cast,
    /// As many elements as the first input, in the same shape.
    SameShape,
    /// Element by element on two inputs, broadcast to a common shape.
    Arithmetic(fn(i64, i64) -> Option<i64>),
    /// A window with weights over the spatial dimensions.
    Convolution,
    /// The reverse of a convolution with strides: enlarges.
    TransposedConvolution,
    /// A window without weights over the spatial dimensions.
    Pooling,
    /// One value for all of the spatial dimensions, which stay as dimensions of size 1.
    GlobalPooling,
    /// One value for all of some dimensions.
    Reduction,
    /// Matrices in the last two dimensions, or the last dimension's values, weighted.
    MatrixProduct,
    Concat,
    /// One value in a given shape.
    Fill,
    Expand,
    Pad,
    Gather,
    /// Counts from one number to another.
    Range,
    Reshape,
    Resize,
    Shape,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
}

impl Operator {
    /// The operator of a node; none for those that are not followed.
    pub fn of(node: &NodeProto) -> Option<Self> {
        Some(match node.op() {
            "Constant" => Self::Constant,
            "Identity" | "Dropout" => Self::Identity,
            "Cast" => Self::Cast,
            "Abs"
            | "BatchNormalization"
            | "Celu"
            | "Clip"
            | "Elu"
            | "Erf"
            | "Exp"
            | "Gelu"
            | "HardSigmoid"
            | "HardSwish"
            | "InstanceNormalization"
            | "LayerNormalization"
            | "LeakyRelu"
            | "Log"
            | "Mish"
            | "Neg"
            | "PRelu"
            | "Reciprocal"
            | "Relu"
            | "Selu"
            | "Sigmoid"
            | "Softmax"
            | "Softplus"
            | "Softsign"
            | "Sqrt"
            | "Swish"
            | "Tanh"
            | "ThresholdedRelu" => Self::SameShape,
            "Add" => Self::Arithmetic(i64::checked_add),
            "Sub" => Self::Arithmetic(i64::checked_sub),
            "Mul" => Self::Arithmetic(i64::checked_mul),
            // ONNX divides integers as Rust does, towards zero.
            "Div" => Self::Arithmetic(i64::checked_div),
            "Pow" => {
                Self::Arithmetic(|base, exponent| base.checked_pow(u32::try_from(exponent).ok()?))
            }
            // Of any number of values, but what is followed here has two.
            "Max" if node.input.len() == 2 => Self::Arithmetic(|a, b| Some(a.max(b))),
            "Min" if node.input.len() == 2 => Self::Arithmetic(|a, b| Some(a.min(b))),
            "Conv" => Self::Convolution,
            "ConvTranspose" => Self::TransposedConvolution,
            "AveragePool" | "LpPool" | "MaxPool" => Self::Pooling,
            "GlobalAveragePool" | "GlobalLpPool" | "GlobalMaxPool" => Self::GlobalPooling,
            "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" => Self::Reduction,
            "MatMul" => Self::MatrixProduct,
            "Concat" => Self::Concat,
            "ConstantOfShape" => Self::Fill,
            "Expand" => Self::Expand,
            "Pad" => Self::Pad,
            "Gather" => Self::Gather,
            "Range" => Self::Range,
            "Reshape" => Self::Reshape,
            "Resize" | "Upsample" => Self::Resize,
            "Shape" => Self::Shape,
            "Slice" => Self::Slice,
            "Split" => Self::Split,
            "Squeeze" => Self::Squeeze,
            "Tile" => Self::Tile,
            "Transpose" => Self::Transpose,
            "Unsqueeze" => Self::Unsqueeze,
            _ => return None,
        })
    }
}
