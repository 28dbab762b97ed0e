// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a network that is of no family looks like, for people to know what they have.

use super::family::Network;
use crate::onnx::messages::ValueInfoProto;

/// As part of a sentence: "the network is …".
pub fn resembles(network: &Network) -> String {
    let outputs: Vec<_> = network.proto.output.iter().map(sizes).collect();
    let suppresses = network.proto.node.iter().any(|node| node.op() == "NonMaxSuppression");
    if suppresses {
        return "a detector that suppresses overlapping boxes in the graph; export it without"
            .into();
    }
    let last = |values: i64| {
        outputs
            .iter()
            .filter(|sizes| sizes.len() >= 2 && sizes.last() == Some(&Some(values)))
            .count()
    };
    let channels = |values: i64| {
        outputs.iter().filter(|sizes| sizes.len() == 4 && sizes[1] == Some(values)).count()
    };
    match outputs[..] {
        [ref one] => resembles_by_output(one),
        [_, _, _] if last(14) == 1 && last(2) == 1 && last(1) == 1 => {
            "YuNet of 2021 or 2022, with anchors; take the one of 2023".into()
        }
        [_, _, _, _] if channels(1) == 1 && channels(2) == 2 && channels(10) == 1 => {
            "like CenterFace, a map of centres, which is no family here".into()
        }
        [_, _] if last(4) == 1 && last(2) == 1 => {
            "a detector without landmarks whose boxes are computed in the graph, like UltraFace"
                .into()
        }
        [_, _] if last(16) == 1 && last(1) == 1 => "like BlazeFace, which is no family here".into(),
        _ => "of no family that is known".into(),
    }
}

/// By its only output.
fn resembles_by_output(sizes: &[Option<i64>]) -> String {
    // One of YOLO's: many boxes of four values, perhaps objectness, and a score a class.
    let yolo = |values: i64, others: i64| match values {
        15 | 16 | 20 => "a YOLO face detector, whose boxes are computed in the graph".to_owned(),
        56 => "a YOLO detector of persons with 17 key points".to_owned(),
        5 | 6 => "a YOLO detector for one class, without landmarks".to_owned(),
        _ => format!("a YOLO detector for {} classes", values - others),
    };
    let many = |boxes: Option<i64>| boxes.is_none_or(|boxes| boxes >= 300);
    match *sizes {
        [_, Some(points), Some(2 | 3)] => format!("a network for {points} landmarks of one face"),
        [_, Some(values), boxes] if many(boxes) && (5..300).contains(&values) => yolo(values, 4),
        [_, boxes, Some(values)] if many(boxes) && (6..300).contains(&values) => yolo(values, 5),
        [_, Some(numbers @ (136 | 196 | 212))] => {
            format!("a network for {} landmarks of one face", numbers / 2)
        }
        [_, Some(numbers @ (128 | 256 | 512))] => {
            format!("a recognition network, which gives {numbers} numbers for one face")
        }
        [_, Some(classes)] => format!("a classifier of whole pictures for {classes} classes"),
        [_, Some(maps), _, _] => format!("a network that gives {maps} maps of the picture"),
        _ => "of no family that is known".to_owned(),
    }
}

/// As the file declares them.
fn sizes(output: &ValueInfoProto) -> Vec<Option<i64>> {
    output.tensor().map_or_else(Vec::new, |(_, dimensions)| {
        dimensions.iter().map(|dimension| dimension.size()).collect()
    })
}
