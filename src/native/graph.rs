// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks as these kernels see them: values of channels, rows and columns, and what makes them.

/// An index into [`Graph::shapes`].
pub type Value = usize;

/// Channels, rows and columns of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
}

impl Shape {
    pub fn len(self) -> usize {
        self.channels * self.rows * self.columns
    }
}

/// A network of one picture, its nodes in the order in which they can be computed.
pub struct Graph {
    pub shapes: Vec<Shape>,
    pub nodes: Vec<Node>,
    pub input: Value,
    pub outputs: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub operation: Operation,
    pub inputs: Vec<Value>,
    /// One, but for convolutions that were merged: their channels, one after another, each filled up
    /// to whole blocks.
    pub outputs: Vec<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Convolution(Convolution),
    Pooling(Pooling),
    /// Each channel times a factor, plus an offset.
    Scale {
        factors: Vec<f32>,
        offsets: Vec<f32>,
    },
    Activation(Activation),
    Function(Function),
    /// The sum of two values, the second of which may be sampled.
    Add(Option<Sampling>),
    /// The product of two values.
    Multiply,
    /// Of channels.
    Concat,
    Sample(Sampling),
    /// Another size, between the centres of pixels.
    Interpolate,
}

/// A window that moves over rows and columns: each pair is for rows, then columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    /// Rows above and columns before the picture. What the output's size asks for below and after it
    /// is there as well.
    pub pads: [usize; 2],
}

#[derive(Clone, Debug, PartialEq)]
pub struct Convolution {
    pub window: Window,
    pub groups: usize,
    /// `[outputs, inputs of a group, rows, columns]`.
    pub weights: Vec<f32>,
    /// One for each output.
    pub bias: Vec<f32>,
    /// Of the result.
    pub activation: Activation,
}

/// What comes for free behind a convolution. In this order: slopes, then clipping.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Activation {
    /// What negative values are multiplied by, for each channel, at most 1; empty: 1.
    pub slopes: Vec<f32>,
    pub clip: Option<[f32; 2]>,
}

impl Activation {
    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pooling {
    pub window: Window,
    pub kind: PoolingKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolingKind {
    Max,
    /// Over what is in the picture.
    Average,
    /// Over the window, padding counting as zeros.
    AverageWithPadding,
}

/// Functions of one number.
#[derive(Clone, Debug, PartialEq)]
pub enum Function {
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        alpha: f32,
        beta: f32,
    },
    HardSwish,
    /// `x * sigmoid(alpha * x)`.
    Swish {
        alpha: f32,
    },
    /// Slopes of any size, for each channel.
    PRelu(Vec<f32>),
    Tanh,
    Exp,
}

/// A value of which each pixel is one of another's: a part of it, or its nearest at another size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// For each row, which one of the other's.
    pub rows: Vec<usize>,
    pub columns: Vec<usize>,
}
