// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as text for people.

use std::io::{self, Write};

use gstretinaface::face::Face;

/// Writes the faces of one frame, all at once.
pub fn write_frame(
    writer: &mut dyn Write,
    source: &str,
    frame: u64,
    faces: &[Face],
) -> io::Result<()> {
    let count = match faces.len() {
        1 => "1 face".to_owned(),
        count => format!("{count} faces"),
    };
    let mut text = format!("{source}, frame {frame}: {count}\n");
    for face in faces {
        let bounds = &face.bounds;
        text += &format!(
            "  {:.2} at {:.0}, {:.0}, {:.0} × {:.0} pixels",
            face.confidence.unwrap_or_default(),
            bounds.x_min,
            bounds.y_min,
            bounds.width(),
            bounds.height()
        );
        if let Some(tracking) = &face.tracking {
            text += &format!(", face {}", tracking.id);
        }
        text += "\n";
    }
    writer.write_all(text.as_bytes())?;
    writer.flush()
}

#[cfg(test)]
mod tests {
    use gstretinaface::{
        face::{Tracking, TrackingState},
        geometry::Rect,
    };

    use super::*;

    #[test]
    fn a_frame_is_a_line_and_each_face_another() {
        let face = Face {
            bounds: Rect::new(10.4, -2.0, 30.4, 40.6),
            confidence: Some(0.986),
            ..Face::default()
        };
        let tracking = Some(Tracking { id: 7, age: 0, state: TrackingState::Detected });
        let followed = Face { tracking, ..face };
        for (faces, expected) in [
            (vec![], "a.mp4, frame 3: 0 faces\n"),
            (vec![face], "a.mp4, frame 3: 1 face\n  0.99 at 10, -2, 20 × 43 pixels\n"),
            (
                vec![face, followed],
                "a.mp4, frame 3: 2 faces\n  0.99 at 10, -2, 20 × 43 pixels\n  \
                 0.99 at 10, -2, 20 × 43 pixels, face 7\n",
            ),
        ] {
            let mut text = Vec::new();
            write_frame(&mut text, "a.mp4", 3, &faces).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }
}
