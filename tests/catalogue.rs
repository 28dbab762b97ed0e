// SPDX-License-Identifier: MIT OR Apache-2.0

//! Networks of models/catalogue.toml that `scripts/setup --model` has downloaded.

mod common;

use std::path::Path;

use gstretinaface::face::Face;

/// The network finds the face that the default one finds, also at other sizes than the one that its
/// exporter declared, and no face in a cup of coffee.
fn finds_the_face(test: &str, network: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("models/{network}.onnx"));
    if !path.exists() {
        eprintln!("SKIPPED: {test}: needs scripts/setup --model {network}");
        return;
    }
    let properties = format!("model-file=\"{}\"", path.display());
    let only = |faces: Vec<Face>| {
        let [face] = faces.try_into().expect("one face");
        face
    };
    let picture = common::media("astronaut.png");
    let expected = only(common::faces(&picture, "BGR", ""));
    // The face is 100 pixels wide, and networks differ by a few.
    let points = |face: &Face| face.landmarks.expect("landmarks").0;
    for scale in ["0.5", "1", "1.5"] {
        let properties = format!("{properties} scale={scale} max-size=0");
        let found = only(common::faces(&picture, "BGR", &properties));
        for (expected, found) in points(&expected).iter().zip(points(&found)) {
            let off = (expected.x - found.x).hypot(expected.y - found.y);
            assert!(off < 12.0, "{network} {scale}: {expected:?} {found:?}");
        }
    }
    assert_eq!(common::faces(&common::media("coffee.png"), "BGR", &properties).len(), 0);
}

#[test]
fn yunet_finds_the_face() {
    finds_the_face("yunet_finds_the_face", "yunet_2023mar");
}

#[test]
fn scrfd_finds_the_face() {
    finds_the_face("scrfd_finds_the_face", "scrfd_2.5g_kps");
}
