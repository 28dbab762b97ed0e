// SPDX-License-Identifier: MIT OR Apache-2.0

//! The examples of docs/reading-faces.md read what the detector found, in each language.

mod common;

use std::{
    env, fs,
    os::unix,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use gstretinaface::{
    face::{Face, Landmarks},
    geometry::Rect,
};
use image::{GenericImage, Rgb, RgbImage};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Debian's Python, which has the bindings of GStreamer.
const PYTHON: &str = "/usr/bin/python3";

/// A folder with a picture of four faces, and the plugin where GStreamer looks for plugins.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let plugin = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).expect("a folder");
        unix::fs::symlink(plugin, plugins.join("libgstretinaface.so")).expect("a link");

        let face = image::open(common::media("astronaut.png")).expect("scripts/setup").to_rgb8();
        let face = image::imageops::crop_imm(&face, 100, 0, 251, 256).to_image();
        let mut picture = RgbImage::new(502, 512);
        for (x, y) in [(0, 0), (251, 0), (0, 256), (251, 256)] {
            picture.copy_from(&face, x, y).expect("it is inside");
        }
        picture.save(folder.path().join("four.png")).expect("a file");
        Self(folder)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn picture(&self) -> RgbImage {
        image::open(self.file("four.png")).expect("a picture").to_rgb8()
    }

    /// What the detector finds in the picture.
    fn faces(&self) -> Vec<Face> {
        let faces = common::faces(&self.file("four.png"), "RGB", "");
        assert_eq!(faces.len(), 4);
        faces
    }

    fn output(&self, program: &mut Command) -> Output {
        program.env("GST_PLUGIN_PATH", self.file("plugins"));
        program.env("GST_REGISTRY", self.file("registry"));
        program.output().expect("it runs")
    }

    /// What a program prints.
    fn run(&self, program: &mut Command) -> String {
        let Output { status, stdout, stderr } = self.output(program);
        let log = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "{program:?}: {status}\n{log}");
        String::from_utf8(stdout).expect("UTF-8")
    }

    fn python(&self, example: &str, arguments: &[&Path]) -> String {
        self.run(&mut script(example, arguments))
    }
}

fn script(example: &str, arguments: &[&Path]) -> Command {
    let mut script = Command::new(PYTHON);
    // Compiled modules would be left in the checkout.
    script.arg("-B").arg(Path::new(ROOT).join("examples/python").join(example)).args(arguments);
    script
}

/// Whether the Python that a test needs is there. Prints a SKIPPED line otherwise.
fn has_python(test: &str) -> bool {
    let imports = "import numpy, gi; gi.require_version('GstVideo', '1.0'); \
                   from gi.repository import GstVideo";
    let python = Command::new(PYTHON).args(["-c", imports]).output();
    let found = python.is_ok_and(|output| output.status.success());
    if !found {
        eprintln!(
            "SKIPPED: {test}: needs Debian's python3-gi, python3-numpy, gir1.2-gst-plugins-base-1.0"
        );
    }
    found
}

/// The smallest box of whole pixels around a face: left, top, width, height.
fn region(Rect { x_min, y_min, x_max, y_max }: Rect) -> [u32; 4] {
    let (left, top) = (x_min.floor(), y_min.floor());
    [left, top, x_max.ceil() - left, y_max.ceil() - top].map(|value| value as u32)
}

/// What an example prints of a face in its first line, with the box as it has it, and for each landmark.
fn printed(face: &Face, corners: String, point: impl Fn(&str, f32, f32) -> String) -> String {
    let landmarks = face.landmarks.expect("five points").0;
    let points = Landmarks::NAMES.iter().zip(landmarks);
    let points: String = points.map(|(name, at)| point(name, at.x, at.y)).collect();
    format!("face at ({corners}), score {:.3}\n{points}", face.confidence.expect("a score"))
}

fn whole(face: &Face) -> String {
    region(face.bounds).map(|value| value.to_string()).join(", ")
}

fn named(name: &str, x: f32, y: f32) -> String {
    format!("    {name} at {x:.1}, {y:.1}\n")
}

#[test]
fn python_reads_every_face_of_a_frame() {
    if !has_python("python_reads_every_face_of_a_frame") {
        return;
    }
    let place = Place::new();
    let text = place.python("probe.py", &[&place.file("four.png")]);
    let expected: String =
        place.faces().iter().map(|face| printed(face, whole(face), named)).collect();
    assert_eq!(text, expected);
}

