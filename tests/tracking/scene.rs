// SPDX-License-Identifier: MIT OR Apache-2.0

//! A video in which it is known who is where: heads, cut out of pictures, that move, pass each other and
//! disappear behind things.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    path::Path,
    process::Command,
};

use gst::prelude::*;
use gstretinaface::{
    face::Face,
    geometry::{Point, Rect},
    meta,
};
use image::{RgbImage, imageops};

use super::{common, ms, parse, tracking};

const SIZE: (u32, u32) = (480, 320);
const FRAMES: u64 = 150;

/// A picture of a head, and where in it the face is.
struct Head {
    picture: RgbImage,
    face: Rect,
}

impl Head {
    /// Cut out of a picture around the face that the detector finds there.
    fn cut(picture: &RgbImage, face: &Face) -> Self {
        let around = face.bounds.expand(0.35).clip(picture.width() as f32, picture.height() as f32);
        let (x, y) = (around.x_min.round(), around.y_min.round());
        let (width, height) = (around.width().floor() as u32, around.height().floor() as u32);
        let picture = imageops::crop_imm(picture, x as u32, y as u32, width, height).to_image();
        let Rect { x_min, y_min, x_max, y_max } = face.bounds;
        Self { picture, face: Rect::new(x_min - x, y_min - y, x_max - x, y_max - y) }
    }

    fn mirrored(&self) -> Self {
        let width = self.picture.width() as f32;
        let Rect { x_min, y_min, x_max, y_max } = self.face;
        let face = Rect::new(width - x_max, y_min, width - x_min, y_max);
        Self { picture: imageops::flip_horizontal(&self.picture), face }
    }
}

/// Somebody with a head, in front of all before.
struct Person {
    head: usize,
    frames: std::ops::Range<u64>,
    /// Middle and height of the face in a frame.
    path: fn(f32) -> (f32, f32, f32),
}

/// Two who pass each other, one whom somebody passes in front of, one who comes nearer and leaves the
/// frame, one who comes later, and one behind a pillar for a moment.
fn people() -> Vec<Person> {
    let whole = 0..FRAMES;
    vec![
        Person { head: 0, frames: whole.clone(), path: |t| (50.0 + 2.5 * t, 60.0, 50.0) },
        Person { head: 1, frames: whole.clone(), path: |t| (430.0 - 2.5 * t, 75.0, 56.0) },
        Person { head: 2, frames: whole.clone(), path: |_| (240.0, 160.0, 54.0) },
        Person { head: 3, frames: 20..FRAMES, path: |t| (-40.0 + 4.0 * t, 175.0, 60.0) },
        Person {
            head: 0,
            frames: whole,
            path: |t| (60.0 + 0.3 * t, 260.0 - 0.2 * t, 40.0 + 0.2 * t),
        },
        Person { head: 2, frames: 40..FRAMES, path: |t| (520.0 - 2.0 * t, 270.0, 52.0) },
    ]
}

/// Somebody, seen in a frame.
struct Seen {
    person: usize,
    face: Rect,
}

/// Draws a frame: the picture, and the faces of which at least half is to be seen.
fn draw(heads: &[Head], people: &[Person], number: u64) -> (RgbImage, Vec<Seen>) {
    let mut frame = RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let shade = 90 + (x / 8 + y / 4) as u8 % 60;
        image::Rgb([shade, shade + 20, shade / 2])
    });
    let mut seen: Vec<Seen> = Vec::new();
    let mut in_front: Vec<(usize, Rect)> = Vec::new();
    for (person, Person { head, path, .. }) in
        people.iter().enumerate().filter(|(_, person)| person.frames.contains(&number))
    {
        let Head { picture, face } = &heads[*head];
        let (x, y, height) = path(number as f32);
        let scale = height / face.height();
        let side = |side: u32| ((side as f32 * scale).round() as u32).max(1);
        let (width, height) = (side(picture.width()), side(picture.height()));
        let scaled = imageops::resize(picture, width, height, imageops::FilterType::Triangle);
        let corner = Point {
            x: (x - face.middle().x * scale).round(),
            y: (y - face.middle().y * scale).round(),
        };
        imageops::overlay(&mut frame, &scaled, corner.x as i64, corner.y as i64);
        let place = face.scale(scale, scale);
        let place = Rect::new(
            corner.x + place.x_min,
            corner.y + place.y_min,
            corner.x + place.x_max,
            corner.y + place.y_max,
        );
        seen.push(Seen { person, face: place });
        let (width, height) = (width as f32, height as f32);
        in_front.push((person, Rect::new(corner.x, corner.y, corner.x + width, corner.y + height)));
    }
    let pillar = Rect::new(400.0, 230.0, 430.0, 320.0);
    let grey = RgbImage::from_pixel(30, 90, image::Rgb([70, 70, 80]));
    imageops::overlay(&mut frame, &grey, 400, 230);
    in_front.push((usize::MAX, pillar));
    seen.retain(|seen| visible(seen, &in_front) >= 0.5);
    (frame, seen)
}

