// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pictures, the faces that are annotated in them, and those that a detector found.

use std::collections::HashMap;

/// Left eye, right eye, nose, left and right corner of the mouth, as `[x, y]` in pixels; left is the
/// picture's left.
pub type Points = [[f64; 2]; 5];

/// Edges of a box in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    pub x_min: f64,
    pub y_min: f64,
    pub x_max: f64,
    pub y_max: f64,
}

impl Bounds {
    pub const fn new(x_min: f64, y_min: f64, x_max: f64, y_max: f64) -> Self {
        Self { x_min, y_min, x_max, y_max }
    }

    /// From the upper left corner, width and height.
    pub const fn with_size([x, y, width, height]: [f64; 4]) -> Self {
        Self::new(x, y, x + width, y + height)
    }

    pub fn width(&self) -> f64 {
        self.x_max - self.x_min
    }

    pub fn height(&self) -> f64 {
        self.y_max - self.y_min
    }
}

/// What the numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Corners {
    /// Its edges, as in COCO: from 0 to 10 are ten pixels.
    Edges,
    /// Its first and last pixels, as in PASCAL VOC and WIDER FACE: from 0 to 9 are ten pixels.
    Pixels,
}

impl Corners {
    /// The pixels in a box, and those of two boxes in common.
    fn areas(self, a: &Bounds, b: &Bounds) -> (f64, f64, f64) {
        let last = if self == Self::Pixels { 1.0 } else { 0.0 };
        let area = |bounds: &Bounds| (bounds.width() + last) * (bounds.height() + last);
        let width = a.x_max.min(b.x_max) - a.x_min.max(b.x_min) + last;
        let height = a.y_max.min(b.y_max) - a.y_min.max(b.y_min) + last;
        let both = if width > 0.0 && height > 0.0 { width * height } else { 0.0 };
        (area(a), area(b), both)
    }

    /// Intersection over union.
    pub fn iou(self, a: &Bounds, b: &Bounds) -> f64 {
        let (a, b, both) = self.areas(a, b);
        if both > 0.0 { both / (a + b - both) } else { 0.0 }
    }

    /// The part of `a` that is inside `b`.
    pub fn inside(self, a: &Bounds, b: &Bounds) -> f64 {
        let (a, _, both) = self.areas(a, b);
        if both > 0.0 { both / a } else { 0.0 }
    }
}

/// A face as it is annotated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Face {
    pub bounds: Bounds,
    pub points: Option<Points>,
    /// A region with any number of faces (`iscrowd` of COCO), in which none is to be found.
    pub crowd: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// Its path, as the annotations have it; the file's extension may be missing.
    pub name: String,
    /// By which COCO's detections name it.
    pub id: Option<i64>,
    pub faces: Vec<Face>,
}

/// The faces that have to be found; finding others is no error and no merit.
#[derive(Clone, Debug, PartialEq)]
pub struct Subset {
    pub name: String,
    /// Whether a face counts: for each picture, for each of its faces.
    pub counts: Vec<Vec<bool>>,
}

impl Subset {
    pub fn faces(&self) -> usize {
        self.counts.iter().flatten().filter(|counts| **counts).count()
    }
}

/// How average precision is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    /// As WIDER FACE's toolkit does.
    Wider,
    /// As PASCAL VOC has done it since 2010.
    Voc,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub pictures: Vec<Picture>,
    pub subsets: Vec<Subset>,
    pub corners: Corners,
    /// By which the data set's figures are published.
    pub protocol: Protocol,
}

impl Dataset {
    /// With one subset, of all faces but those of which it is said here that they do not count.
    pub fn new(pictures: Vec<(Picture, Vec<bool>)>, corners: Corners, protocol: Protocol) -> Self {
        let (pictures, counts) = pictures.into_iter().unzip();
        let subsets = vec![Subset { name: "all".to_owned(), counts }];
        Self { pictures, subsets, corners, protocol }
    }
}

/// A face that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    pub bounds: Bounds,
    pub score: f64,
    pub points: Option<Points>,
}

/// Finds pictures by names that have more or fewer folders in front than the annotations have, and
/// another extension or none.
pub struct Names(HashMap<String, Option<usize>>);

impl Names {
    pub fn new(pictures: &[Picture]) -> Self {
        let mut names = HashMap::new();
        for (index, picture) in pictures.iter().enumerate() {
            let name = without_extension(&picture.name);
            for end in ends(name) {
                let entry = names.entry(end.to_owned()).or_insert(Some(index));
                if *entry != Some(index) {
                    *entry = None;
                }
            }
        }
        // A whole name is never in doubt.
        for (index, picture) in pictures.iter().enumerate() {
            names.insert(without_extension(&picture.name).to_owned(), Some(index));
        }
        Self(names)
    }