#[test]
fn numpy_has_the_pixels_of_the_faces() {
    if !has_python("numpy_has_the_pixels_of_the_faces") {
        return;
    }
    let place = Place::new();
    let picture = place.picture();
    let mut expected = "frame 0: 502x512, 4 faces\n".to_owned();
    for face in place.faces() {
        let [x, y, w, h] = region(face.bounds);
        let pixels = image::imageops::crop_imm(&picture, x, y, w, h).to_image();
        let mean = |channel: usize| {
            let sum: f64 = pixels.pixels().map(|pixel| f64::from(pixel.0[channel])).sum();
            sum / f64::from(w * h)
        };
        let [red, green, blue] = [0, 1, 2].map(mean);
        expected +=
            &format!("    mean color of the face at {x}, {y}: {red:.0} {green:.0} {blue:.0}\n");
    }
    assert_eq!(place.python("frames.py", &[&place.file("four.png")]), expected);
}

#[test]
fn python_says_what_cannot_be_read() {
    if !has_python("python_says_what_cannot_be_read") {
        return;
    }
    let place = Place::new();
    let letter = place.file("letter.txt");
    fs::write(&letter, "No picture, but a text of some length.\n".repeat(9)).expect("a file");
    for example in ["probe.py", "frames.py"] {
        for (file, expected) in [
            (&letter, "This appears to be a text file"),
            (&place.file("nonesuch.png"), "Resource not found"),
        ] {
            let Output { status, stderr, .. } = place.output(&mut script(example, &[file]));
            let log = String::from_utf8_lossy(&stderr);
            assert_eq!(status.code(), Some(1), "{example}: {log}");
            assert!(log.contains(expected), "{example}: {log}");
        }
    }
}

/// The picture that an example writes.
fn changed(place: &Place, example: &str) -> RgbImage {
    place.python(example, &[&place.file("four.png"), &place.file("out-%03d.png")]);
    assert!(!place.file("out-001.png").exists(), "one frame, one picture");
    image::open(place.file("out-000.png")).expect("a picture").to_rgb8()
}

/// The pixels inside a box, as their places in the frame.
fn inside([x, y, w, h]: [u32; 4]) -> impl Iterator<Item = (u32, u32)> {
    (y..y + h).flat_map(move |row| (x..x + w).map(move |column| (column, row)))
}

#[test]
fn blurred_faces_are_blocks_of_one_color_and_the_rest_is_as_it_was() {
    if !has_python("blurred_faces_are_blocks_of_one_color_and_the_rest_is_as_it_was") {
        return;
    }
    let place = Place::new();
    let (before, after) = (place.picture(), changed(&place, "blur.py"));
    let mut expected = before.clone();
    for face in place.faces() {
        let [x, y, w, h] = region(face.bounds);
        let size = (w.max(h) / 8) as usize;
        for (top, left) in (y..y + h)
            .step_by(size)
            .flat_map(|top| (x..x + w).step_by(size).map(move |left| (top, left)))
        {
            let (width, height) = ((size as u32).min(x + w - left), (size as u32).min(y + h - top));
            let block = [left, top, width, height];
            let mean = [0, 1, 2].map(|channel| {
                let values = inside(block).map(|(x, y)| u32::from(before[(x, y)][channel]));
                (values.sum::<u32>() / (width * height)) as u8
            });
            inside(block).for_each(|(x, y)| expected[(x, y)] = Rgb(mean));
        }
    }
    assert!(after == expected, "another picture");
}

#[test]
fn drawn_faces_have_a_frame_and_five_dots() {
    if !has_python("drawn_faces_have_a_frame_and_five_dots") {
        return;
    }
    let place = Place::new();
    let (before, after) = (place.picture(), changed(&place, "draw.py"));
    let (green, yellow) = (Rgb([0, 230, 118]), Rgb([255, 214, 10]));
    let mut expected = before;
    for face in place.faces() {
        let [x, y, w, h] = region(face.bounds);
        for (column, row) in inside([x, y, w, h]) {
            let from_edge = (column - x).min(x + w - 1 - column).min(row - y).min(y + h - 1 - row);
            if from_edge < 2 {
                expected[(column, row)] = green;
            }
        }
        for point in face.landmarks.expect("five points").0 {
            let (x, y) = (point.x.round_ties_even() as u32, point.y.round_ties_even() as u32);
            inside([x - 2, y - 2, 5, 5]).for_each(|at| expected[at] = yellow);
        }
    }
    assert!(after == expected, "another picture");
}

