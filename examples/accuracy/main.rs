// SPDX-License-Identifier: MIT OR Apache-2.0

//! Average precision and the error of landmarks on annotated pictures, of `retinafacedetect` or of
//! anybody's detections:
//!
//!     cargo run --release --example accuracy -- --help
//!
//! docs/accuracy.md says what is computed, and how WIDER FACE is evaluated.

mod annotations;
mod arguments;
mod average_precision;
#[path = "../common/mod.rs"]
mod common;
mod dataset;
mod detections;
mod element;
#[cfg(test)]
mod independent;
mod landmarks;
mod merge;
mod wider;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use arguments::{Arguments, HELP, Source};
use common::Error;
use dataset::{Bounds, Dataset, Detection, Protocol};
use indicatif::{ProgressBar, ProgressStyle};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("accuracy: {err}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let Some(arguments) = Arguments::parse(std::env::args().skip(1))? else {
        println!("{HELP}");
        return Ok(());
    };
    let dataset = annotations::read(&arguments.annotations, &arguments.choice)?;
    let detections = match &arguments.source {
        Source::Images(folder) => detect(&dataset, folder, &arguments)?,
        Source::Detections(path) => {
            let read = detections::read(path, &dataset, &arguments.choice)?;
            let missing = read.missing.iter().map(|&index| dataset.pictures[index].name.as_str());
            warn("annotated, but without detections, so nothing was found", missing);
            let unknown = read.unknown.iter().map(String::as_str);
            warn("not annotated, or one of several of that name, so left out", unknown);
            read.detections
        }
    };
    report(&dataset, &detections, &arguments);
    Ok(())
}

fn warn<'a>(what: &str, mut pictures: impl ExactSizeIterator<Item = &'a str>) {
    let others = pictures.len().saturating_sub(1);
    if let Some(first) = pictures.next() {
        eprintln!("accuracy: {first} and {others} other pictures: {what}");
    }
}

/// Sends every picture through the element.
fn detect(
    dataset: &Dataset,
    folder: &Path,
    arguments: &Arguments,
) -> Result<Vec<Vec<Detection>>, Error> {
    let files = dataset.pictures.iter().map(|picture| file(folder, &picture.name));
    let files = files.collect::<Result<Vec<_>, _>>()?;
    common::init()?;
    let detector =
        element::Detector::new(&arguments.properties, &arguments.scales, arguments.flip)?;
    let mut writer = arguments.write.as_deref().map(detections::Writer::create).transpose()?;
    let style = ProgressStyle::with_template(
        "{bar:40} {pos}/{len} pictures, {elapsed} of about {duration}",
    );
    let progress = ProgressBar::new(files.len() as u64).with_style(style?);
    let mut all = Vec::new();
    for (picture, file) in dataset.pictures.iter().zip(&files) {
        let found = detector.faces(file)?;
        let prepare = |found: &Detection| {
            let found = if arguments.whole_pixels { in_whole_pixels(found) } else { *found };
            detections::as_written(&found)
        };
        let found: Vec<_> = found.iter().map(prepare).collect();
        if let Some(writer) = &mut writer {
            writer.write(&picture.name, &found)?;
        }
        all.push(found);
        progress.inc(1);
    }
    progress.finish();
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(all)
}

/// int() of each edge, as in Pytorch_Retinaface's test_widerface.py.
fn in_whole_pixels(found: &Detection) -> Detection {
    let Bounds { x_min, y_min, x_max, y_max } = found.bounds;
    let [x_min, y_min, x_max, y_max] = [x_min, y_min, x_max, y_max].map(f64::trunc);
    Detection { bounds: Bounds::new(x_min, y_min, x_max, y_max), ..*found }
}

/// The picture of that name, whose extension may be missing, and whose first folders may be.
fn file(folder: &Path, name: &str) -> Result<PathBuf, Error> {
    let endings = ["", ".jpg", ".png", ".jpeg"];
    let with_endings = |name: &str| endings.map(|ending| folder.join(format!("{name}{ending}")));
    let file = dataset::ends(name).flat_map(with_endings).find(|path| path.is_file());
    file.ok_or_else(|| {
        format!("{}: no picture {name}, which is annotated", folder.display()).into()
    })
}