    /// The picture's index; `None` where there is none, or several of a name without its folders.
    pub fn find(&self, name: &str) -> Option<usize> {
        ends(without_extension(name)).find_map(|end| self.0.get(end).copied()).flatten()
    }
}

/// `a/b/c`, `b/c`, `c`.
pub fn ends(name: &str) -> impl Iterator<Item = &str> {
    let starts = name.match_indices(['/', '\\']).map(|(separator, _)| separator + 1);
    std::iter::once(0).chain(starts).map(|start| &name[start..])
}

/// Names may have dots, so only what pictures and lists are called is an extension.
pub fn without_extension(name: &str) -> &str {
    let extensions = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "txt", "xml"];
    match name.rsplit_once('.') {
        Some((stem, end)) if extensions.contains(&end.to_ascii_lowercase().as_str()) => stem,
        _ => name,
    }
}

/// For tests of what is computed of data sets.
#[cfg(test)]
pub mod examples {
    use super::*;

    /// The faces of each picture: where they are, and whether they count.
    pub fn dataset(
        pictures: &[&[(f64, bool)]],
        at: fn(f64) -> Bounds,
        corners: Corners,
        protocol: Protocol,
    ) -> Dataset {
        let picture = |faces: &&[(f64, bool)]| {
            let of = |&(x, _): &(f64, bool)| Face { bounds: at(x), ..Face::default() };
            let counts = faces.iter().map(|(_, counts)| *counts).collect();
            let faces = faces.iter().map(of).collect();
            (Picture { faces, ..Picture::default() }, counts)
        };
        Dataset::new(pictures.iter().map(picture).collect(), corners, protocol)
    }

    pub fn assert_near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-12, "{value} for {expected}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_of_edges_and_of_pixels() {
        let square = Bounds::new(0.0, 0.0, 9.0, 9.0);
        let table = [
            // 4·9 of 81 + 81 − 36; 5·10 of 100 + 100 − 50.
            ([5.0, 0.0, 14.0, 9.0], 36.0 / 126.0, 50.0 / 150.0),
            // 3·1 of 81; 4·2 of 100.
            ([2.0, 3.0, 5.0, 4.0], 3.0 / 81.0, 8.0 / 100.0),
            // Side by side, and with the last pixel in common.
            ([9.0, 0.0, 18.0, 9.0], 0.0, 10.0 / 190.0),
            ([10.0, 0.0, 19.0, 9.0], 0.0, 0.0),
            ([30.0, 40.0, 39.0, 49.0], 0.0, 0.0),
        ];
        for ([x_min, y_min, x_max, y_max], edges, pixels) in table {
            let other = Bounds::new(x_min, y_min, x_max, y_max);
            for (corners, expected) in [(Corners::Edges, edges), (Corners::Pixels, pixels)] {
                assert_eq!(corners.iou(&square, &other), expected, "{corners:?} {other:?}");
                assert_eq!(corners.iou(&other, &square), expected, "{corners:?} {other:?}");
            }
        }
        let point = Bounds::new(3.0, 3.0, 3.0, 3.0);
        assert_eq!(Corners::Edges.iou(&point, &point), 0.0);
        assert_eq!(Corners::Pixels.iou(&point, &point), 1.0);
    }

    #[test]
    fn the_part_inside() {
        let region = Bounds::new(0.0, 0.0, 100.0, 100.0);
        let face = Bounds::new(95.0, 0.0, 105.0, 10.0);
        assert_eq!(Corners::Edges.inside(&face, &region), 0.5);
        assert_eq!(Corners::Edges.inside(&region, &face), 0.005);
    }

    #[test]
    fn names_match_at_their_ends() {
        let picture = |name: &str| Picture { name: name.to_owned(), ..Picture::default() };
        let names = Names::new(&[
            picture("0--Parade/a.b_1.jpg"),
            picture("1--Riot/a.b_1"),
            picture("val/images/only.png"),
            picture("twice.jpg"),
            picture("sub/twice.jpg"),
        ]);
        let table = [
            ("0--Parade/a.b_1.jpg", Some(0)),
            ("0--Parade/a.b_1.txt", Some(0)),
            ("/data/1--Riot/a.b_1.jpg", Some(1)),
            ("a.b_1.jpg", None),
            ("2--Other/a.b_1", None),
            ("only.jpg", Some(2)),
            ("/elsewhere/only.JPEG", Some(2)),
            ("twice", Some(3)),
            ("sub/twice", Some(4)),
            ("other/twice", Some(3)),
            ("missing", None),
            ("", None),
        ];
        for (name, expected) in table {
            assert_eq!(names.find(name), expected, "{name}");
        }
    }
}
