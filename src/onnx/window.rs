// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sliding window of a convolution or pooling operator.

use super::messages::NodeProto;

/// A window over the spatial dimensions, which are all but batch and channels.
pub struct Window {
    /// One for each spatial dimension.
    axes: Vec<Axis>,
    /// Whether the output has one element for each stride, however large the window.
    same: bool,
    /// Whether the output's size is rounded up.
    ceil: bool,
}

struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    pads: [usize; 2],
}

impl Window {
    /// The window of a node, of the size `kernel`; none if its attributes make no sense.
    pub fn new(node: &NodeProto, kernel: &[i64]) -> Option<Self> {
        let auto_pad = node.string("auto_pad").unwrap_or("NOTSET");
        // All beginnings, then all ends.
        let pads = if auto_pad == "NOTSET" { node.ints("pads") } else { &[] };
        let rank = kernel.len();
        let axis = |(axis, &kernel): (usize, &i64)| {
            Some(Axis {
                kernel: usize::try_from(kernel).ok().filter(|&kernel| kernel > 0)?,
                stride: stride(node, axis)?,
                dilation: positive(node.ints("dilations"), axis)?,
                pads: [attribute(pads, axis, 0)?, attribute(pads, axis + rank, 0)?],
            })
        };
        Some(Self {
            axes: kernel.iter().enumerate().map(axis).collect::<Option<_>>()?,
            same: matches!(auto_pad, "SAME_UPPER" | "SAME_LOWER"),
            ceil: node.int("ceil_mode").unwrap_or(0) != 0,
        })
    }

    /// Whether each output is computed from the one input in its place.
    pub fn is_pointwise(&self) -> bool {
        self.axes.iter().all(|axis| axis.kernel == 1 && axis.stride == 1 && axis.pads == [0, 0])
    }

    /// The spatial size of the output for that of the input; none where the window does not fit.
    pub fn output(&self, input: &[usize]) -> Option<Vec<usize>> {
        if self.axes.len() != input.len() {
            return None;
        }
        let size = |(axis, &size): (&Axis, &usize)| {
            if self.same { Some(size.div_ceil(axis.stride)) } else { axis.output(size, self.ceil) }
        };
        self.axes.iter().zip(input).map(size).collect()
    }

    /// The spatial size of which [`Self::output`] makes `output`, and `padding` more: what a
    /// transposed convolution makes of `output`.
    pub fn reversed(&self, output: &[usize], padding: &[i64]) -> Option<Vec<usize>> {
        if self.axes.len() != output.len() {
            return None;
        }
        let size = |(index, (axis, &size)): (usize, (&Axis, &usize))| {
            if self.same {
                return size.checked_mul(axis.stride);
            }
            let steps = size.checked_sub(1)?.checked_mul(axis.stride)?;
            let all =
                steps.checked_add(axis.extent()?)?.checked_add(attribute(padding, index, 0)?)?;
            all.checked_sub(axis.pads[0])?.checked_sub(axis.pads[1])
        };
        self.axes.iter().zip(output).enumerate().map(size).collect()
    }
}

impl Axis {
    /// How far the window reaches.
    fn extent(&self) -> Option<usize> {
        (self.kernel - 1).checked_mul(self.dilation)?.checked_add(1)
    }

    fn output(&self, size: usize, ceil: bool) -> Option<usize> {
        let end_of_input = size.checked_add(self.pads[0])?;
        let room = end_of_input.checked_add(self.pads[1])?.checked_sub(self.extent()?)?;
        let last = room / self.stride;
        // Rounding up adds a last, partial window, unless it would start in the padding at the end.
        let partial = ceil
            && !room.is_multiple_of(self.stride)
            && (last + 1).checked_mul(self.stride)? < end_of_input;
        last.checked_add(1 + usize::from(partial))
    }
}

/// The stride of a node's window along a spatial axis; none if it makes no sense.
pub fn stride(node: &NodeProto, axis: usize) -> Option<usize> {
    positive(node.ints("strides"), axis)
}

/// 1 if not given.
fn positive(values: &[i64], index: usize) -> Option<usize> {
    attribute(values, index, 1).filter(|&value| value > 0)
}

fn attribute(values: &[i64], index: usize, default: i64) -> Option<usize> {
    usize::try_from(values.get(index).copied().unwrap_or(default)).ok()
}