fn report(dataset: &Dataset, detections: &[Vec<Detection>], arguments: &Arguments) {
    let protocol = arguments.protocol.unwrap_or(dataset.protocol);
    let normalised = wider::normalise(detections);
    let found: usize = detections.iter().map(Vec::len).sum();
    println!("{} pictures, {found} detections", dataset.pictures.len());
    for subset in &dataset.subsets {
        println!("{}: {} faces", subset.name, subset.faces());
        let mut matches = None;
        for &iou in &arguments.ious {
            let evaluation = average_precision::evaluate(dataset, subset, detections, iou);
            let average_precision = match protocol {
                Protocol::Voc => evaluation.average_precision,
                Protocol::Wider => wider::average_precision(dataset, subset, &normalised, iou),
            };
            let (recall, exact) = (evaluation.recall, evaluation.exact);
            println!("  AP {average_precision:.4}, recall {recall:.4} at IoU {iou}");
            println!("  {exact} pictures with each face found once, and nothing else");
            matches.get_or_insert(evaluation.matches);
        }
        let matches = matches.unwrap_or_default();
        let error = landmarks::mean_error(dataset, detections, &matches, arguments.norm);
        if let Some((error, faces)) = error {
            let by = arguments.norm.name();
            println!("  NME {error:.4} of {by}, {faces} faces found at IoU {}", arguments.ious[0]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first run annotates a picture, the second is evaluated by that.
    #[test]
    fn pictures_are_sent_through_the_element() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/media");
        let folder = tempfile::tempdir().unwrap();
        let names = folder.path().join("names.json");
        let annotated = folder.path().join("annotated.json");
        // One by its name without an extension.
        std::fs::write(&names, r#"{"astronaut": [], "chelsea.png": []}"#).unwrap();
        let run = |annotations: &Path, options: &[&str]| {
            let paths = [annotations, Path::new("--images"), media.as_path()];
            let paths = paths.map(|path| path.display().to_string());
            let options =
                paths.into_iter().chain(options.iter().map(|option| (*option).to_owned()));
            let arguments = Arguments::parse(options).unwrap().unwrap();
            let dataset = annotations::read(annotations, &arguments.choice).unwrap();
            let found = detect(&dataset, &media, &arguments).unwrap();
            (dataset, found)
        };
        let write = annotated.display().to_string();
        let (_, first) = run(&names, &["--set", "score-threshold=0.9", "--write", &write]);
        assert_eq!(first.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0]);

        let (dataset, found) = run(&annotated, &["--set", "score-threshold=0.9"]);
        assert_eq!(found, first);
        let evaluation = average_precision::evaluate(&dataset, &dataset.subsets[0], &found, 0.99);
        assert_eq!(evaluation.average_precision, 1.0);
        let (error, faces) =
            landmarks::mean_error(&dataset, &found, &evaluation.matches, Default::default())
                .unwrap();
        assert_eq!((error, faces), (0.0, 1));

        // Twice the scale, and mirrored: about the same face.
        let looks = ["--scales", "1,2", "--flip", "--whole-pixels"];
        let (_, merged) =
            run(&annotated, &[&looks[..], &["--set", "score-threshold=0.9"]].concat());
        let whole = merged[0][0].bounds;
        assert_eq!(
            whole,
            Bounds::new(
                whole.x_min.trunc(),
                whole.y_min.trunc(),
                whole.x_max.trunc(),
                whole.y_max.trunc()
            )
        );
        let evaluation = average_precision::evaluate(&dataset, &dataset.subsets[0], &merged, 0.8);
        assert_eq!(evaluation.average_precision, 1.0);

        assert_eq!(file(&media, "some/astronaut").unwrap(), media.join("astronaut.png"));
        let err = file(&media, "missing").unwrap_err().to_string();
        assert_eq!(err, format!("{}: no picture missing, which is annotated", media.display()));
    }
}
