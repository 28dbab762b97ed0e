// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces in JSON of this project: the lines that `retinaface-faces --json` prints, and objects of pictures by
//! name with a list of faces each.

use serde_json::{Map, Value};

use super::Choice;
use crate::{
    common::Error,
    dataset::{Bounds, Corners, Dataset, Face, Picture, Points, Protocol},
};

/// A face as it is written: with a score where it was found, or marked as one that does not count.
pub struct Record {
    pub bounds: Bounds,
    pub score: Option<f64>,
    pub points: Option<Points>,
    pub counts: bool,
}

/// A file's document, or one in each line.
pub fn documents(text: &str) -> Result<Vec<Value>, Error> {
    let documents =
        serde_json::Deserializer::from_str(text).into_iter().collect::<Result<Vec<_>, _>>();
    let documents = documents.map_err(|err| format!("is no JSON: {err}"))?;
    if documents.is_empty() { Err("is empty".into()) } else { Ok(documents) }
}

pub fn dataset(documents: &[Value], choice: &Choice) -> Result<Dataset, Error> {
    let picture = |(name, records): (String, Vec<Record>)| {
        let counts = records.iter().map(|record| record.counts).collect();
        let face = |r: &Record| Face { bounds: r.bounds, points: r.points, crowd: false };
        let faces = records.iter().map(face).collect();
        (Picture { name, id: None, faces }, counts)
    };
    let pictures = pictures(documents, choice)?.into_iter().map(picture).collect();
    Ok(Dataset::new(pictures, Corners::Edges, Protocol::Voc))
}

/// The faces of each picture.
pub fn pictures(documents: &[Value], choice: &Choice) -> Result<Vec<(String, Vec<Record>)>, Error> {
    let mut pictures = Vec::new();
    for document in documents {
        let Some(object) = document.as_object() else {
            return Err("a picture's object was expected, as retinaface-faces --json prints, or one of pictures by name".into());
        };
        if let (Some(source), Some(faces)) = (object.get("source"), object.get("faces")) {
            let name = source.as_str().ok_or("\"source\" is no text")?;
            if object.get("frame").and_then(Value::as_u64).unwrap_or(0) > 0 {
                return Err(format!("{name} is a video: only pictures have annotations").into());
            }
            pictures.push((name.to_owned(), records(name, faces)?));
            continue;
        }
        for (name, value) in object {
            let faces = match value {
                Value::Object(lists) => list(name, lists, choice)?,
                faces => faces,
            };
            pictures.push((name.clone(), records(name, faces)?));
        }
    }
    Ok(pictures)
}

/// The list of faces of a picture that has more to it.
fn list<'a>(
    picture: &str,
    lists: &'a Map<String, Value>,
    choice: &Choice,
) -> Result<&'a Value, Error> {
    // Numbers only, or nothing, may be anything.
    let has_faces = |value: &Value| {
        value.as_array().is_some_and(|list| list.iter().all(|face| !face.is_number()))
    };
    let names: Vec<_> =
        lists.iter().filter(|(_, value)| has_faces(value)).map(|(name, _)| name.as_str()).collect();
    let wanted = choice.list.as_deref().or(lists.contains_key("faces").then_some("faces"));
    match (wanted, names.as_slice()) {
        (Some(wanted), _) => lists.get(wanted).ok_or_else(|| {
            format!("{picture} has no list {wanted}; it has: {}", names.join(" ")).into()
        }),
        (None, [only]) => Ok(&lists[*only]),
        (None, []) => Err(format!("{picture} has no list of faces").into()),
        (None, _) => {
            Err(format!("{picture} has several lists; choose with --list: {}", names.join(" "))
                .into())
        }
    }
}

fn records(picture: &str, faces: &Value) -> Result<Vec<Record>, Error> {
    let faces =
        faces.as_array().ok_or_else(|| format!("{picture}: a list of faces was expected"))?;
    let record = |(index, face): (usize, &Value)| {
        record(face).map_err(|err| format!("{picture}, face {}: {err}", index + 1).into())
    };
    faces.iter().enumerate().map(record).collect()
}

/// `{"box": [x1, y1, x2, y2], "score", "landmarks"}` or `[x1, y1, x2, y2, score]`.
fn record(face: &Value) -> Result<Record, Error> {
    if let Some(row) = numbers(face) {
        return match *row.as_slice() {
            [x_min, y_min, x_max, y_max, ref score @ ..] if score.len() <= 1 => Ok(Record {
                bounds: Bounds::new(x_min, y_min, x_max, y_max),
                score: score.first().copied(),
                points: None,
                counts: true,
            }),
            _ => Err("[x1, y1, x2, y2] or [x1, y1, x2, y2, score] was expected".into()),
        };
    }
    let bounds = numbers(&face["box"]).unwrap_or_default();
    let [x_min, y_min, x_max, y_max] = *bounds.as_slice() else {
        return Err("\"box\": [x1, y1, x2, y2] was expected".into());
    };
    let score = match &face["score"] {
        Value::Null => None,
        score => Some(score.as_f64().ok_or("\"score\" is no number")?),
    };
    Ok(Record {
        bounds: Bounds::new(x_min, y_min, x_max, y_max),
        score,
        points: points(&face["landmarks"])?,
        counts: !(face["ignored"] == true || face["difficult"] == true),
    })
}

