// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many inputs and outputs operators have.

use std::ops::RangeInclusive;

/// Inputs of an operator, of which the first so many must be there; none where that is not known.
pub fn inputs(operator: &str) -> Option<RangeInclusive<usize>> {
    Some(match operator {
        "Constant" => 0..=0,
        "Abs" | "AveragePool" | "Cast" | "Ceil" | "ConstantOfShape" | "Elu" | "Erf" | "Exp"
        | "Flatten" | "Floor" | "Gelu" | "GlobalAveragePool" | "GlobalMaxPool" | "HardSigmoid"
        | "HardSwish" | "Identity" | "LeakyRelu" | "Log" | "LogSoftmax" | "LpPool" | "LRN"
        | "MaxPool" | "Mish" | "Neg" | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shape"
        | "Sigmoid" | "Softmax" | "Softplus" | "Softsign" | "Sqrt" | "Tanh" | "Transpose" => 1..=1,
        "Add" | "Div" | "Expand" | "Gather" | "MatMul" | "Mul" | "Pow" | "PRelu" | "Sub" => 2..=2,
        "Reshape" | "Split" | "Squeeze" | "Unsqueeze" | "Upsample" => 1..=2,
        "Clip" | "Dropout" => 1..=3,
        "Pad" | "Resize" => 1..=4,
        "Slice" => 1..=5,
        "Conv" | "ConvTranspose" | "Gemm" => 2..=3,
        "ConvInteger" => 2..=4,
        "QLinearConv" => 8..=9,
        "DequantizeLinear" | "QuantizeLinear" => 2..=3,
        "InstanceNormalization" => 3..=3,
        "BatchNormalization" => 5..=5,
        "Concat" | "Max" | "Min" | "Sum" => 1..=usize::MAX,
        _ => return None,
    })
}

/// Whether a node of this operator may leave out inputs, besides those that must be there: exporters
/// do so with these, and runtimes do not expect it of some others, as of `Max` or
/// `LayerNormalization`.
pub fn may_omit_inputs(operator: &str) -> bool {
    matches!(operator, "Clip" | "Conv" | "ConvTranspose" | "Dropout" | "Pad" | "Resize" | "Slice")
}

/// The most outputs of an operator at inference.
pub fn most_outputs(operator: &str) -> usize {
    match operator {
        "MaxPool" | "Dropout" => 2,
        // Training mode has more, which detectors have no use for.
        _ if inputs(operator).is_some() && operator != "Split" => 1,
        _ => usize::MAX,
    }
}

/// Whether exporters leave nodes of this operator that compute with constants alone, or with the
/// shapes of values: to arrange weights, and to compute sizes.
///
/// Runtimes compute such nodes when they load a network. Where that is a layer, they take its result
/// for pictures in one place and for a weight in another.
pub fn may_be_constant(operator: &str) -> bool {
    matches!(
        operator,
        "Abs"
            | "Add"
            | "And"
            | "Cast"
            | "Ceil"
            | "Concat"
            | "Constant"
            | "ConstantOfShape"
            | "DequantizeLinear"
            | "Div"
            | "Equal"
            | "Exp"
            | "Expand"
            | "Flatten"
            | "Floor"
            | "Gather"
            | "Greater"
            | "Identity"
            | "Less"
            | "Log"
            | "Max"
            | "Min"
            | "Mod"
            | "Mul"
            | "Neg"
            | "Not"
            | "Or"
            | "Pow"
            | "QuantizeLinear"
            | "Range"
            | "Reciprocal"
            | "ReduceMax"
            | "ReduceMin"
            | "ReduceProd"
            | "ReduceSum"
            | "Reshape"
            | "Round"
            | "Shape"
            | "Size"
            | "Slice"
            | "Split"
            | "Sqrt"
            | "Squeeze"
            | "Sub"
            | "Sum"
            | "Tile"
            | "Transpose"
            | "Unsqueeze"
            | "Where"
    )
}
