// SPDX-License-Identifier: MIT OR Apache-2.0

//! WIDER FACE's own files: the ground truth of its evaluation toolkit, with what counts for easy,
//! medium and hard, and the text file of the data set, which does not have that.

use std::{fs, path::Path};

use super::mat::{self, Array};
use crate::{
    common::Error,
    dataset::{Bounds, Corners, Dataset, Face, Picture, Protocol, Subset},
};

const LEVELS: [&str; 3] = ["easy", "medium", "hard"];

fn level_file(level: &str) -> String {
    format!("wider_{level}_val.mat")
}

/// Whether this is the toolkit's folder ground_truth.
pub fn is_ground_truth(folder: &Path) -> bool {
    LEVELS.iter().any(|level| folder.join(level_file(level)).is_file())
}

/// The three difficulties of the folder ground_truth.
pub fn read_folder(folder: &Path) -> Result<Dataset, Error> {
    let mut dataset: Option<Dataset> = None;
    for level in LEVELS {
        let path = folder.join(level_file(level));
        let mut read = read_one(&path)?;
        read.subsets[0].name = level.to_owned();
        match &mut dataset {
            None => dataset = Some(read),
            Some(dataset) if dataset.pictures == read.pictures => {
                dataset.subsets.append(&mut read.subsets)
            }
            Some(_) => {
                let first = level_file(LEVELS[0]);
                let path = path.display();
                return Err(
                    format!("{path}: has other pictures or boxes than {first} beside it").into()
                );
            }
        }
    }
    dataset.ok_or_else(|| "no difficulties".into())
}

