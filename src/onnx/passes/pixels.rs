// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks that take pixels as bytes: on a GPU, preprocessing costs next to nothing, and bytes are a
//! quarter of the floats to copy.

use crate::onnx::builder::{GraphBuilder, dimension};
use crate::onnx::messages::{AttributeProto, DataType, NodeProto};
use crate::preprocess::{ChannelOrder, Normalisation, Pixels, ScaleMethod};

/// Inserts nodes in front of a graph that compute its input `planes`, float
/// `[batch, 3, height, width]` normalised as told, from pixels; returns the name of the new input,
/// uint8 `[batch, height, width, channels]`.
///
/// `target` is the width and height of the planes. The conversion to float comes first: TensorRT takes bytes for nothing else.
pub fn prepend(
    builder: &mut GraphBuilder,
    planes: &str,
    pixels: &Pixels,
    (batch, target): (usize, (u32, u32)),
    normalisation: Normalisation,
) -> String {
    let input = builder.unique_name("pixels");
    let to_float = AttributeProto::new_int("to", DataType::Float as i64);
    let mut steps = vec![("Cast", vec![], vec![to_float])];
    let (mut order, mut mean) = (pixels.order, normalisation.mean);
    if normalisation.order == ChannelOrder::Rgb {
        order.reverse();
        mean.reverse();
    }
    if pixels.channels != 3 || order != [0, 1, 2] {
        let order = builder.add_integers("order", &order.map(dimension));
        steps.push(("Gather", vec![order], vec![AttributeProto::new_int("axis", 3)]));
    }
    steps.push(("Transpose", vec![], vec![AttributeProto::new_ints("perm", &[0, 3, 1, 2])]));
    if mean != [0.0; 3] {
        steps.push(("Sub", vec![builder.add_floats("mean", &[1, 3, 1, 1], &mean)], vec![]));
    }
    if normalisation.scale != 1.0 {
        let scale = builder.add_floats("scale", &[1], &[normalisation.scale]);
        steps.push(("Mul", vec![scale], vec![]));
    }
    if pixels.size != target {
        let attributes = match pixels.method {
            ScaleMethod::Nearest => [
                ("mode", "nearest"),
                ("coordinate_transformation_mode", "asymmetric"),
                ("nearest_mode", "floor"),
            ]
            .as_slice(),
            ScaleMethod::Bilinear => {
                &[("mode", "linear"), ("coordinate_transformation_mode", "half_pixel")]
            }
        };
        let attributes =
            attributes.iter().map(|(name, value)| AttributeProto::new_string(name, value));
        let sizes = [dimension(batch), 3, i64::from(target.1), i64::from(target.0)];
        let sizes = builder.add_integers("sizes", &sizes);
        // Neither a region of interest nor scales; before opset 13 both must be there, if empty.
        let none = builder.add_floats("none", &[0], &[]);
        steps.push(("Resize", vec![none.clone(), none, sizes], attributes.collect()));
    }

    let mut value = input.clone();
    let last = steps.len() - 1;
    let nodes = steps.into_iter().enumerate().map(|(step, (op, operands, attribute))| {
        let output = if step == last { planes.to_owned() } else { builder.unique_name(op) };
        let before = std::mem::replace(&mut value, output.clone());
        NodeProto {
            input: std::iter::once(before).chain(operands).collect(),
            name: Some(output.clone()),
            output: vec![output],
            op_type: Some(op.to_owned()),
            attribute,
            ..NodeProto::default()
        }
    });
    let nodes: Vec<_> = nodes.collect();
    builder.nodes.splice(..0, nodes);
    input
}
