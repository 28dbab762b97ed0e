// SPDX-License-Identifier: MIT OR Apache-2.0

//! COCO's JSON: images, annotations with `bbox` [x, y, width, height], `iscrowd` and, where there are
//! five of them, `keypoints`; categories.

use std::collections::HashMap;

use serde_json::Value;

use super::{Choice, json::numbers};
use crate::{
    common::Error,
    dataset::{Bounds, Corners, Dataset, Face, Picture, Points, Protocol},
};

pub fn parse(document: &Value, choice: &Choice) -> Result<Dataset, Error> {
    let list = |name: &str| {
        document[name].as_array().ok_or_else(|| format!("has no list {name:?}, as COCO's JSON has"))
    };
    let mut pictures = Vec::new();
    let mut by_id = HashMap::new();
    for (index, image) in list("images")?.iter().enumerate() {
        let id = image["id"].as_i64().ok_or_else(|| format!("image {}: no \"id\"", index + 1))?;
        let name = image["file_name"].as_str();
        let name = name.ok_or_else(|| format!("image {id}: no \"file_name\""))?.to_owned();
        by_id.insert(id, pictures.len());
        pictures.push((Picture { name, id: Some(id), faces: Vec::new() }, Vec::new()));
    }
    let annotations = list("annotations")?;
    let category = category(document, annotations, choice)?;
    for (index, annotation) in annotations.iter().enumerate() {
        if category.is_some() && annotation["category_id"].as_i64() != category {
            continue;
        }
        let place = |what: &str| format!("annotation {}: {what}", index + 1);
        let image = annotation["image_id"].as_i64().and_then(|id| by_id.get(&id));
        let image = *image.ok_or_else(|| place("its \"image_id\" is that of no image"))?;
        let bounds = rectangle(&annotation["bbox"]);
        let bounds = bounds.ok_or_else(|| place("\"bbox\": [x, y, width, height] was expected"))?;
        let crowd = annotation["iscrowd"] == 1 || annotation["iscrowd"] == true;
        let ignored = annotation["ignore"] == 1 || annotation["ignore"] == true;
        let (picture, counts) = &mut pictures[image];
        let points = keypoints(&annotation["keypoints"]);
        picture.faces.push(Face { bounds, points, crowd });
        counts.push(!crowd && !ignored);
    }
    Ok(Dataset::new(pictures, Corners::Edges, Protocol::Voc))
}

/// The id of the category that is wanted, or of the only one that annotations are of.
fn category(
    document: &Value,
    annotations: &[Value],
    choice: &Choice,
) -> Result<Option<i64>, Error> {
    let categories = document["categories"].as_array().map(Vec::as_slice).unwrap_or_default();
    let names = || {
        categories
            .iter()
            .filter_map(|category| category["name"].as_str())
            .collect::<Vec<_>>()
            .join(" ")
    };
    if let Some(wanted) = &choice.category {
        let named = categories.iter().find(|category| category["name"].as_str() == Some(wanted));
        let id = named.and_then(|category| category["id"].as_i64());
        return match id {
            Some(id) => Ok(Some(id)),
            None => Err(format!("no category {wanted}; there are: {}", names()).into()),
        };
    }
    let mut used = annotations.iter().filter_map(|annotation| annotation["category_id"].as_i64());
    let first = used.next();
    if used.any(|id| Some(id) != first) {
        return Err(format!("has several categories; choose with --category: {}", names()).into());
    }
    Ok(first)
}

/// `[x, y, width, height]`.
pub fn rectangle(value: &Value) -> Option<Bounds> {
    Some(Bounds::with_size(numbers(value)?.try_into().ok()?))
}

/// Five times x, y and whether the point is labelled; `None` where one is not.
pub fn keypoints(value: &Value) -> Option<Points> {
    let numbers = numbers(value)?;
    let (points, rest) = numbers.as_chunks::<3>();
    let points: [[f64; 3]; 5] = points.try_into().ok()?;
    let labelled = rest.is_empty() && points.iter().all(|point| point[2] > 0.0);
    labelled.then(|| points.map(|[x, y, _]| [x, y]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        let labelled = [1, 2, 2, 3, 4, 1, 5, 6, 2, 7, 8, 2, 9, 10, 2];
        let mut hidden = labelled;
        hidden[5] = 0;
        json!({
            "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 3, "file_name": "b/c.jpg"}],
            "categories": [{"id": 1, "name": "person"}, {"id": 2, "name": "face"}],
            "annotations": [
                {"image_id": 3, "category_id": 2, "bbox": [1, 2, 3, 4.5], "keypoints": labelled},
                {"image_id": 3, "category_id": 2, "bbox": [0, 0, 90, 90], "iscrowd": 1},
                {"image_id": 3, "category_id": 2, "bbox": [5, 5, 5, 5], "ignore": 1, "keypoints": hidden},
                {"image_id": 7, "category_id": 1, "bbox": [1, 1, 1, 1]},
            ],
        })
    }

    fn read(document: &Value, category: Option<&str>) -> Result<Dataset, String> {
        let category = category.map(str::to_owned);
        parse(document, &Choice { category, list: None }).map_err(|err| err.to_string())
    }

    #[test]
    fn crowds_and_what_is_to_be_ignored_do_not_count() {
        let dataset = read(&document(), Some("face")).unwrap();
        let [first, second] = dataset.pictures.as_slice() else { panic!("{dataset:?}") };
        assert_eq!((first.name.as_str(), first.id, first.faces.len()), ("a.jpg", Some(7), 0));
        assert_eq!((second.name.as_str(), second.id), ("b/c.jpg", Some(3)));
        assert_eq!(dataset.subsets[0].counts, [vec![], vec![true, false, false]]);
        let face = &second.faces[0];
        assert_eq!(face.bounds, Bounds::new(1.0, 2.0, 4.0, 6.5));
        assert_eq!(
            face.points,
            Some([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]])
        );
        assert_eq!(second.faces[2].points, None);
        assert_eq!(
            second.faces.iter().map(|face| face.crowd).collect::<Vec<_>>(),
            [false, true, false]
        );
        assert_eq!(dataset.corners, Corners::Edges);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let err = read(&document(), None).unwrap_err();
        assert_eq!(err, "has several categories; choose with --category: person face");
        let err = read(&document(), Some("dog")).unwrap_err();
        assert_eq!(err, "no category dog; there are: person face");
        let mut wrong = document();
        wrong["annotations"][0]["bbox"] = json!([1, 2, 3]);
        assert!(read(&wrong, Some("face")).unwrap_err().starts_with("annotation 1: \"bbox\""));
        wrong["annotations"][0]["image_id"] = json!(5);
        assert!(
            read(&wrong, Some("face")).unwrap_err().starts_with("annotation 1: its \"image_id\"")
        );
        wrong["images"][1]["id"] = json!("x");
        assert_eq!(read(&wrong, None).unwrap_err(), "image 2: no \"id\"");
        wrong["images"] = json!(5);
        assert_eq!(read(&wrong, None).unwrap_err(), "has no list \"images\", as COCO's JSON has");
    }
}