/// One difficulty: event_list, file_list, face_bbx_list and gt_list, a cell an event.
pub fn read_one(path: &Path) -> Result<Dataset, Error> {
    let place = |err: Error| -> Error { format!("{}: {err}", path.display()).into() };
    let bytes = fs::read(path).map_err(|err| place(err.into()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    parse_mat(&bytes, &name).map_err(place)
}

fn parse_mat(bytes: &[u8], name: &str) -> Result<Dataset, Error> {
    let wanted = ["event_list", "file_list", "face_bbx_list", "gt_list"];
    let variables = mat::variables(bytes, &wanted)?;
    let cells = |name: &str| -> Result<&[Array], Error> {
        let variable = variables.iter().find(|variable| variable.name == name);
        let variable = variable.ok_or_else(|| {
            format!("has no variable {name}, as wider_easy_val.mat and its like have")
        })?;
        variable.array.cells().ok_or_else(|| format!("{name} is no cell array").into())
    };
    let events = cells("event_list")?;
    let mut lists = Vec::new();
    for name in ["file_list", "face_bbx_list", "gt_list"] {
        let list = cells(name)?;
        if list.len() != events.len() {
            return Err(
                format!("{name} has {} cells for {} events", list.len(), events.len()).into()
            );
        }
        lists.push(list);
    }
    let mut pictures = Vec::new();
    let mut counts = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let event =
            event.text().ok_or_else(|| format!("event_list{{{}}} is no text", index + 1))?;
        let place = |err: String| format!("event {} ({event}): {err}", index + 1);
        let of_event = [&lists[0][index], &lists[1][index], &lists[2][index]].map(Array::cells);
        let [Some(files), Some(boxes), Some(counting)] = of_event else {
            return Err(
                place("file_list, face_bbx_list and gt_list are no cell arrays".into()).into()
            );
        };
        if boxes.len() != files.len() || counting.len() != files.len() {
            let (pictures, boxes, counting) = (files.len(), boxes.len(), counting.len());
            let err = format!(
                "{pictures} pictures, but {boxes} cells of boxes and {counting} of indices"
            );
            return Err(place(err).into());
        }
        for ((file, boxes), counting) in files.iter().zip(boxes).zip(counting) {
            let file = file.text().ok_or_else(|| place("a name in file_list is no text".into()))?;
            let (faces, counting) =
                faces(boxes, counting).map_err(|err| place(format!("{file}: {err}")))?;
            pictures.push(Picture { name: format!("{event}/{file}"), id: None, faces });
            counts.push(counting);
        }
    }
    let subsets = vec![Subset { name: name.to_owned(), counts }];
    Ok(Dataset { pictures, subsets, corners: Corners::Pixels, protocol: Protocol::Wider })
}

/// A picture's faces, and which of them count.
fn faces(boxes: &Array, counting: &Array) -> Result<(Vec<Face>, Vec<bool>), String> {
    let rows = boxes.rows(4).ok_or("face_bbx_list has no matrix with four columns")?;
    let mut counts = vec![false; rows.len()];
    for index in counting.numbers().ok_or("gt_list has no numbers")? {
        // From 1, as everywhere in MATLAB; whatever is no index becomes one that is out of range.
        let counts = counts.get_mut((*index as usize).wrapping_sub(1));
        *counts
            .ok_or_else(|| format!("gt_list has {index}, but there are {} boxes", rows.len()))? =
            true;
    }
    let face = |row: &Vec<f64>| Face {
        bounds: Bounds::with_size([row[0], row[1], row[2], row[3]]),
        ..Face::default()
    };
    Ok((rows.iter().map(face).collect(), counts))
}

/// wider_face_val_bbx_gt.txt: a picture's path, how many faces it has, and for each
/// `x y w h blur expression illumination invalid occlusion pose`. Faces marked invalid do not count.
pub fn parse_text(text: &str) -> Result<Dataset, Error> {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let mut pictures = Vec::new();
    while let Some((number, name)) = lines.next() {
        if name.is_empty() {
            continue;
        }
        let mut next = |expected: &str| {
            lines
                .next()
                .ok_or_else(|| format!("ends after line {number}, before {expected} of {name}"))
        };
        let (line, count) = next("the number of faces")?;
        let count: usize = count.parse().map_err(|_| {
            format!("line {line}: {count:?} instead of the number of faces of {name}")
        })?;
        let mut faces = Vec::new();
        let mut counts = Vec::new();
        // A picture without faces has a row of zeros.
        for _ in 0..count.max(1) {
            let (line, row) = next("a face")?;
            let numbers = row.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>();
            let row = match numbers.as_deref() {
                Ok(row @ [_, _, _, _, _, _, _, _, _, _]) if row.iter().all(|n| n.is_finite()) => {
                    row
                }
                _ => {
                    return Err(format!(
                        "line {line}: {row:?} instead of ten numbers: x y w h \
                    blur expression illumination invalid occlusion pose"
                    )
                    .into());
                }
            };
            if count > 0 {
                let bounds = Bounds::with_size([row[0], row[1], row[2], row[3]]);
                faces.push(Face { bounds, ..Face::default() });
                counts.push(row[7] == 0.0);
            }
        }
        pictures.push((Picture { name: name.to_owned(), id: None, faces }, counts));
    }
    if pictures.is_empty() {
        Err("has no pictures".into())
    } else {
        Ok(Dataset::new(pictures, Corners::Pixels, Protocol::Wider))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_as_it_is_distributed() {
        let text = "0--Parade/0_Parade_1.jpg\n2\n10 20 30 40 0 0 0 0 0 0 \n1 2 3 4 2 0 0 1 2 0 \n\
                    1--Handshaking/none.jpg\n0\n0 0 0 0 0 0 0 0 0 0 \n\
                    1--Handshaking/1.jpg\r\n1\r\n5 6 7 8 1 1 1 0 1 1\r\n";
        let dataset = parse_text(text).unwrap();
        let names: Vec<_> = dataset.pictures.iter().map(|picture| picture.name.as_str()).collect();
        assert_eq!(
            names,
            ["0--Parade/0_Parade_1.jpg", "1--Handshaking/none.jpg", "1--Handshaking/1.jpg"]
        );
        assert_eq!(dataset.subsets[0].counts, [vec![true, false], vec![], vec![true]]);
        assert_eq!(dataset.pictures[0].faces[0].bounds, Bounds::new(10.0, 20.0, 40.0, 60.0));
        assert_eq!(dataset.pictures[2].faces[0].bounds, Bounds::new(5.0, 6.0, 12.0, 14.0));
        assert_eq!(dataset.protocol, Protocol::Wider);
    }

    #[test]
    fn wrong_text_is_an_error_with_its_line() {
        let table = [
            ("", "has no pictures"),
            ("a.jpg", "ends after line 1, before the number of faces of a.jpg"),
            ("a.jpg\nmany", "line 2: \"many\" instead of the number of faces of a.jpg"),
            ("a.jpg\n2\n1 2 3 4 0 0 0 0 0 0", "ends after line 1, before a face of a.jpg"),
            ("a.jpg\n1\n1 2 3 4", "line 3: \"1 2 3 4\" instead of ten numbers"),
            ("a.jpg\n1\n1 2 x 4 0 0 0 0 0 0", "line 3: "),
            ("a.jpg\n1\n1 2 nan 4 0 0 0 0 0 0", "line 3: "),
        ];
        for (text, expected) in table {
            let err = parse_text(text).unwrap_err().to_string();
            assert!(err.starts_with(expected), "{err}");
        }
    }

    fn numbers(rows: usize, values: &[f64]) -> Array {
        Array::Numbers { rows, values: values.to_vec() }
    }

    #[test]
    fn faces_that_count_are_given_by_index() {
        let boxes = numbers(2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
        let (found, counts) = faces(&boxes, &numbers(1, &[2.0])).unwrap();
        assert_eq!(found[0].bounds, Bounds::new(1.0, 3.0, 6.0, 10.0));
        assert_eq!(found[1].bounds, Bounds::new(2.0, 4.0, 8.0, 12.0));
        assert_eq!(counts, [false, true]);
        assert_eq!(faces(&boxes, &numbers(0, &[])).unwrap().1, [false, false]);
        for wrong in [0.0, 3.0, -1.0, f64::NAN, f64::INFINITY] {
            let err = faces(&boxes, &numbers(1, &[wrong])).unwrap_err();
            assert_eq!(err, format!("gt_list has {wrong}, but there are 2 boxes"));
        }
        assert!(faces(&numbers(2, &[1.0; 6]), &numbers(0, &[])).is_err());
        assert!(faces(&numbers(0, &[]), &numbers(0, &[])).unwrap().0.is_empty());
    }
}
