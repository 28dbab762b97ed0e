// SPDX-License-Identifier: MIT OR Apache-2.0

//! Annotations of the formats that face data sets come in.

pub mod coco;
pub mod json;
pub mod mat;
mod voc;
mod wider;

use std::{fs, path::Path};

use crate::{common::Error, dataset::Dataset};

/// What to read of a file that has more than one thing.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The category of COCO, or the name of VOC's objects.
    pub category: Option<String>,
    /// The list of faces in a picture's JSON object.
    pub list: Option<String>,
}

/// Reads what `path` is: the folder of WIDER FACE's .mat files or one of them, its text file, JSON, or
/// one of VOC's XML files or a folder of them.
pub fn read(path: &Path, choice: &Choice) -> Result<Dataset, Error> {
    let place = |err: Error| -> Error { format!("{}: {err}", path.display()).into() };
    fs::metadata(path).map_err(|err| place(err.into()))?;
    if path.is_dir() {
        if wider::is_ground_truth(path) {
            return wider::read_folder(path);
        }
        return voc::read_folder(path, choice);
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "mat" => wider::read_one(path),
        "xml" => voc::read_files(&[path.to_owned()], choice),
        "txt" => wider::parse_text(&text(path)?).map_err(place),
        "json" | "jsonl" => {
            let documents = json::documents(&text(path)?).map_err(place)?;
            if let [document] = documents.as_slice()
                && document.get("images").is_some()
            {
                return coco::parse(document, choice).map_err(place);
            }
            json::dataset(&documents, choice).map_err(place)
        }
        _ => Err(place(
            "annotations are a .mat, .txt, .json, .jsonl or .xml file or a folder".into(),
        )),
    }
}

/// A file's text; errors have its name.
pub fn text(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|err| format!("{}: {err}", path.display()).into())
}
