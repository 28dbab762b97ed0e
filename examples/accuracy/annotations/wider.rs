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
    let (events, files) = (cells("event_list")?, cells("file_list")?);
    let (boxes, counting) = (cells("face_bbx_list")?, cells("gt_list")?);
    let lengths = [files.len(), boxes.len(), counting.len()];
    if lengths != [events.len(); 3] {
        return Err(format!("{} events, but lists for {lengths:?}", events.len()).into());
    }
    let mut pictures = Vec::new();
    let mut counts = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let event =
            event.text().ok_or_else(|| format!("event_list{{{}}} is no text", index + 1))?;
        let place = |what: &str| format!("{what}{{{}}} (event {event})", index + 1);
        let inner = |what: &str, list: &'_ Array| -> Result<usize, Error> {
            let cells = list.cells().ok_or_else(|| format!("{} is no cell array", place(what)))?;
            Ok(cells.len())
        };
        let pictures_here = inner("file_list", &files[index])?;
        for (what, list) in [("face_bbx_list", &boxes[index]), ("gt_list", &counting[index])] {
            let length = inner(what, list)?;
            if length != pictures_here {
                let place = place(what);
                return Err(
                    format!("{place} has {length} cells for {pictures_here} pictures").into()
                );
            }
        }
        let cells =
            |list: &'_ [Array], at: usize| list[index].cells().map(|cells| cells[at].clone());
        for picture in 0..pictures_here {
            let cell = |what: &str| format!("{}{{{}}}", place(what), picture + 1);
            let file = cells(files, picture).and_then(|file| file.text());
            let file = file.ok_or_else(|| format!("{} is no text", cell("file_list")))?;
            let rows = cells(boxes, picture).and_then(|boxes| boxes.rows(4));
            let rows = rows.ok_or_else(|| {
                format!("{} is no matrix with four columns", cell("face_bbx_list"))
            })?;
            let mut counting_here = vec![false; rows.len()];
            let indices = cells(counting, picture).and_then(|indices| indices.numbers());
            let indices = indices.ok_or_else(|| format!("{} has no numbers", cell("gt_list")))?;
            for face in indices {
                // From 1, as everywhere in MATLAB.
                let counts = (face >= 1.0 && face.fract() == 0.0)
                    .then(|| counting_here.get_mut(face as usize - 1))
                    .flatten();
                *counts.ok_or_else(|| {
                    format!("{} has {face}, but there are {} boxes", cell("gt_list"), rows.len())
                })? = true;
            }
            let face = |row: &Vec<f64>| Face {
                bounds: Bounds::with_size([row[0], row[1], row[2], row[3]]),
                ..Face::default()
            };
            let faces = rows.iter().map(face).collect();
            pictures.push(Picture { name: format!("{event}/{file}"), id: None, faces });
            counts.push(counting_here);
        }
    }
    let subsets = vec![Subset { name: name.to_owned(), counts }];
    Ok(Dataset { pictures, subsets, corners: Corners::Pixels, protocol: Protocol::Wider })
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