#[test]
fn c_reads_every_face_of_a_frame() {
    let place = Place::new();
    let mut flags = Command::new("pkg-config");
    flags.args(["--cflags", "--libs", "gstreamer-video-1.0"]);
    let flags = String::from_utf8(flags.output().expect("pkg-config").stdout).expect("UTF-8");
    let mut compile = Command::new("cc");
    compile.args(["-Wall", "-Werror", "-o"]).arg(place.file("probe"));
    compile.arg(Path::new(ROOT).join("examples/c/probe.c")).args(flags.split_whitespace());
    assert!(compile.status().expect("a C compiler, as Rust needs one").success());
    let text = place.run(Command::new(place.file("probe")).arg(place.file("four.png")));
    let coordinates =
        |name: &str, x: f32, y: f32| format!("    {name}_x {x:.1}\n    {name}_y {y:.1}\n");
    let expected: String =
        place.faces().iter().map(|face| printed(face, whole(face), coordinates)).collect();
    assert_eq!(text, expected);
}

/// A program of somebody else's, in a workspace of its own, made of the example and the manifest
/// that the documentation shows.
#[test]
fn a_rust_program_that_depends_on_the_crate_reads_every_face_of_a_frame() {
    let place = Place::new();
    let project = place.file("project");
    fs::create_dir_all(project.join("src")).expect("a folder");
    fs::create_dir_all(project.join(".cargo")).expect("a folder");
    let copy = |from: &str, to: &str| {
        fs::copy(Path::new(ROOT).join(from), project.join(to)).expect("a copy");
    };
    copy("examples/probe.rs", "src/main.rs");
    copy("Cargo.lock", "Cargo.lock");
    copy("models/retinaface_mv1_0.25.onnx", "faces.onnx");
    let documentation = fs::read_to_string(Path::new(ROOT).join("docs/reading-faces.md"));
    let documentation = documentation.expect("a text");
    let manifest = block(&documentation, "`Cargo.toml`");
    let manifest = manifest.replace("../gst-plugin-retinaface", ROOT);
    // What is built fastest.
    let profile = "[profile.dev]\ndebug = false\n";
    fs::write(project.join("Cargo.toml"), format!("{manifest}\n{profile}")).expect("a file");
    fs::write(project.join(".cargo/config.toml"), block(&documentation, "`.cargo/config.toml`"))
        .expect("a file");

    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--offline"]).current_dir(&project);
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("dependent");
    build.env("CARGO_TARGET_DIR", &target).env_remove("RETINAFACE_MODEL");
    assert!(build.status().expect("cargo").success());
    let program = target.join("debug/my-program");
    let text = place.run(Command::new(program).arg(place.file("four.png")));
    let corner = |face: &Face| format!("{:.1}, {:.1}", face.bounds.x_min, face.bounds.y_min);
    let expected: String =
        place.faces().iter().map(|face| printed(face, corner(face), named)).collect();
    assert_eq!(text, expected);
}

/// The fenced block that follows the line which ends in this name and a colon.
fn block(text: &str, name: &str) -> String {
    let (_, after) = text.split_once(&format!("{name}:\n\n```")).unwrap_or_else(|| {
        panic!("docs/reading-faces.md does not show {name}");
    });
    let (_language, code) = after.split_once('\n').expect("a block");
    code.split_once("```").expect("its end").0.to_owned()
}

#[test]
fn the_documentation_shows_the_examples_as_they_are() {
    let root = Path::new(ROOT);
    let documentation = fs::read_to_string(root.join("docs/reading-faces.md")).expect("a text");
    let folders = ["examples/python", "examples/c"].map(|folder| root.join(folder));
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("a folder"));
    let files = files.map(|entry| entry.expect("a file").path());
    let files: Vec<_> = files.chain([root.join("examples/probe.rs")]).collect();
    assert_eq!(files.iter().filter(|file| file.is_file()).count(), 7, "{files:?}");
    for file in files {
        let name = file.strip_prefix(root).expect("in the root").display();
        let code = fs::read_to_string(&file).expect("a text");
        assert!(code.lines().count() <= 60, "{name} is long for an example");
        assert_eq!(block(&documentation, &format!("[{name}](../{name})")), code, "{name}");
    }
}

/// What is read from a message: with a count, and the frame's size.
#[test]
fn gst_launch_prints_how_many_faces_there_are() {
    let place = Place::new();
    let mut launch = Command::new("gst-launch-1.0");
    launch.args(["-m", "filesrc"]).arg(format!("location={}", place.file("four.png").display()));
    launch.args(
        "! pngdec ! videoconvert ! retinafacedetect messages=on-change ! fakesink".split(' '),
    );
    let text = place.run(&mut launch);
    let message = text.lines().find(|line| line.contains("facedetect, ")).expect("a message");
    for field in ["width=(uint)502", "height=(uint)512", "count=(uint)4"] {
        assert!(message.contains(field), "{message}");
    }
}
