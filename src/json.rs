// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as lines of JSON, one a frame: docs/json.md.

use serde::{Serialize, Serializer};

use crate::{
    face::{Face, Landmarks},
    geometry::{Point, Rect},
};

/// The version of what the keys are called and mean. It stays when keys are added.
pub const SCHEMA: u32 = 1;

/// What a line says of a frame beside its faces. Times are in nanoseconds, and `None` where they are
/// not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FrameRecord<'a> {
    /// Where the frame is from.
    pub source: Option<&'a str>,
    /// Its number in the stream, from 0 on.
    pub frame: u64,
    pub pts: Option<u64>,
    pub stream_time: Option<u64>,
    pub running_time: Option<u64>,
    /// Since 1970-01-01 00:00:00 UTC; written by RFC 3339, in microseconds.
    #[serde(serialize_with = "rfc3339")]
    pub utc: Option<u64>,
    /// In pixels.
    pub width: u32,
    pub height: u32,
}

/// Appends the line of a frame with these faces, and its end, to `line`. What is no finite number is
/// `null`. Fails where `serde_json` does, which takes everything that can be in a record.
pub fn write_line(
    line: &mut Vec<u8>,
    frame: &FrameRecord,
    faces: &[Face],
) -> Result<(), serde_json::Error> {
    let faces = Faces { faces, width: frame.width as f32, height: frame.height as f32 };
    serde_json::to_writer(&mut *line, &Line { schema: SCHEMA, frame, faces })?;
    line.push(b'\n');
    Ok(())
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    #[serde(flatten)]
    frame: &'a FrameRecord<'a>,
    faces: Faces<'a>,
}

struct Faces<'a> {
    faces: &'a [Face],
    width: f32,
    height: f32,
}

impl Serialize for Faces<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { width, height, .. } = self;
        let record = |face: &Face| FaceRecord {
            bounds: corners(&face.bounds),
            normalized: normalized(&face.bounds, *width, *height),
            score: face.confidence,
            landmarks: face.landmarks.map(|Landmarks(points)| points.map(|Point { x, y }| [x, y])),
            track: face.tracking.map(|tracking| Track {
                id: tracking.id,
                age: tracking.age,
                state: tracking.state.nick(),
            }),
        };
        serializer.collect_seq(self.faces.iter().map(record))
    }
}

#[derive(Serialize)]
struct FaceRecord {
    #[serde(rename = "box")]
    bounds: [f32; 4],
    #[serde(rename = "box_normalized")]
    normalized: [f32; 4],
    score: Option<f32>,
    landmarks: Option<[[f32; 2]; 5]>,
    track: Option<Track>,
}

#[derive(Serialize)]
struct Track {
    id: u64,
    age: u64,
    state: &'static str,
}

fn corners(bounds: &Rect) -> [f32; 4] {
    [bounds.x_min, bounds.y_min, bounds.x_max, bounds.y_max]
}

/// Divided, as multiplying by the inverse makes 0.099999994 of 20 / 200.
fn normalized(bounds: &Rect, width: f32, height: f32) -> [f32; 4] {
    let Rect { x_min, y_min, x_max, y_max } = bounds;
    [x_min / width, y_min / height, x_max / width, y_max / height]
}

fn rfc3339<S: Serializer>(nanoseconds: &Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(nanoseconds) = nanoseconds else { return serializer.serialize_none() };
    let since_1970 = std::time::Duration::from_nanos(*nanoseconds);
    let time = std::time::SystemTime::UNIX_EPOCH + since_1970;
    serializer.collect_str(&humantime::format_rfc3339_micros(time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::{Tracking, TrackingState};

    fn written(frame: &FrameRecord, faces: &[Face]) -> String {
        let mut line = Vec::new();
        write_line(&mut line, frame, faces).unwrap();
        String::from_utf8(line).unwrap()
    }

    const UNKNOWN: FrameRecord = FrameRecord {
        source: None,
        frame: 0,
        pts: None,
        stream_time: None,
        running_time: None,
        utc: None,
        width: 200,
        height: 100,
    };

    #[test]
    fn keys_are_in_their_order() {
        let frame = FrameRecord {
            source: Some("a \"b\".mp4"),
            frame: 7,
            pts: Some(1),
            stream_time: Some(2),
            running_time: Some(3),
            utc: Some(1_700_000_000_123_456_789),
            ..UNKNOWN
        };
        let points = [[1.0, 2.5], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, -10.0]];
        let face = Face {
            bounds: Rect::new(-1.0, 25.0, 50.5, 100.0),
            landmarks: Some(Landmarks(points.map(|[x, y]| Point { x, y }))),
            confidence: Some(0.9),
            tracking: Some(Tracking { id: 5, age: 6, state: TrackingState::Held }),
        };
        assert_eq!(
            written(&frame, &[face]),
            "{\"schema\":1,\"source\":\"a \\\"b\\\".mp4\",\"frame\":7,\"pts\":1,\"stream_time\":2,\
             \"running_time\":3,\"utc\":\"2023-11-14T22:13:20.123456Z\",\"width\":200,\"height\":100,\
             \"faces\":[{\"box\":[-1.0,25.0,50.5,100.0],\"box_normalized\":[-0.005,0.25,0.2525,1.0],\
             \"score\":0.9,\"landmarks\":[[1.0,2.5],[3.0,4.0],[5.0,6.0],[7.0,8.0],[9.0,-10.0]],\
             \"track\":{\"id\":5,\"age\":6,\"state\":\"held\"}}]}\n"
        );
    }

    #[test]
    fn what_is_not_known_or_no_number_is_null() {
        let bounds = Rect::new(f32::NAN, f32::INFINITY, 50.0, 100.0);
        let face = Face { bounds, confidence: Some(f32::NEG_INFINITY), ..Face::default() };
        assert_eq!(
            written(&UNKNOWN, &[face]),
            "{\"schema\":1,\"source\":null,\"frame\":0,\"pts\":null,\"stream_time\":null,\
             \"running_time\":null,\"utc\":null,\"width\":200,\"height\":100,\
             \"faces\":[{\"box\":[null,null,50.0,100.0],\"box_normalized\":[null,null,0.25,1.0],\
             \"score\":null,\"landmarks\":null,\"track\":null}]}\n"
        );
    }

    #[test]
    fn every_time_since_1970_can_be_written() {
        for (nanoseconds, expected) in
            [(0, "1970-01-01T00:00:00.000000Z"), (u64::MAX, "2554-07-21T23:34:33.709551Z")]
        {
            let frame = FrameRecord { utc: Some(nanoseconds), ..UNKNOWN };
            let line: serde_json::Value = serde_json::from_str(&written(&frame, &[])).unwrap();
            assert_eq!(line["utc"], expected);
        }
    }

    #[test]
    fn lines_follow_each_other() {
        let mut lines = Vec::new();
        for _ in 0..2 {
            write_line(&mut lines, &UNKNOWN, &[]).unwrap();
        }
        assert_eq!(lines.iter().filter(|&&byte| byte == b'\n').count(), 2);
        assert_eq!(lines.last(), Some(&b'\n'));
    }
}
