// SPDX-License-Identifier: MIT OR Apache-2.0

//! PASCAL VOC's XML: a file a picture, objects with `bndbox` from their first to their last pixel;
//! those marked `difficult` do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

use roxmltree::Node;

use super::{Choice, text};
use crate::{
    common::Error,
    dataset::{Bounds, Corners, Dataset, Face, Picture, Protocol},
};

/// All files in a folder and those below.
pub fn read_folder(folder: &Path, choice: &Choice) -> Result<Dataset, Error> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    if files.is_empty() {
        return Err(format!(
            "{}: has no annotations: neither .xml files nor wider_easy_val.mat, wider_medium_val.mat \
             and wider_hard_val.mat",
            folder.display()
        )
        .into());
    }
    read_files(&files, choice)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Error> {
    let place = |err: std::io::Error| format!("{}: {err}", folder.display());
    for entry in fs::read_dir(folder).map_err(place)? {
        let path = entry.map_err(place)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml")) {
            files.push(path);
        }
    }
    Ok(())
}

pub fn read_files(files: &[PathBuf], choice: &Choice) -> Result<Dataset, Error> {
    let mut pictures = Vec::new();
    let mut name: Option<String> = choice.category.clone();
    for path in files {
        let picture = parse(&text(path)?, &mut name, choice.category.is_some());
        let (mut picture, counts) = picture.map_err(|err| format!("{}: {err}", path.display()))?;
        if picture.name.is_empty() {
            picture.name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        }
        pictures.push((picture, counts));
    }
    Ok(Dataset::new(pictures, Corners::Pixels, Protocol::Voc))
}

/// `wanted` is the objects' name; where it is not chosen, all have to have that of the first.
fn parse(
    text: &str,
    wanted: &mut Option<String>,
    chosen: bool,
) -> Result<(Picture, Vec<bool>), Error> {
    let document = roxmltree::Document::parse(text).map_err(|err| format!("is no XML: {err}"))?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        return Err(format!("<annotation> was expected, not <{}>", root.tag_name().name()).into());
    }
    let mut faces = Vec::new();
    let mut counts = Vec::new();
    for object in root.children().filter(|node| node.has_tag_name("object")) {
        let line = document.text_pos_at(object.range().start).row;
        let place = |what: &str| format!("object in line {line}: {what}");
        let name = value(&object, "name").unwrap_or_default();
        match wanted {
            Some(wanted) if wanted == name => {}
            Some(_) if chosen => continue,
            Some(wanted) => {
                return Err(place(&format!(
                    "is a {name:?} among {wanted:?}: choose with --category"
                ))
                .into());
            }
            None => *wanted = Some(name.to_owned()),
        }
        let bounds = child(&object, "bndbox").ok_or_else(|| place("has no <bndbox>"))?;
        let edge = |edge: &str| {
            let number = value(&bounds, edge).and_then(|text| text.parse::<f64>().ok());
            number
                .filter(|number| number.is_finite())
                .ok_or_else(|| place(&format!("<{edge}> is no number")))
        };
        let bounds = Bounds::new(edge("xmin")?, edge("ymin")?, edge("xmax")?, edge("ymax")?);
        faces.push(Face { bounds, ..Face::default() });
        counts.push(!matches!(value(&object, "difficult"), Some("1" | "true")));
    }
    let name = value(&root, "filename").unwrap_or_default().to_owned();
    Ok((Picture { name, id: None, faces }, counts))
}

fn child<'a>(node: &Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

fn value<'a>(node: &Node<'a, 'a>, name: &str) -> Option<&'a str> {
    child(node, name).and_then(|child| child.text()).map(str::trim)
}