/// The share of a face that is inside the frame and behind nothing.
fn visible(seen: &Seen, in_front: &[(usize, Rect)]) -> f32 {
    let Rect { x_min, y_min, .. } = seen.face;
    let (width, height) = (seen.face.width(), seen.face.height());
    let frame = Rect::new(0.0, 0.0, SIZE.0 as f32, SIZE.1 as f32);
    let points = (0..20).flat_map(|x| (0..20).map(move |y| (x as f32 + 0.5, y as f32 + 0.5)));
    let points =
        points.map(|(x, y)| Point { x: x_min + x * width / 20.0, y: y_min + y * height / 20.0 });
    let hidden = |point: Point| {
        in_front.iter().any(|(person, place)| *person > seen.person && place.contains(point))
    };
    points.filter(|point| frame.contains(*point) && !hidden(*point)).count() as f32 / 400.0
}

/// Heads from the pictures that scripts/setup downloads: two people, as they are and mirrored.
fn heads() -> Vec<Head> {
    let astronaut = image::open(common::media("astronaut.png")).expect("scripts/setup").to_rgb8();
    let face = common::faces(&common::media("astronaut.png"), "RGB", "")[0];
    let astronaut = Head::cut(&astronaut, &face);
    let samples = common::run(&format!(
        "filesrc location=\"{}\" ! decodebin ! videoconvert ! video/x-raw,format=RGB,width=176 ! \
         retinafacedetect ! appsink name=sink",
        common::media("carphone_pristine.mp4").display()
    ));
    let sample = samples.expect("the video plays").remove(20);
    let buffer = sample.buffer().expect("a buffer");
    let info = gst_video::VideoInfo::from_caps(sample.caps().expect("caps")).expect("caps");
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).expect("a frame");
    let (rows, stride) = (frame.plane_data(0).expect("a plane"), info.stride()[0] as usize);
    let carphone = RgbImage::from_fn(info.width(), info.height(), |x, y| {
        let pixel = &rows[y as usize * stride + 3 * x as usize..];
        image::Rgb([pixel[0], pixel[1], pixel[2]])
    });
    let carphone = Head::cut(&carphone, &meta::faces(buffer)[0]);
    let mirrored = [astronaut.mirrored(), carphone.mirrored()];
    [astronaut, carphone].into_iter().chain(mirrored).collect()
}

/// The frames as the elements leave them.
fn play(frames: &[RgbImage], elements: &str) -> Vec<Vec<Face>> {
    let pipeline = parse(&format!(
        "appsrc name=source format=time \
         caps=video/x-raw,format=RGB,width={},height={},framerate=25/1 ! {elements} ! \
         appsink name=sink sync=false",
        SIZE.0, SIZE.1
    ));
    let source = pipeline.by_name("source").and_downcast::<gst_app::AppSrc>().expect("a source");
    let sink = pipeline.by_name("sink").and_downcast::<gst_app::AppSink>().expect("a sink");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    for (number, frame) in (0..).zip(frames) {
        let mut buffer = gst::Buffer::from_slice(frame.as_raw().clone());
        let timed = buffer.make_mut();
        timed.set_pts(ms(40 * number));
        timed.set_duration(ms(40));
        source.push_buffer(buffer).expect("it takes frames");
    }
    source.end_of_stream().expect("an end");
    let samples = std::iter::from_fn(|| sink.pull_sample().ok());
    let faces = samples.map(|sample| meta::faces(sample.buffer().expect("a buffer"))).collect();
    pipeline.set_state(gst::State::Null).expect("it stops");
    faces
}

