// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces that are missed stay hidden: `retinafacetrack` with `look-ahead` and `hold` before
//! `retinafaceblur`.

use gst_check::Harness;
use gstretinaface::{
    geometry::{Point, Rect},
    meta,
};

use super::{CAPS, common, face, frame};

/// The pixels in the ellipse inside a box, as indices of a frame so many pixels wide and high.
fn pixels_of(bounds: &Rect, (width, height): (usize, usize)) -> Vec<usize> {
    let middle = bounds.middle();
    let (half_width, half_height) = (bounds.width() / 2.0, bounds.height() / 2.0);
    let is_inside = |index: &usize| {
        let (x, y) = ((index % width) as f32 + 0.5, (index / width) as f32 + 0.5);
        ((x - middle.x) / half_width).powi(2) + ((y - middle.y) / half_height).powi(2) <= 1.0
    };
    (0..width * height).filter(is_inside).collect()
}

/// Neighbours differ as much as they can, so that nothing blurred is as it was.
fn checkerboard() -> Vec<u8> {
    let (even, odd) = ([0, 255], [255, 0]);
    [even, odd].map(|row| row.repeat(80)).concat().repeat(60)
}

/// Where the person's face is.
fn middle(number: usize) -> Point {
    Point { x: 30.0 + 0.5 * number as f32, y: 60.0 }
}

/// The frames in which a pixel of a person's face can be seen. In `story`, a character a frame, the face
/// is detected (`x`), weakly detected (`w`), or missed (`.`); nobody is there where it is a blank.
fn clear_frames(properties: &str, story: &str) -> Vec<usize> {
    common::init();
    let mut harness = Harness::new_parse(&format!("retinafacetrack {properties} ! retinafaceblur"));
    harness.set_src_caps(CAPS.parse().expect("caps"));
    for (number, character) in story.chars().enumerate() {
        let Point { x, y } = middle(number);
        let detection = match character {
            'x' => Some(face(x, y, 0.9)),
            'w' => Some(face(x, y, 0.3)),
            _ => None,
        };
        let mut buffer = frame(number as u64, detection.as_slice());
        buffer.make_mut().replace_all_memory(gst::Memory::from_mut_slice(checkerboard()));
        assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok));
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let before = checkerboard();
    let is_clear = |(number, character): (usize, char)| {
        let buffer = harness.pull().expect("every frame leaves");
        let after = buffer.map_readable().expect("memory");
        let Point { x, y } = middle(number);
        let pixels = pixels_of(&face(x, y, 1.0).bounds, (160, 120));
        let can_be_seen = pixels.iter().any(|&index| after[index].abs_diff(before[index]) < 50);
        (character != ' ' && can_be_seen).then_some(number)
    };
    story.chars().enumerate().filter_map(is_clear).collect()
}

#[test]
fn a_face_that_the_detector_misses_is_hidden() {
    for story in [
        // At the beginning, in between, at the end.
        "  ....xxxx  ",
        "  x....x   ",
        "  xxxx.......xxxx  ",
        "  xxxx...  ",
        // Every other frame, and single frames only.
        "  .x.x.x.x.x.x.x.  ",
        "    ....x...   ",
        // Half hidden, for long.
        "  xxxwwwwwwwwwwwwww  ",
        "  ....x...w..w...w..  ",
        // There from the first frame to the last.
        "....xxx.......xxx...",
    ] {
        let clear = clear_frames("look-ahead=4 hold=3", story);
        assert!(clear.is_empty(), "{story}: {clear:?}");
    }
}

/// What the other tests rest on: that a face would be seen otherwise.
#[test]
fn a_face_that_is_missed_for_longer_than_that_is_not() {
    for (properties, story, clear) in [
        ("look-ahead=4 hold=3", "  .....xxxx  ", vec![2]),
        ("look-ahead=4 hold=3", "  xxxx........xxxx  ", vec![9]),
        ("look-ahead=4 hold=3", "  xxxx....  ", vec![9]),
        ("look-ahead=4 hold=3", "  wwww  ", vec![2, 3, 4, 5]),
        ("look-ahead=0 hold=3", "  .x....x...  ", vec![2, 7]),
        ("look-ahead=4 hold=0", "  ....x....x.  ", vec![12]),
        ("look-ahead=0 hold=0", "  .x.x.  ", vec![2, 4, 6]),
    ] {
        assert_eq!(clear_frames(properties, story), clear, "{properties}: {story}");
    }
}

/// How much of a person's face is hidden in each frame of a video, where they are on every one, with
/// the detections of some frames left out.
fn hidden_shares(properties: &str, is_missed: impl Fn(usize) -> bool) -> Vec<f32> {
    let frames = common::run(&format!(
        "filesrc location=\"{}\" ! decodebin ! videoconvert ! video/x-raw,format=GRAY8 ! \
         retinafacedetect score-threshold=0.2 ! appsink name=sink",
        common::media("carphone_pristine.mp4").display()
    ));
    let frames = frames.expect("the video plays");
    let caps = frames[0].caps().expect("caps").to_owned();
    let info = gst_video::VideoInfo::from_caps(&caps).expect("video");
    let size = (info.width() as usize, info.height() as usize);
    let mut harness = Harness::new_parse(&format!(
        "retinafacetrack {properties} ! retinafaceblur mode=fill color=0xffffffff"
    ));
    harness.set_src_caps(caps);
    let mut people = Vec::new();
    for (number, frame) in frames.iter().enumerate() {
        let frame = frame.buffer().expect("a buffer");
        let faces = meta::faces(frame);
        people.push(faces[0].bounds);
        let mut pixels = frame.map_readable().expect("memory").to_vec();
        // White is what is hidden.
        pixels.iter_mut().for_each(|pixel| *pixel = (*pixel).min(254));
        let mut buffer = gst::Buffer::from_mut_slice(pixels);
        let with_faces = buffer.make_mut();
        with_faces.set_pts(frame.pts());
        for face in faces.iter().filter(|_| !is_missed(number)) {
            meta::attach(with_faces, face, info.width(), info.height());
        }
        assert_eq!(harness.push(buffer), Ok(gst::FlowSuccess::Ok));
    }
    assert!(harness.push_event(gst::event::Eos::new()));
    let share = |bounds: &Rect| {
        let buffer = harness.pull().expect("every frame leaves");
        let after = buffer.map_readable().expect("memory");
        let stride = after.len() / size.1;
        let pixels = pixels_of(bounds, (stride, size.1));
        let hidden = pixels.iter().filter(|&&index| after[index] == 255).count();
        hidden as f32 / pixels.len() as f32
    };
    people.iter().map(share).collect()
}

#[test]
fn a_person_in_a_video_is_hidden_where_the_detector_is_made_to_miss_them() {
    let is_missed = |number: usize| {
        let runs = [0..10, 30..45, 58..60, 106..120];
        runs.iter().any(|run| run.contains(&number)) || (number > 60 && !number.is_multiple_of(4))
    };
    let shares = hidden_shares("look-ahead=10 hold=15", is_missed);
    assert_eq!(shares.len(), 120);
    for (number, share) in shares.iter().enumerate() {
        assert!(*share > 0.9, "{share} of the face in frame {number}");
    }
    let shares = hidden_shares("look-ahead=0 hold=0", is_missed);
    for (number, share) in shares.iter().enumerate() {
        assert_eq!(*share < 0.1, is_missed(number), "{share} of the face in frame {number}");
    }
}
