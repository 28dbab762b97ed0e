// SPDX-License-Identifier: MIT OR Apache-2.0

//! Files of detections: WIDER FACE's text, a file a picture; the lines of `retinaface-faces --json` and like
//! JSON; the list of COCO's results.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Component, Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    annotations::{Choice, coco, json as project_json, text},
    common::Error,
    dataset::{Bounds, Dataset, Detection, Names, Picture, without_extension},
};

/// What a file or folder has for each picture of the data set.
#[derive(Debug, PartialEq)]
pub struct Read {
    pub detections: Vec<Vec<Detection>>,
    /// Of which pictures it has nothing, not even that nothing was found.
    pub missing: Vec<usize>,
    /// Pictures of it that are not annotated.
    pub unknown: Vec<String>,
}

pub fn read(path: &Path, dataset: &Dataset, choice: &Choice) -> Result<Read, Error> {
    let found =
        if path.is_dir() { read_folder(path, dataset)? } else { read_json(path, dataset, choice)? };
    if found.missing.len() == dataset.pictures.len() {
        let first = dataset.pictures.first().map_or("", |picture| &picture.name);
        let path = path.display();
        return Err(
            format!("{path}: has no detections for any annotated picture, as {first}").into()
        );
    }
    Ok(found)
}

/// A folder with `EVENT/NAME.txt` for `EVENT/NAME.jpg`.
fn read_folder(folder: &Path, dataset: &Dataset) -> Result<Read, Error> {
    let mut read = Read { detections: Vec::new(), missing: Vec::new(), unknown: Vec::new() };
    for (index, picture) in dataset.pictures.iter().enumerate() {
        let path = text_file(folder, &picture.name);
        if !path.is_file() {
            read.missing.push(index);
            read.detections.push(Vec::new());
            continue;
        }
        let found = parse_text(&text(&path)?);
        read.detections.push(found.map_err(|err| format!("{}: {err}", path.display()))?);
    }
    Ok(read)
}

/// Always inside the folder, also for names that lead elsewhere.
fn text_file(folder: &Path, picture: &str) -> PathBuf {
    let name = format!("{}.txt", without_extension(picture));
    let inside = |component: &Component| matches!(component, Component::Normal(_));
    folder.join(Path::new(&name).components().filter(inside).collect::<PathBuf>())
}

/// The picture's name, how many faces were found, and a row `x y width height score` for each.
fn parse_text(text: &str) -> Result<Vec<Detection>, Error> {
    let mut lines = text.lines().map(str::trim).enumerate().skip(1);
    let count = lines.next().map(|(_, line)| line).unwrap_or_default();
    let count: usize =
        count.parse().map_err(|_| format!("line 2: {count:?} instead of the number of faces"))?;
    let mut found = Vec::new();
    for (index, line) in lines.filter(|(_, line)| !line.is_empty()) {
        let numbers = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
        let Some(&[x, y, width, height, score]) = numbers.ok().as_deref().filter(|n| finite(n))
        else {
            let line_number = index + 1;
            return Err(
                format!("line {line_number}: {line:?} instead of x y width height score").into()
            );
        };
        let bounds = Bounds::with_size([x, y, width, height]);
        found.push(Detection { bounds, score, points: None });
    }
    if found.len() == count {
        return Ok(found);
    }
    Err(format!("line 2 says {count} faces, but {} follow", found.len()).into())
}