/// Lines of frame, id, x, y, width and height.
fn lines<'a>(faces: impl Iterator<Item = (usize, u64, &'a Rect)>) -> String {
    faces.fold(String::new(), |mut text, (frame, id, face)| {
        let Rect { x_min, y_min, .. } = face;
        let (width, height) = (face.width(), face.height());
        writeln!(text, "{frame},{id},{x_min},{y_min},{width},{height}").expect("a string");
        text
    })
}

/// IDF1 and the number of id switches as py-motmetrics computes them.
fn judge(expected: &[Vec<Seen>], found: &[Vec<Face>]) -> Option<(f64, u64)> {
    let python = env::var_os("RETINAFACE_PYTHON").unwrap_or_else(|| OsString::from("python3"));
    let imports = Command::new(&python).args(["-c", "import motmetrics"]).output();
    if !imports.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "SKIPPED: known_people_keep_their_ids: IDF1 needs a python3 with motmetrics, which \
             RETINAFACE_PYTHON may name"
        );
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let [truth, tracks] = ["truth", "tracks"].map(|name| folder.path().join(name));
    let expected = expected.iter().enumerate();
    let expected =
        expected.flat_map(|(n, seen)| seen.iter().map(move |s| (n, s.person as u64, &s.face)));
    fs::write(&truth, lines(expected)).expect("a file");
    let found = found.iter().enumerate();
    let found = found
        .flat_map(|(n, faces)| faces.iter().map(move |face| (n, tracking(face).id, &face.bounds)));
    fs::write(&tracks, lines(found)).expect("a file");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tracking/idf1.py");
    let output = Command::new(&python).arg("-B").arg(script).args([truth, tracks]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    Some((answer["idf1"].as_f64()?, answer["switches"].as_u64()?))
}

/// With RETINAFACE_SCENE, the frames are written to the folder of that name, to be looked at.
#[test]
fn known_people_keep_their_ids() {
    let (heads, people) = (heads(), people());
    let (frames, seen): (Vec<_>, Vec<_>) =
        (0..FRAMES).map(|number| draw(&heads, &people, number)).unzip();
    if let Some(folder) = env::var_os("RETINAFACE_SCENE") {
        for (number, frame) in frames.iter().enumerate() {
            let file = Path::new(&folder).join(format!("{number:03}.png"));
            frame.save(file).expect("a picture");
        }
    }
    for (detect, track) in [
        ("score-threshold=0.2", "hold=5"),
        ("score-threshold=0.2 inference-interval=3", "hold=5"),
        ("score-threshold=0.2 inference-interval=3", "hold=5 look-ahead=5"),
    ] {
        let what = format!("{detect} ! {track}");
        let found = play(&frames, &format!("retinafacedetect {detect} ! retinafacetrack {track}"));
        assert_eq!(found.len(), frames.len());
        let mut ids: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
        for (seen, faces) in seen.iter().zip(&found) {
            for Seen { person, face } in seen {
                let nearest =
                    faces.iter().max_by(|a, b| a.bounds.iou(face).total_cmp(&b.bounds.iou(face)));
                if let Some(nearest) = nearest.filter(|found| found.bounds.iou(face) > 0.5) {
                    ids.entry(*person).or_default().insert(tracking(nearest).id);
                }
            }
        }
        println!("{what}: {ids:?}");
        assert_eq!(ids.len(), people.len(), "{what}: everybody is found");
        for (person, ids) in &ids {
            assert_eq!(ids.len(), 1, "{what}: {person} is {ids:?}");
        }
        let Some((idf1, switches)) = judge(&seen, &found) else { continue };
        println!("{what}: IDF1 {idf1}, {switches} switches");
        assert!(idf1 >= 0.95 && switches == 0, "{what}: IDF1 {idf1}, {switches} switches");
    }
}
