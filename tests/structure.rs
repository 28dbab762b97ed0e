// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may know whom: docs/architecture.md in a form that fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Each room of src/ and the rooms that it may use. A room is a file or a folder.
const ROOMS: &[(&str, &[&str])] = &[
    ("geometry", &[]),
    ("frame", &[]),
    ("orientation", &["geometry"]),
    ("ordered_pool", &[]),
    ("face", &["geometry"]),
    ("json", &["face", "geometry"]),
    ("tracking", &["face", "geometry"]),
    ("preprocess", &["frame", "orientation"]),
    ("alignment", &["face", "frame", "geometry", "preprocess"]),
    ("hiding", &["frame", "geometry"]),
    ("onnx", &["preprocess"]),
    ("families", &["face", "geometry", "onnx", "preprocess"]),
    ("retinaface", &["face", "families", "frame", "geometry", "orientation", "preprocess"]),
    ("model", &["families", "onnx", "preprocess"]),
    ("native", &["onnx"]),
    ("inference", &["families", "model", "native", "preprocess", "retinaface"]),
    ("gstreamer", &["alignment", "face", "frame", "geometry", "orientation", "tracking"]),
    ("retinafaceblur", &["frame", "gstreamer", "hiding"]),
    ("retinafacecrop", &["alignment", "face", "frame", "geometry", "gstreamer", "preprocess"]),
    (
        "retinafacedetect",
        &[
            "face",
            "families",
            "frame",
            "geometry",
            "gstreamer",
            "inference",
            "model",
            "ordered_pool",
            "orientation",
            "preprocess",
            "retinaface",
        ],
    ),
    ("retinafaceoverlay", &["face", "frame", "geometry", "gstreamer"]),
    ("retinafacepublish", &["gstreamer", "json"]),
    ("retinafacetrack", &["geometry", "gstreamer", "tracking"]),
    ("retinafacemetamux", &["face", "gstreamer"]),
    (
        "lib",
        &[
            "gstreamer",
            "inference",
            "retinafaceblur",
            "retinafacecrop",
            "retinafacedetect",
            "retinafacemetamux",
            "retinafaceoverlay",
            "retinafacepublish",
            "retinafacetrack",
        ],
    ),
    ("bin", &["face"]),
];

/// Crates that only some places use.
const CRATES: &[(&[&str], &[&str])] = &[
    (
        &["gst", "gst_base", "gst_video", "glib"],
        &[
            "lib.rs",
            "gstreamer/",
            "retinafaceblur/",
            "retinafacecrop/",
            "retinafacedetect/",
            "retinafacemetamux/",
            "retinafaceoverlay/",
            "retinafacepublish/",
            "retinafacetrack/",
            "bin/",
        ],
    ),
    (&["rustix"], &["retinafacepublish/"]),
    (&["humantime", "serde", "serde_json"], &["json.rs", "retinafacepublish/"]),
    (&["clap", "indicatif"], &["bin/"]),
    (&["ort"], &["inference/"]),
    (&["libloading"], &["gstreamer/analytics/", "inference/library/", "inference/nvidia/"]),
    (&["cudarc", "sha2"], &["inference/nvidia/"]),
];

/// The files of src/ without comments and unit tests, by their path in src/.
fn sources() -> BTreeMap<String, String> {
    fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder of sources").flatten() {
            match entry.path() {
                path if path.is_dir() => collect(&path, files),
                path => files.push(path),
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    let code = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("UTF-8");
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        let place = path.strip_prefix(&root).expect("in src").display().to_string();
        (place, lines.collect::<Vec<_>>().join("\n"))
    };
    let is_test = |place: &String| {
        ["tests/", "/tests.rs", "/reference.rs"].iter().any(|part| place.contains(part))
    };
    files.iter().map(code).filter(|(place, _)| !is_test(place)).collect()
}

/// Every path in `code` that begins with one of `roots`, with the braces of `use` written out.
fn paths(code: &str, roots: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for root in roots {
        for (start, _) in code.match_indices(&format!("{root}::")) {
            let before = code[..start].chars().next_back();
            if before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') {
                expand("", &code[start..], &mut found);
            }
        }
    }
    found
}

/// Reads one path, with what it branches into; returns what follows it.
fn expand<'a>(prefix: &str, code: &'a str, found: &mut Vec<String>) -> &'a str {
    let end = code.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
    let end = end.unwrap_or(code.len());
    let path = format!("{prefix}{}", &code[..end]);
    let mut rest = &code[end..];
    if !(path.ends_with("::") && rest.starts_with('{')) {
        found.push(path.trim_end_matches(':').to_owned());
        return rest;
    }
    loop {
        rest = expand(&path, rest[1..].trim_start(), found).trim_start();
        if !rest.starts_with(',') {
            return rest.strip_prefix('}').unwrap_or(rest);
        }
        // A comma after the last branch.
        if let Some(rest) = rest[1..].trim_start().strip_prefix('}') {
            return rest;
        }
    }
}