fn finite(numbers: &[f64]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

fn read_json(path: &Path, dataset: &Dataset, choice: &Choice) -> Result<Read, Error> {
    let place = |err: Error| -> Error { format!("{}: {err}", path.display()).into() };
    let documents = project_json::documents(&text(path)?).map_err(place)?;
    let by_name = match documents.as_slice() {
        [Value::Array(results)] => coco_results(results, &dataset.pictures),
        documents => named_lists(documents, choice),
    };
    let names = Names::new(&dataset.pictures);
    let mut found: Vec<Option<Vec<Detection>>> = vec![None; dataset.pictures.len()];
    let mut unknown = Vec::new();
    for (name, detections) in by_name.map_err(place)? {
        match names.find(&name) {
            Some(index) if found[index].is_some() => {
                return Err(place(format!("{name} is there twice").into()));
            }
            Some(index) => found[index] = Some(detections),
            None => unknown.push(name),
        }
    }
    let missing = (0..found.len()).filter(|&index| found[index].is_none()).collect();
    let detections = found.into_iter().map(Option::unwrap_or_default).collect();
    Ok(Read { detections, missing, unknown })
}

type ByName = Vec<(String, Vec<Detection>)>;

fn named_lists(documents: &[Value], choice: &Choice) -> Result<ByName, Error> {
    let mut by_name = Vec::new();
    for (name, records) in project_json::pictures(documents, choice)? {
        let detection = |record: project_json::Record| {
            let score = record.score.ok_or_else(|| format!("{name}: a face without a score"))?;
            Ok(Detection { bounds: record.bounds, score, points: record.points })
        };
        let detections = records.into_iter().map(detection).collect::<Result<_, Error>>()?;
        by_name.push((name, detections));
    }
    Ok(by_name)
}

/// `[{"image_id", "bbox": [x, y, width, height], "score", "keypoints"}, …]`. A picture without
/// results is one where nothing was found.
fn coco_results(results: &[Value], pictures: &[Picture]) -> Result<ByName, Error> {
    let indices =
        pictures.iter().enumerate().filter_map(|(index, picture)| Some((picture.id?, index)));
    let indices: HashMap<i64, usize> = indices.collect();
    let mut by_name: ByName =
        pictures.iter().map(|picture| (picture.name.clone(), Vec::new())).collect();
    for (index, result) in results.iter().enumerate() {
        let place = |what: &str| format!("result {}: {what}", index + 1);
        let id = result["image_id"].as_i64().ok_or_else(|| place("\"image_id\" is no number"))?;
        let picture =
            *indices.get(&id).ok_or_else(|| place(&format!("no image has the id {id}")))?;
        let bounds = coco::rectangle(&result["bbox"]);
        let bounds = bounds.ok_or_else(|| place("\"bbox\": [x, y, width, height] was expected"))?;
        let score = result["score"].as_f64().ok_or_else(|| place("\"score\" is no number"))?;
        let points = coco::keypoints(&result["keypoints"]);
        by_name[picture].1.push(Detection { bounds, score, points });
    }
    Ok(by_name)
}

/// What is written: WIDER FACE's text into a folder, or lines of JSON into a file.
pub enum Writer {
    Folder(PathBuf),
    Lines(PathBuf, BufWriter<File>),
}

impl Writer {
    /// Lines into a file called .json or .jsonl.
    pub fn create(path: &Path) -> Result<Self, Error> {
        if !path.extension().is_some_and(|end| end == "json" || end == "jsonl") {
            return Ok(Self::Folder(path.to_owned()));
        }
        let file = File::create(path).map_err(|err| format!("{}: {err}", path.display()))?;
        Ok(Self::Lines(path.to_owned(), BufWriter::new(file)))
    }

    pub fn write(&mut self, picture: &str, found: &[Detection]) -> Result<(), Error> {
        match self {
            Self::Folder(folder) => {
                let path = text_file(folder, picture);
                let place = |err| format!("{}: {err}", path.display());
                fs::create_dir_all(path.parent().unwrap_or(folder)).map_err(place)?;
                fs::write(&path, to_text(picture, found)).map_err(place)?;
            }
            Self::Lines(path, file) => {
                let face = |found: &Detection| {
                    let b = &found.bounds;
                    json!({
                        "box": [b.x_min, b.y_min, b.x_max, b.y_max],
                        "score": found.score,
                        "landmarks": found.points,
                    })
                };
                let faces: Vec<_> = found.iter().map(face).collect();
                writeln!(file, "{}", json!({ "source": picture, "faces": faces }))
                    .map_err(|err| format!("{}: {err}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Whatever could not be written so far.
    pub fn finish(self) -> Result<(), Error> {
        match self {
            Self::Folder(_) => Ok(()),
            Self::Lines(path, mut file) => {
                file.flush().map_err(|err| format!("{}: {err}", path.display()).into())
            }
        }
    }
}

fn to_text(picture: &str, found: &[Detection]) -> String {
    let mut text = format!("{picture}\n{}\n", found.len());
    for Detection { bounds, score, .. } in found {
        let (width, height) = (rounded(bounds.width()), rounded(bounds.height()));
        text += &format!("{} {} {width} {height} {score}\n", bounds.x_min, bounds.y_min);
    }
    text
}

/// To a thousandth of a pixel.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// As it is once it was written and read again, so that both give the same figures.
pub fn as_written(found: &Detection) -> Detection {
    let corner = [found.bounds.x_min, found.bounds.y_min].map(rounded);
    let [width, height] =
        [found.bounds.x_max - corner[0], found.bounds.y_max - corner[1]].map(rounded);
    Detection {
        bounds: Bounds::with_size([corner[0], corner[1], width, height]),
        score: (found.score * 1e6).round() / 1e6,
        points: found.points.map(|points| points.map(|point| point.map(rounded))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Corners, Protocol};

    fn dataset(names: &[&str]) -> Dataset {
        let picture = |(index, name): (usize, &&str)| {
            (
                Picture { name: name.to_string(), id: Some(index as i64 + 10), faces: Vec::new() },
                Vec::new(),
            )
        };
        let pictures = names.iter().enumerate().map(picture).collect();
        Dataset::new(pictures, Corners::Pixels, Protocol::Wider)
    }

    fn found() -> Vec<Detection> {
        let points = Some([[1.25, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.000_4]]);
        let exact = Detection { bounds: Bounds::new(-1.0, 2.5, 8.0, 10.0), score: 0.5, points };
        let bounds = Bounds::new(f64::from(0.1f32), 1.0 / 3.0, 100.0 / 7.0, 1e3 / 9.0);
        vec![exact, Detection { bounds, score: f64::from(0.999_87f32), points }]
    }

    #[test]
    fn what_is_written_is_read_the_same() {
        let dataset = dataset(&["0--Parade/a.b.jpg", "1--Riot/c"]);
        let found: Vec<_> = found().iter().map(as_written).collect();
        let folder = tempfile::tempdir().unwrap();
        let lines = folder.path().join("lines.jsonl");
        for path in [folder.path(), lines.as_path()] {
            let mut writer = Writer::create(path).unwrap();
            writer.write(&dataset.pictures[0].name, &found).unwrap();
            writer.write(&dataset.pictures[1].name, &[]).unwrap();
            writer.finish().unwrap();
            let read = read(path, &dataset, &Choice::default()).unwrap();
            assert!(read.missing.is_empty() && read.unknown.is_empty());
            assert_eq!(read.detections[1], []);
            let without = |d: &Detection| Detection { points: None, ..*d };
            let expected: Vec<_> = match path.is_dir() {
                true => found.iter().map(without).collect(),
                false => found.clone(),
            };
            assert_eq!(read.detections[0], expected);
        }
        let text = fs::read_to_string(folder.path().join("0--Parade/a.b.txt")).unwrap();
        assert_eq!(
            text,
            "0--Parade/a.b.jpg\n2\n-1 2.5 9 7.5 0.5\n0.1 0.333 14.186 110.778 0.99987\n"
        );
    }

    /// As Pytorch_Retinaface (a space at the end, no folder in the name) and others write it.
    #[test]
    fn text_of_others() {
        let expected =
            [Detection { bounds: Bounds::new(1.0, 2.0, 4.0, 6.0), score: 0.5, points: None }];
        for text in ["a\n1\n1 2 3 4 0.5 \n", "E/a.jpg\r\n1\r\n1.0\t2.0 3.0 4.0 5e-1\r\n\r\n"] {
            assert_eq!(parse_text(text).unwrap(), expected);
        }
        assert_eq!(parse_text("a\n0\n").unwrap(), []);
        let table = [
            ("", "line 2: \"\" instead of the number of faces"),
            ("a\nx", "line 2: \"x\" instead of the number of faces"),
            ("a\n2\n1 2 3 4 0.5", "line 2 says 2 faces, but 1 follow"),
            ("a\n1\n1 2 3 4", "line 3: \"1 2 3 4\" instead of x y width height score"),
            ("a\n1\n1 2 3 4 nan", "line 3: "),
        ];
        for (text, expected) in table {
            let err = parse_text(text).unwrap_err().to_string();
            assert!(err.starts_with(expected), "{err} for {expected}");
        }
    }

    fn read_text(text: &str, names: &[&str]) -> Result<Read, String> {
        let file = tempfile::NamedTempFile::with_suffix(".json").unwrap();
        fs::write(file.path(), text).unwrap();
        let read = read(file.path(), &dataset(names), &Choice::default());
        read.map_err(|err| err.to_string().replace(&file.path().display().to_string(), "file"))
    }

    #[test]
    fn lists_by_name() {
        let text = r#"{"source": "/x/b.png", "faces": [{"box": [1, 2, 3, 4], "score": 0.5}]}
                      {"source": "/x/other.png", "faces": []}"#;
        let read = read_text(text, &["a.jpg", "b.jpg"]).unwrap();
        assert_eq!(read.detections[1][0].bounds, Bounds::new(1.0, 2.0, 3.0, 4.0));
        assert_eq!(read.missing, [0]);
        assert_eq!(read.unknown, ["/x/other.png"]);
        let twice = r#"{"a.png": [], "x/a.jpg": []}"#;
        assert_eq!(read_text(twice, &["a"]).unwrap_err(), "file: x/a.jpg is there twice");
        let scoreless = r#"{"a": [[1, 2, 3, 4]]}"#;
        assert_eq!(read_text(scoreless, &["a"]).unwrap_err(), "file: a: a face without a score");
        let none = read_text(r#"{"c": []}"#, &["a"]).unwrap_err();
        assert_eq!(none, "file: has no detections for any annotated picture, as a");
    }

    #[test]
    fn results_of_coco() {
        let text = r#"[{"image_id": 11, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}]"#;
        let read = read_text(text, &["a.jpg", "b.jpg"]).unwrap();
        assert_eq!(read.detections[0], []);
        assert_eq!(read.detections[1][0].bounds, Bounds::new(1.0, 2.0, 4.0, 6.0));
        assert!(read.missing.is_empty());
        let wrong = text.replace("11", "9");
        assert_eq!(read_text(&wrong, &["a"]).unwrap_err(), "file: result 1: no image has the id 9");
        let wrong = text.replace("0.5", "null");
        assert_eq!(
            read_text(&wrong, &["a", "b"]).unwrap_err(),
            "file: result 1: \"score\" is no number"
        );
    }
}
