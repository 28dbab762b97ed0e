// SPDX-License-Identifier: MIT OR Apache-2.0

//! What inputs are, and what GStreamer reads them with.

use std::{
    error::Error,
    ffi::OsStr,
    os::unix::fs::FileTypeExt,
    path::{self, PathBuf},
};

/// The URI of an input: itself, or that of a file, of a camera or of the standard input.
pub fn uri(input: &OsStr) -> Result<String, Box<dyn Error>> {
    if input == "-" {
        return Ok("fd://0".to_owned());
    }
    if let Some(text) = input.to_str().filter(|text| is_uri(text)) {
        return Ok(text.to_owned());
    }
    // Links are not followed, as those of /dev/fd lead to pipes that have no name.
    let path = path::absolute(input)?;
    let kind = path.metadata()?.file_type();
    if kind.is_dir() {
        return Err("it is a folder: name the files in it".into());
    }
    if kind.is_char_device() {
        return Ok(format!("v4l2://{}", path.display()));
    }
    Ok(glib::filename_to_uri(path, None)?.into())
}

/// The file that an input is, if it is one.
pub fn file(input: &OsStr) -> Option<PathBuf> {
    let (path, _) = glib::filename_from_uri(&uri(input).ok()?).ok()?;
    path.is_file().then_some(path)
}

/// Whether it begins with a scheme.
fn is_uri(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use std::{io, os::fd::AsRawFd};

    use super::*;

    #[test]
    fn inputs_are_files_uris_or_the_standard_input() {
        let named = tempfile::Builder::new().prefix("a b").tempfile().unwrap();
        let path = path::absolute(named.path()).unwrap();
        // What the shell makes of <(COMMAND).
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = format!("/dev/fd/{}", reader.as_raw_fd());
        let in_uri = path.to_str().unwrap().replace(' ', "%20");
        for (input, expected) in [
            ("-", "fd://0"),
            ("rtsp://camera/stream", "rtsp://camera/stream"),
            ("/dev/null", "v4l2:///dev/null"),
            (path.to_str().unwrap(), &format!("file://{in_uri}")),
            (&pipe, &format!("file://{pipe}")),
        ] {
            assert_eq!(uri(input.as_ref()).unwrap(), expected);
        }
        for input in [path.to_str().unwrap(), &format!("file://{in_uri}")] {
            assert_eq!(file(input.as_ref()), Some(path.clone()));
        }
        for input in ["-", "/", "no/such/file", "rtsp://camera/stream"] {
            assert_eq!(file(input.as_ref()), None, "{input}");
        }
        for (input, expected) in [
            ("no/such/file", "No such file or directory"),
            ("./rtsp://x", "No such file or directory"),
            ("/", "it is a folder"),
        ] {
            let error = uri(input.as_ref()).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