/// `[[x, y] × 5]` or ten numbers.
fn points(value: &Value) -> Result<Option<Points>, Error> {
    let flat = match value {
        Value::Null => return Ok(None),
        Value::Array(points) if points.first().is_some_and(Value::is_array) => {
            points.iter().map(numbers).collect::<Option<Vec<_>>>().map(|points| points.concat())
        }
        flat => numbers(flat),
    };
    let points = flat.as_deref().map(<[f64]>::as_chunks).filter(|(_, rest)| rest.is_empty());
    let points = points.and_then(|(points, _)| points.try_into().ok());
    Ok(Some(points.ok_or("\"landmarks\": [[x, y] × 5] was expected")?))
}

pub fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, list: Option<&str>) -> Result<Dataset, String> {
        let choice = Choice { list: list.map(str::to_owned), ..Choice::default() };
        let documents = documents(text).map_err(|err| err.to_string())?;
        dataset(&documents, &choice).map_err(|err| err.to_string())
    }

    /// Lines of retinaface-faces --json, pictures by name with flat points, rows, and objects with more in them:
    /// each the same face.
    #[test]
    fn each_of_the_forms() {
        let line = r#"{"source": "/a/1.png", "frame": 0, "width": 9, "faces": [{"box": [1, 2, 3.5, 4],
            "score": 0.5, "landmarks": [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]}]}"#;
        let face = r#"[{"box": [1, 2, 3.5, 4], "landmarks": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}]"#;
        let several =
            format!(r#"{{"/a/1.png": {{"size": [720, 478], "one": {face}, "other": []}}}}"#);
        let table = [
            (line.to_owned(), None),
            (format!(r#"{{"/a/1.png": {face}}}"#), None),
            (format!(r#"{{"/a/1.png": {{"size": [720, 478], "faces": {face}}}}}"#), None),
            (format!(r#"{{"/a/1.png": {{"size": [720, 478], "x": {face}}}}}"#), None),
            (several.clone(), Some("one")),
        ];
        for (text, list) in table {
            let dataset = read(&text, list).unwrap();
            assert_eq!(dataset.pictures.len(), 1, "{text}");
            assert_eq!(dataset.pictures[0].name, "/a/1.png");
            let points = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, 10.0]];
            let bounds = Bounds::new(1.0, 2.0, 3.5, 4.0);
            assert_eq!(
                dataset.pictures[0].faces,
                [Face { bounds, points: Some(points), crowd: false }]
            );
        }
        let rows = read(r#"{"1": [[1, 2, 3, 4], [5, 6, 7, 8, 0.5]], "2": []}"#, None).unwrap();
        assert_eq!(rows.pictures[0].faces[1].bounds, Bounds::new(5.0, 6.0, 7.0, 8.0));
        assert_eq!(rows.pictures.len(), 2);
        let err = read(&several, None).unwrap_err();
        assert_eq!(err, "/a/1.png has several lists; choose with --list: one other");
        let err = read(&several, Some("third")).unwrap_err();
        assert_eq!(err, "/a/1.png has no list third; it has: one other");
        let ignored = r#"{"1": [{"box": [1, 2, 3, 4], "ignored": true}, {"box": [1, 2, 3, 4]}]}"#;
        assert_eq!(read(ignored, None).unwrap().subsets[0].counts, [[false, true]]);
    }

    #[test]
    fn wrong_faces_are_errors_with_their_place() {
        let table = [
            ("", "is empty"),
            ("{", "is no JSON: "),
            ("[1]", "a picture's object was expected"),
            (r#"{"1.png": 5}"#, "1.png: a list of faces was expected"),
            (r#"{"1.png": {}}"#, "1.png has no list of faces"),
            (r#"{"1.png": [[1, 2, 3, 4], [1, 2]]}"#, "1.png, face 2: [x1, y1, x2, y2] or"),
            (r#"{"1.png": [{"box": [1, 2]}]}"#, "1.png, face 1: \"box\": "),
            (r#"{"1.png": ["x"]}"#, "1.png, face 1: \"box\": "),
            (r#"{"1.png": [{"box": [1, 2, 3, 4], "score": "x"}]}"#, "1.png, face 1: \"score\""),
            (
                r#"{"1.png": [{"box": [1, 2, 3, 4], "landmarks": [1]}]}"#,
                "1.png, face 1: \"landmarks\"",
            ),
            (r#"{"source": "a.mp4", "frame": 1, "faces": []}"#, "a.mp4 is a video"),
        ];
        for (text, expected) in table {
            let err = read(text, None).unwrap_err();
            assert!(err.starts_with(expected), "{err} for {expected}");
        }
    }
}
