// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks as all else here expects them: in order, of floats, channels first, one picture a run.

use super::{
    batch::{self, NotBatched},
    channels_first::{self, NotTransposed},
    dequantise, sort, to_float,
};
use crate::onnx::{
    messages::{Dimension, GraphProto, ModelProto},
    shapes::MAX_DIMENSION,
};

/// Why a network cannot be made one like this.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPlain {
    #[error(
        "its input has the channels last, and what it does to move them first is not understood: export \
         it with an input of the shape [1, 3, height, width]"
    )]
    ChannelsLast(#[from] NotTransposed),
    #[error(
        "it takes {0} pictures at once, and {1}: export it for one picture, or for any number of them"
    )]
    Batch(usize, NotBatched),
}

/// A size to try where a network takes any.
const TYPICAL_SIZE: usize = 640;

/// Rewrites a network whose nodes are in no order, that computes with other numbers than floats, or takes
/// channels last or a fixed number of pictures; returns whether it was one.
pub fn make_plain(model: &mut ModelProto) -> Result<bool, NotPlain> {
    let Some(graph) = &mut model.graph else { return Ok(false) };
    let mut changed = sort::sort(graph);
    changed |= to_float::to_float(graph);
    changed |= dequantise::dequantise(model);
    let Some(graph) = &mut model.graph else { return Ok(changed) };
    let [input] = graph.inputs()[..] else { return Ok(changed) };
    let input = input.name().to_owned();
    changed |= channels_first::channels_first(graph, &input)?;
    let Some(shape) = shape(graph, &input) else { return Ok(changed) };
    if shape[0] > 1 {
        batch::check_outputs(graph, &input, shape)
            .and_then(|()| batch::set_batch(graph, &input, shape, 1))
            .map_err(|why| NotPlain::Batch(shape[0], why))?;
        changed = true;
    }
    Ok(changed)
}

/// The shape of an input of pictures, where its size is a possible one.
fn shape(graph: &GraphProto, input: &str) -> Option<[usize; 4]> {
    let value = graph.input.iter().find(|value| value.name() == input)?;
    let (_, [batch, channels, height, width]) = value.tensor()? else { return None };
    let size = |dimension: &Dimension, default: usize| match dimension.size() {
        Some(size) => usize::try_from(size).ok().filter(|&size| size <= MAX_DIMENSION),
        None => Some(default),
    };
    Some([
        size(batch, 1)?,
        size(channels, 3)?,
        size(height, TYPICAL_SIZE)?,
        size(width, TYPICAL_SIZE)?,
    ])
}
