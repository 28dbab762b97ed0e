// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line.

use std::{collections::VecDeque, path::PathBuf};

use crate::{
    annotations::Choice,
    common::{self, Error},
    dataset::Protocol,
    element::{SCALES, Scale},
    landmarks::Norm,
};

pub const HELP: &str = "\
How well faces are found: average precision (AP) and error of the five points.

    accuracy ANNOTATIONS --images FOLDER [--write PATH] [--scales LIST] [--flip] [--set NAME=VALUE]…
    accuracy ANNOTATIONS --detections PATH

ANNOTATIONS is one of
  a folder with WIDER FACE's wider_easy_val.mat, wider_medium_val.mat and wider_hard_val.mat (the
      evaluation toolkit's ground_truth), or one .mat file like them
  wider_face_val_bbx_gt.txt: has no difficulties, so one set of all faces not marked invalid
  a .json file of COCO (iscrowd and ignore do not count; five keypoints are the face's points)
  a .json or .jsonl file like the output of retinaface-faces --json, or {\"NAME\": [faces]}
  a .xml file of PASCAL VOC, or a folder of them (difficult does not count)

Detections
  --images FOLDER       send the pictures in FOLDER, which has them by the names of the annotations,
                        through retinafacedetect
  --set NAME=VALUE      set a property of retinafacedetect; unless set, they are max-size=0
                        score-threshold=0.02 iou-threshold=0.4 max-detections=750, as published test
                        scripts have it, and orientation=identity, as annotations are of pictures as
                        they are stored
  --scales 0.5,1,1.5    look at each picture at several scales (property scale)
  --sides 800:1200,…    look at it so large that its shorter side is 800 pixels, or less so that its
                        longer side is at most 1200
  --flip                look at it mirrored as well. With several looks, no boxes are suppressed; from
                        the best score down, all that overlap by iou-threshold are averaged, weighted
                        by score, and single ones dropped: bbox_vote of InsightFace's test_widerface.py
  --write PATH          write what was found: EVENT/NAME.txt into a folder, in WIDER FACE's format, or
                        lines of JSON (with the points) into a file called .json or .jsonl
  --whole-pixels        drop the fractions of pixels, as Pytorch_Retinaface and InsightFace do
  --detections PATH     evaluate what somebody wrote: a folder of WIDER FACE's text files, COCO's list
                        of results, or JSON as above with scores

Evaluation
  --protocol wider|voc  wider: as WIDER FACE's toolkit, 1000 thresholds (default for its annotations);
                        voc: PASCAL VOC's area under the whole curve (default for all others)
  --iou 0.5,0.75        from which overlap a face is found (default 0.5)
  --nme box|eyes        divide the error of points by the square root of the box's area (default) or by
                        the distance of the eyes
  --category NAME       COCO's category or VOC's object, if there are several
  --list NAME           the list of faces, if a picture's JSON has several

docs/accuracy.md has the formulas, their sources, and how to run WIDER FACE.";

#[derive(Debug)]
pub enum Source {
    Images(PathBuf),
    Detections(PathBuf),
}

#[derive(Debug)]
pub struct Arguments {
    pub annotations: PathBuf,
    pub source: Source,
    /// Properties of the detector and their values.
    pub properties: Vec<(String, String)>,
    pub scales: Vec<Scale>,
    pub flip: bool,
    pub write: Option<PathBuf>,
    pub whole_pixels: bool,
    /// `None`: what the annotations ask for.
    pub protocol: Option<Protocol>,
    pub ious: Vec<f64>,
    pub norm: Norm,
    pub choice: Choice,
}

impl Arguments {
    /// `None` where help is asked for.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, Error> {
        let mut arguments: VecDeque<_> = arguments.collect();
        let (mut annotations, mut images, mut detections) = (None, None, None);
        let (mut write, mut protocol, mut norm) = (None, None, Norm::default());
        let (mut properties, mut scales, mut ious) = (Vec::new(), Vec::new(), vec![0.5]);
        let (mut flip, mut whole_pixels) = (false, false);
        let mut choice = Choice::default();
        while let Some(argument) = arguments.pop_front() {
            let mut value = || {
                let value = arguments.pop_front();
                value.ok_or_else(|| format!("{argument} needs a value; see --help"))
            };
            match argument.as_str() {
                "-h" | "--help" => return Ok(None),
                "--images" => images = Some(value()?.into()),
                "--detections" => detections = Some(value()?.into()),
                "--write" => write = Some(value()?.into()),
                "--set" => {
                    let assignment = value()?;
                    let property = common::assignment(&assignment);
                    properties.push(
                        property.ok_or_else(|| {
                            format!("--set {assignment}: NAME=VALUE was expected")
                        })?,
                    );
                }
                "--scales" => {
                    let factors = numbers(&argument, &value()?, SCALES)?;
                    scales.extend(factors.into_iter().map(Scale::By));
                }
                "--sides" => scales.extend(sides(&value()?)?),
                "--flip" => flip = true,
                "--whole-pixels" => whole_pixels = true,
                "--protocol" => {
                    protocol = Some(match value()?.as_str() {
                        "wider" => Protocol::Wider,
                        "voc" => Protocol::Voc,
                        other => {
                            return Err(
                                format!("--protocol {other}: wider or voc was expected").into()
                            );
                        }
                    });
                }
                "--iou" => ious = numbers(&argument, &value()?, f64::MIN_POSITIVE..=1.0)?,
                "--nme" => {
                    norm = match value()?.as_str() {
                        "box" => Norm::Box,
                        "eyes" => Norm::Eyes,
                        other => {
                            return Err(format!("--nme {other}: box or eyes was expected").into());
                        }
                    };
                }
                "--category" => choice.category = Some(value()?),
                "--list" => choice.list = Some(value()?),
                option if option.starts_with('-') => {
                    return Err(format!("unknown option {option}; see --help").into());
                }
                _ if annotations.is_none() => annotations = Some(argument.into()),
                other => {
                    return Err(
                        format!("{other}: annotations are one file or folder; see --help").into()
                    );
                }
            }
        }
        let source = match (images, detections) {
            (Some(images), None) => Source::Images(images),
            (None, Some(detections)) => Source::Detections(detections),
            _ => return Err("give either --images or --detections; see --help".into()),
        };
        let for_images =
            !properties.is_empty() || !scales.is_empty() || flip || write.is_some() || whole_pixels;
        if for_images && matches!(source, Source::Detections(_)) {
            return Err(
                "--set, --scales, --sides, --flip, --write and --whole-pixels need --images".into(),
            );
        }
        let annotations = annotations.ok_or("no annotations; see --help")?;
        Ok(Some(Self {
            annotations,
            source,
            properties,
            scales,
            flip,
            write,
            whole_pixels,
            protocol,
            ious,
            norm,
            choice,
        }))
    }
}

/// Numbers with commas between them.
fn numbers(
    option: &str,
    list: &str,
    range: std::ops::RangeInclusive<f64>,
) -> Result<Vec<f64>, Error> {
    let number = |text: &str| text.parse().ok().filter(|number| range.contains(number));
    list.split(',').map(number).collect::<Option<_>>().ok_or_else(|| {
        let (from, to) = (range.start(), range.end());
        let from = if *from < 0.01 { "0".to_owned() } else { from.to_string() };
        format!(
            "{option} {list}: numbers from {from} to {to} were expected, with commas between them"
        )
        .into()
    })
}

/// `SHORTER:LONGER` with commas between them.
fn sides(list: &str) -> Result<Vec<Scale>, Error> {
    let pair = |text: &str| {
        let (shorter, longer) = text.split_once(':')?;
        let (shorter, longer): (u32, u32) = (shorter.parse().ok()?, longer.parse().ok()?);
        let scale = Scale::To { shorter: shorter.into(), longer: longer.into() };
        (0 < shorter && shorter <= longer).then_some(scale)
    };
    let pairs = list.split(',').map(pair).collect::<Option<_>>();
    pairs.ok_or_else(|| format!("--sides {list}: lengths as 800:1200 were expected").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>, String> {
        let arguments = line.split_whitespace().map(str::to_owned);
        Arguments::parse(arguments).map_err(|err| err.to_string())
    }

    #[test]
    fn every_option() {
        let line = "a.mat --images pictures --set in-flight=2 --set x=y=z --scales 0.5,1 --sides 8:12 --flip --write out \
                    --whole-pixels --protocol voc --iou 0.5,0.75 --nme eyes --category face --list x";
        let read = parse(line).unwrap().unwrap();
        assert_eq!(read.annotations.as_os_str(), "a.mat");
        assert!(matches!(read.source, Source::Images(path) if path.as_os_str() == "pictures"));
        let set = [("in-flight", "2"), ("x", "y=z")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(read.properties, set);
        let to = Scale::To { shorter: 8.0, longer: 12.0 };
        assert_eq!(read.scales, [Scale::By(0.5), Scale::By(1.0), to]);
        assert_eq!(read.ious, [0.5, 0.75]);
        assert!(read.flip && read.whole_pixels);
        assert_eq!(read.write.unwrap().as_os_str(), "out");
        assert_eq!((read.protocol, read.norm), (Some(Protocol::Voc), Norm::Eyes));
        assert_eq!(read.choice.category.as_deref(), Some("face"));
        assert_eq!(read.choice.list.as_deref(), Some("x"));

        let read = parse("a.json --detections found").unwrap().unwrap();
        assert!(matches!(read.source, Source::Detections(path) if path.as_os_str() == "found"));
        assert_eq!((read.protocol, read.norm, read.ious), (None, Norm::Box, vec![0.5]));
        assert!(parse("--frob").is_err());
        assert!(parse("a --help").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            ("", "give either --images or --detections"),
            ("a --images b --detections c", "give either --images or --detections"),
            ("--images b", "no annotations"),
            ("a b --images c", "b: annotations are one file or folder"),
            ("a --images", "--images needs a value"),
            ("a --frob", "unknown option --frob"),
            ("a --images b --set x", "--set x: NAME=VALUE"),
            ("a --images b --scales 1,x", "--scales 1,x: numbers from 0.05 to 4"),
            ("a --images b --scales 5", "--scales 5: numbers from 0.05 to 4"),
            ("a --images b --sides 800", "--sides 800: lengths as 800:1200"),
            ("a --images b --sides 9:8", "--sides 9:8: lengths as 800:1200"),
            ("a --images b --iou 0", "--iou 0: numbers from 0 to 1"),
            ("a --images b --iou nan", "--iou nan: numbers from 0 to 1"),
            ("a --images b --nme x", "--nme x: box or eyes"),
            ("a --images b --protocol x", "--protocol x: wider or voc"),
            (
                "a --detections b --flip",
                "--set, --scales, --sides, --flip, --write and --whole-pixels need --images",
            ),
        ];
        for (line, expected) in table {
            let err = parse(line).unwrap_err();
            assert!(err.starts_with(expected), "{err} for {line}");
        }
    }
}