/// The module that a file holds: `["inference", "session"]` for inference/session.rs. A program is taken
/// for one too.
fn module(place: &str) -> Vec<String> {
    let path = place.trim_end_matches(".rs").trim_end_matches("/mod").trim_end_matches("/main");
    if path == "lib" { Vec::new() } else { path.split('/').map(str::to_owned).collect() }
}

/// The file that has what a path names: the longest module that it begins with.
fn file_of<'a>(files: &'a BTreeMap<String, String>, path: &[String]) -> Option<&'a String> {
    let named = |len: usize| files.keys().find(|place| module(place) == path[..len]);
    (1..=path.len()).rev().find_map(named)
}

/// The files that one file uses.
fn used_by<'a>(files: &'a BTreeMap<String, String>, place: &str, code: &str) -> BTreeSet<&'a str> {
    let here = module(place);
    let is_child = |child: &Vec<String>| child.len() == here.len() + 1 && child.starts_with(&here);
    let children = files.keys().map(|place| module(place)).filter(is_child);
    let children = children.filter_map(|child| child.last().cloned());
    let roots = ["crate", "gstretinaface", "super"].map(str::to_owned);
    let roots: Vec<_> = roots.into_iter().chain(children).collect();
    let resolve = |path: String| {
        let parts: Vec<String> = path.split("::").map(str::to_owned).collect();
        let supers = parts.iter().take_while(|part| *part == "super").count();
        let parent = &here[..here.len().saturating_sub(supers)];
        match parts[0].as_str() {
            "crate" | "gstretinaface" => parts[1..].to_vec(),
            "super" => [parent, &parts[supers..]].concat(),
            _ => [&here, parts.as_slice()].concat(),
        }
    };
    let used = paths(code, &roots).into_iter().map(resolve);
    let used = used.filter_map(|path| file_of(files, &path)).map(String::as_str);
    // A GObject's wrapper and its implementation name each other, in every plugin.
    let folder = place.strip_suffix("imp.rs").or_else(|| place.strip_suffix("imp/mod.rs"));
    let wrapper = folder.map(|folder| format!("{folder}mod.rs"));
    used.filter(|used| *used != place && Some(*used) != wrapper.as_deref()).collect()
}

fn uses(files: &BTreeMap<String, String>) -> BTreeMap<&str, BTreeSet<&str>> {
    files.iter().map(|(place, code)| (place.as_str(), used_by(files, place, code))).collect()
}

fn room(place: &str) -> &str {
    place.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn crates_stay_where_they_belong() {
    let files = sources();
    assert!(files.len() > 40, "{} files", files.len());
    for (crates, places) in CRATES {
        let names: Vec<String> = crates.iter().map(|name| (*name).to_owned()).collect();
        for (place, code) in &files {
            let allowed = places.iter().any(|allowed| place.starts_with(allowed));
            let used = paths(code, &names);
            assert!(allowed || used.is_empty(), "{place} uses {used:?}");
        }
        let used_at_all = files.values().any(|code| !paths(code, &names).is_empty());
        assert!(used_at_all, "nothing uses {names:?}: the test looks for the wrong thing");
    }
}

#[test]
fn rooms_know_only_what_is_below_them() {
    let files = sources();
    let rooms: BTreeSet<&str> = files.keys().map(|place| room(place)).collect();
    assert_eq!(rooms, ROOMS.iter().map(|(name, _)| *name).collect());
    let mut crossings = 0;
    for (place, used) in uses(&files) {
        let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == room(place)).expect("a room");
        for used in used.iter().filter(|used| room(used) != room(place)) {
            assert!(allowed.contains(&room(used)), "{place} uses {used}");
            crossings += 1;
        }
    }
    assert!(crossings > 30, "only {crossings} found");
}

#[test]
fn no_files_use_each_other() {
    fn walk<'a>(
        place: &'a str,
        uses: &BTreeMap<&'a str, BTreeSet<&'a str>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) {
        if let Some(start) = way.iter().position(|seen| *seen == place) {
            panic!("a circle: {:?}", &way[start..]);
        }
        if !done.insert(place) {
            return;
        }
        way.push(place);
        for used in &uses[place] {
            walk(used, uses, way, done);
        }
        way.pop();
    }
    let files = sources();
    let uses = uses(&files);
    let mut done = BTreeSet::new();
    for place in files.keys() {
        walk(place, &uses, &mut Vec::new(), &mut done);
    }
}
