// SPDX-License-Identifier: MIT OR Apache-2.0

//! YOLO detectors of faces with five key points, as their exporters write them: yolov8-face and the pose
//! networks of Ultralytics (`kpt_shape: [5, 3]` or `[5, 2]`), and yolov5-face. Everything is computed
//! in the graph, in pixels of the input, and in one output.

use super::{
    family::{
        Family, Network, Others, Recognised, RecognisedLevel, Scores, Unusable, declared, points,
    },
    level::{Cell, Level, View, cells},
    trace::has_sigmoid,
};
use crate::{
    face::Landmarks,
    geometry::{Point, Rect},
    preprocess::{ChannelOrder, Normalisation},
};

/// How the only output has its values.
#[derive(Debug)]
pub struct Yolo {
    name: &'static str,
    /// Values of an anchor: box, score, points; in yolov5-face the score of the class at the end.
    values: usize,
    /// Values of each point.
    point_values: usize,
    /// Anchors of each cell.
    anchors: usize,
    /// `[1, anchors, values]`, instead of `[1, values, anchors]`.
    values_last: bool,
}

static WITH_VISIBILITY: Yolo = Yolo {
    name: "YOLOv8 with key points and their visibility",
    values: 20,
    point_values: 3,
    anchors: 1,
    values_last: false,
};

pub static YOLO: Yolo = Yolo {
    name: "YOLOv8 with key points",
    values: 15,
    point_values: 2,
    anchors: 1,
    values_last: false,
};

static YOLOV5: Yolo =
    Yolo { name: "YOLOv5-face", values: 16, point_values: 2, anchors: 3, values_last: true };

const LAYOUTS: [&Yolo; 3] = [&WITH_VISIBILITY, &YOLO, &YOLOV5];

const STRIDES: [u32; 3] = [8, 16, 32];
/// Where the parts of an anchor begin: box, score, points, and yolov5-face's class.
const SCORE: usize = 4;
const POINTS: usize = 5;
const CLASS: usize = 15;

impl Family for Yolo {
    fn name(&self) -> &'static str {
        self.name
    }

    fn nick(&self) -> &'static str {
        "yolo"
    }

    fn expects(&self) -> &'static str {
        "one output [1, 15 or 20, anchors] or [1, anchors, 16] with boxes, scores and five key points"
    }

    /// By the shape of the only output.
    fn recognise(&self, network: &Network) -> Result<Option<Recognised>, Unusable> {
        Ok(by_shape(network))
    }

    /// `LetterBox` and `preprocess` of Ultralytics: red first, 0 to 1, gray beside the picture.
    fn normalisation(&self) -> Normalisation {
        Normalisation {
            scale: 1.0 / 255.0,
            order: ChannelOrder::Rgb,
            padding: [114.0; 3],
            ..Normalisation::NONE
        }
    }

    /// `non_max_suppression` compares areas.
    fn counts_last_pixel(&self) -> bool {
        false
    }

    fn multiple(&self) -> u32 {
        32
    }

    /// All levels one after the other, in yolov5-face the anchors of each.
    fn level(
        &self,
        level: &RecognisedLevel,
        _scores: Scores,
        grid: (usize, usize),
        others: Others,
    ) -> Level {
        let plane = grid.0 * grid.1;
        let view = |value: usize| match self.values_last {
            true => View {
                output: 0,
                offset: others.before * self.values + value,
                cell: self.values,
                anchor: plane * self.values,
                channel: 1,
            },
            false => View {
                output: 0,
                offset: value * others.all + others.before,
                cell: 1,
                anchor: plane,
                channel: others.all,
            },
        };
        Level {
            stride: level.stride,
            grid,
            anchors: level.anchors,
            score: view(SCORE),
            objectness: level.objectness.map(|_| view(CLASS)),
            boxes: view(0),
            landmarks: Some(view(POINTS)),
            point_values: self.point_values,
        }
    }

    /// Centre and size, in pixels.
    fn bounds(&self, _cell: &Cell, [x, y, width, height]: [f32; 4]) -> Rect {
        Rect::around(Point { x, y }, width / 2.0, height / 2.0)
    }

    fn landmarks(&self, _cell: &Cell, values: [f32; 10]) -> Landmarks {
        points(Point::default(), 1.0, values)
    }
}

