// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line.

use std::{ffi::OsString, path::PathBuf};

use clap::{Arg, ArgAction, Command, value_parser};

pub const NAME: &str = "retinaface-faces";

const ABOUT: &str = "Finds the faces in pictures, videos and streams";

const DETAILS: &str = "\
Faces are printed as text, or with --json as one line of JSON a frame, as the element
retinafacepublish writes them. Frames are turned upright to look for faces, as the tag of a phone's
video or of a JPEG file says; boxes and landmarks are where they are in the frame as it is stored, or,
with --upright, in the frame as it is shown. They are in pixels from the top left corner.

A line of JSON has schema, source, frame, pts, stream_time, running_time, utc, width, height and
faces; a face has box, box_normalized, score, landmarks and track: docs/json.md says what they mean.

An input that fails is reported, and the next one follows. A reader of the output that goes away,
as head does, ends the program quietly.

Exit status:
  0  every input was read to its end, or nobody reads the output any more
  1  an input could not be read, or the output not be written
  2  wrong arguments

Examples:
  retinaface-faces photo.jpg
  retinaface-faces --json holiday/*.jpg --output faces.json
  retinaface-faces --json --set scale=2 --set max-size=0 crowd.mp4 | jq .faces[].score
  retinaface-faces --json rtsp://camera/stream
  curl https://example.org/photo.jpg | retinaface-faces -";

/// What the command line asks for.
pub struct Arguments {
    pub inputs: Vec<OsString>,
    /// Properties of the detector and their values.
    pub properties: Vec<(String, String)>,
    pub json: bool,
    pub upright: bool,
    /// `None`: the standard output.
    pub output: Option<PathBuf>,
}

/// Those of the process. Prints help, the version or what is wrong, and exits, where it has to.
pub fn parse() -> Arguments {
    let mut matches = command().get_matches();
    Arguments {
        inputs: matches.remove_many("input").into_iter().flatten().collect(),
        properties: matches.remove_many("set").into_iter().flatten().collect(),
        json: matches.get_flag("json"),
        upright: matches.get_flag("upright"),
        output: matches.remove_one("output").filter(|path: &PathBuf| path.as_os_str() != "-"),
    }
}

fn command() -> Command {
    Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(DETAILS)
        .arg(
            Arg::new("input")
                .value_name("INPUT")
                .help(
                    "File, URI such as rtsp://… or http://…, camera such as /dev/video0, or - for \
                     the standard input",
                )
                .required(true)
                .action(ArgAction::Append)
                .value_parser(value_parser!(OsString)),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .help("Print one line of JSON a frame")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("set")
                .long("set")
                .value_name("PROPERTY=VALUE")
                .help(
                    "Set a property of the detector: gst-inspect-1.0 retinafacedetect and README.md \
                     have them",
                )
                .action(ArgAction::Append)
                .value_parser(assignment),
        )
        .arg(
            Arg::new("upright")
                .long("upright")
                .help("Turn frames upright first, so that places are those of the picture as it is shown")
                .action(ArgAction::SetTrue),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE")
                .help("Write to a file, which is replaced, instead of the standard output (-)")
                .value_parser(value_parser!(PathBuf)),
        )
}

fn assignment(argument: &str) -> Result<(String, String), &'static str> {
    let (name, value) = argument.split_once('=').ok_or("PROPERTY=VALUE was expected")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_makes_sense() {
        command().debug_assert();
    }
}
