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

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, difficult: &str) -> String {
        format!(
            "<object><name>{name}</name>{difficult}<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>10</xmax>\
             <ymax>20.5</ymax></bndbox></object>\n"
        )
    }

    fn file(folder: &Path, name: &str, content: &str) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("<annotation>\n{content}</annotation>")).unwrap();
        path
    }

    fn choose(category: &str) -> Choice {
        Choice { category: Some(category.to_owned()), list: None }
    }

    #[test]
    fn a_folder_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let difficult = object("face", "<difficult>1</difficult>");
        let first = object("face", "<difficult>0</difficult>") + &difficult + &object("dog", "");
        file(folder.path(), "b.xml", &("<filename>pictures/b.png</filename>".to_owned() + &first));
        file(folder.path(), "sub/a.XML", &object("face", ""));
        file(folder.path(), "c.xml", "");
        let dataset = read_folder(folder.path(), &choose("face")).unwrap();
        let names: Vec<_> = dataset.pictures.iter().map(|picture| picture.name.as_str()).collect();
        assert_eq!(names, ["pictures/b.png", "c", "a"]);
        assert_eq!(dataset.subsets[0].counts, [vec![true, false], vec![], vec![true]]);
        assert_eq!(dataset.pictures[2].faces[0].bounds, Bounds::new(1.0, 2.0, 10.0, 20.5));
        assert_eq!(dataset.corners, Corners::Pixels);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let table = [
            (
                object("face", "") + &object("dog", ""),
                "object in line 3: is a \"dog\" among \"face\"",
            ),
            (object("face", "").replace("10", "ten"), "object in line 2: <xmax> is no number"),
            (object("face", "").replace("ymin", "y"), "object in line 2: <ymin> is no number"),
            (object("face", "").replace("bndbox", "box"), "object in line 2: has no <bndbox>"),
            ("<object>".to_owned(), "is no XML: "),
        ];
        for (content, expected) in table {
            let path = file(folder.path(), "wrong.xml", &content);
            let err = read_folder(folder.path(), &Choice::default()).unwrap_err().to_string();
            assert!(err.starts_with(&format!("{}: {expected}", path.display())), "{err}");
        }
        let empty = tempfile::tempdir().unwrap();
        let err = read_folder(empty.path(), &Choice::default()).unwrap_err().to_string();
        assert!(err.contains("neither .xml files nor wider_easy_val.mat"), "{err}");
    }
}