fn by_shape(network: &Network) -> Option<Recognised> {
    let [output] = &network.proto.output[..] else { return None };
    let (width, height) = network.typical_size();
    let count: usize =
        STRIDES.iter().map(|&stride| cells(width, stride) * cells(height, stride)).sum();
    let shapes = network.shapes();
    let size = |axis: usize| match shapes.shape(output.name()) {
        Some(shape) => shape.get(axis).copied(),
        None => declared(output, axis),
    };
    let family = LAYOUTS.into_iter().find(|family| {
        let (values, anchors) = if family.values_last { (2, 1) } else { (1, 2) };
        output.tensor().is_some_and(|(_, dimensions)| dimensions.len() == 3)
            && size(values) == Some(family.values)
            && size(anchors).is_none_or(|size| size == family.anchors * count)
    })?;
    // Scores are probabilities already; otherwise the output is another.
    has_sigmoid(&network.graph, output.name()).then_some(())?;
    let level = |&stride: &u32| RecognisedLevel {
        stride,
        anchors: family.anchors,
        scores: 0,
        objectness: family.values_last.then_some(0),
        boxes: 0,
        landmarks: Some(0),
        convolutions: None,
    };
    Some(Recognised {
        family,
        outputs: vec![output.name().to_owned()],
        scores: Scores::Logits,
        missing: None,
        levels: STRIDES.iter().map(level).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        families::level::{BOX_VALUES, LANDMARK_VALUES},
        model::tests::network::value,
        onnx::{messages::GraphProto, tests::node},
    };

    fn level(family: &Yolo, objectness: bool) -> Level {
        let level = RecognisedLevel {
            stride: 16,
            anchors: family.anchors,
            scores: 0,
            objectness: objectness.then_some(0),
            boxes: 0,
            landmarks: Some(0),
            convolutions: None,
        };
        // 7·4 cells behind others, of 1000 anchors.
        family.level(&level, Scores::Logits, (7, 4), Others { before: 104, all: 1000 })
    }

    /// 64×32 pixels are 8·4, 4·2 and 2·1 cells.
    #[test]
    fn the_output_has_an_anchor_for_each_cell() {
        let found = |sizes: [i64; 3], op: &str| {
            let proto = GraphProto {
                node: vec![node("Conv", &["image"], "x"), node(op, &["x"], "y")],
                output: vec![value("y", &sizes)],
                ..GraphProto::default()
            };
            by_shape(&Network::new(&proto, "image", Some((64, 32))))
        };
        for (sizes, family, anchors, objectness) in [
            ([1, 20, 42], &WITH_VISIBILITY, 1, None),
            ([1, 15, 42], &YOLO, 1, None),
            ([1, 126, 16], &YOLOV5, 3, Some(0)),
        ] {
            let found = found(sizes, "Sigmoid").expect(family.name);
            assert_eq!(
                (found.family.name(), found.outputs.as_slice()),
                (family.name, &["y".into()][..])
            );
            assert_eq!(
                found.levels.iter().map(|level| level.stride).collect::<Vec<_>>(),
                [8, 16, 32]
            );
            for level in &found.levels {
                assert_eq!((level.anchors, level.objectness), (anchors, objectness));
                assert_eq!((level.scores, level.boxes, level.landmarks), (0, 0, Some(0)));
            }
        }
        assert!(found([1, 15, -1], "Sigmoid").is_some());
        assert!(found([1, 126, 16], "Relu").is_none(), "no probabilities");
        for sizes in [[1, 20, 43], [1, 42, 20], [1, 16, 126], [1, 42, 16], [1, -1, 42]] {
            assert!(found(sizes, "Sigmoid").is_none(), "{sizes:?}");
        }
        assert_eq!(YOLO.multiple(), 32);
    }

    /// `[1, 20, 1000]`: value v of cell c is number v·1000 + 104 + c.
    #[test]
    fn values_of_yolov8_are_rows() {
        let level = level(&WITH_VISIBILITY, false);
        let view = |value: usize| View {
            output: 0,
            offset: 1000 * value + 104,
            cell: 1,
            anchor: 28,
            channel: 1000,
        };
        assert_eq!((level.boxes, level.score, level.landmarks), (view(0), view(4), Some(view(5))));
        assert_eq!((level.anchors, level.point_values, level.objectness), (1, 3, None));
        assert_eq!(level.output_len(0), 19 * 1000 + 104 + 28);
    }

    /// `[1, 1000, 16]`: value v of anchor a of cell c is number (104 + 28·a + c)·16 + v.
    #[test]
    fn values_of_yolov5_are_columns() {
        let level = level(&YOLOV5, true);
        let view = |value: usize| View {
            output: 0,
            offset: 104 * 16 + value,
            cell: 16,
            anchor: 28 * 16,
            channel: 1,
        };
        assert_eq!((level.boxes, level.score, level.landmarks), (view(0), view(4), Some(view(5))));
        assert_eq!((level.anchors, level.point_values, level.objectness), (3, 2, Some(view(15))));
        assert_eq!(LANDMARK_VALUES + BOX_VALUES + 2, 16);
    }

    #[test]
    fn numbers_are_pixels() {
        let cell = Cell { stride: 16, x: 5, y: 7, anchor: 0 };
        let bounds = YOLO.bounds(&cell, [100.0, 50.0, 20.0, 30.0]);
        assert_eq!(bounds, Rect::new(90.0, 35.0, 110.0, 65.0));
        let points = YOLO.landmarks(&cell, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]).0;
        assert_eq!((points[0], points[4]), (Point { x: 1.0, y: 2.0 }, Point { x: 9.0, y: 10.0 }));
        // Objectness times class.
        assert_eq!(YOLOV5.score(0.5, 0.5), 0.25);
    }

    #[test]
    fn the_normalisation_is_the_published_one() {
        let Normalisation { mean, scale, order, padding } = YOLO.normalisation();
        assert_eq!((mean, scale, order), ([0.0; 3], 1.0 / 255.0, ChannelOrder::Rgb));
        assert_eq!(padding, [114.0; 3]);
    }
}
