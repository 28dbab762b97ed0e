// SPDX-License-Identifier: MIT OR Apache-2.0

//! Faces as lines of JSON: the element `retinafacepublish`, and the program `retinaface-faces`.

mod common;

use std::{
    env, fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    os::{fd::AsRawFd, unix::net::UnixListener},
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use gst::prelude::*;
use gstretinaface::{
    face::{Face, Landmarks, Tracking, TrackingState},
    geometry::{Point, Rect},
    meta,
};
use serde_json::Value;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A pipeline of frames of 200 × 100 pixels, ten a second, through `retinafacepublish`.
struct Stream {
    pipeline: gst::Pipeline,
    bus: gst::Bus,
}

/// What a stream's messages were, in their order, up to its end.
#[derive(Default)]
struct Messages {
    error: Option<String>,
    warnings: Vec<String>,
    reader_gone: bool,
}

impl Stream {
    fn new(source: &str, properties: &str) -> Self {
        common::init();
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc pattern=black {source} ! \
             video/x-raw,format=GRAY8,width=200,height=100,framerate=10/1 ! \
             retinafacepublish name=publish {properties} ! fakesink"
        ));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
        let bus = pipeline.bus().expect("a bus");
        Self { pipeline, bus }
    }

    fn publish(&self) -> gst::Element {
        self.pipeline.by_name("publish").expect("the element")
    }

    /// Attaches what `attach` does to the frame of each number.
    fn with(self, attach: impl Fn(u64, &mut gst::Buffer) + Send + Sync + 'static) -> Self {
        attach_before(&self.publish(), attach);
        self
    }

    fn play(&self) {
        // An error is on the bus.
        let _ = self.pipeline.set_state(gst::State::Playing);
    }

    fn stop(&self) {
        self.pipeline.set_state(gst::State::Null).expect("back to NULL");
    }

    /// Those until the stream's end, which has to come.
    fn messages(&self) -> Messages {
        let mut messages = Messages::default();
        loop {
            let message = self.bus.timed_pop(gst::ClockTime::from_seconds(60));
            match message.expect("the stream ends").view() {
                gst::MessageView::Eos(_) => return messages,
                gst::MessageView::Error(err) => {
                    messages.error = Some(err.error().to_string());
                    return messages;
                }
                gst::MessageView::Warning(warning) => {
                    messages.warnings.push(warning.error().to_string());
                }
                gst::MessageView::Element(element) => {
                    let structure = element.structure().expect("a structure");
                    assert_eq!(structure.name(), "retinafacepublish-reader-gone");
                    messages.reader_gone = true;
                }
                _ => (),
            }
        }
    }

    fn run(&self) -> Messages {
        self.play();
        let messages = self.messages();
        self.stop();
        messages
    }
}

fn attach_before(
    element: &gst::Element,
    attach: impl Fn(u64, &mut gst::Buffer) + Send + Sync + 'static,
) {
    let pad = element.static_pad("sink").expect("a pad");
    let frame = std::sync::atomic::AtomicU64::new(0);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let frame = frame.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if let Some(buffer) = info.buffer_mut() {
            attach(frame, buffer);
        }
        gst::PadProbeReturn::Ok
    });
}

/// A line longer than what a pipe takes in one piece.
fn attach_many_faces(_: u64, buffer: &mut gst::Buffer) {
    for _ in 0..100 {
        attach_faces(2, buffer);
    }
}

/// Two faces on the frame 1, one on the frame 2 and none on others.
fn attach_faces(frame: u64, buffer: &mut gst::Buffer) {
    let points = [[1.5, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0], [9.0, -10.0]];
    let followed = Face {
        bounds: Rect::new(-10.0, 25.0, 50.5, 75.0),
        landmarks: Some(Landmarks(points.map(|[x, y]| Point { x, y }))),
        confidence: Some(0.75),
        tracking: Some(Tracking { id: 5, age: frame, state: TrackingState::Detected }),
    };
    let plain = Face { bounds: Rect::new(20.0, 10.0, 40.0, 50.0), ..Face::default() };
    match frame {
        1 => meta::attach_all(buffer, &[followed, plain], 200, 100),
        2 => meta::attach_all(buffer, &[plain], 200, 100),
        _ => (),
    }
}

const PLAIN: &str = "{\"box\":[20.0,10.0,40.0,50.0],\"box_normalized\":[0.1,0.1,0.2,0.5],\"score\":null,\
                     \"landmarks\":null,\"track\":null}";

/// What a line begins with, of a frame without a UTC.
fn head(source: &str, frame: u64) -> String {
    let time = frame * 100_000_000;
    format!(
        "{{\"schema\":1,\"source\":{source},\"frame\":{frame},\"pts\":{time},\"stream_time\":{time},\
         \"running_time\":{time},\"utc\":null,\"width\":200,\"height\":100,\"faces\":"
    )
}

fn values(lines: &str) -> Vec<Value> {
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_frame_is_a_line_with_keys_in_their_order() {
    let folder = folder();
    let path = folder.path().join("faces.json");
    let properties = format!("location=\"{}\" source=camera", path.display());
    let messages = Stream::new("num-buffers=3", &properties).with(attach_faces).run();
    assert_eq!((messages.error, messages.warnings.len()), (None, 0));
    let followed = "{\"box\":[-10.0,25.0,50.5,75.0],\"box_normalized\":[-0.05,0.25,0.2525,0.75],\
                    \"score\":0.75,\"landmarks\":[[1.5,2.0],[3.0,4.0],[5.0,6.0],[7.0,8.0],[9.0,-10.0]],\
                    \"track\":{\"id\":5,\"age\":1,\"state\":\"detected\"}}";
    let camera = "\"camera\"";
    let expected = [
        format!("{}[]}}\n", head(camera, 0)),
        format!("{}[{followed},{PLAIN}]}}\n", head(camera, 1)),
        format!("{}[{PLAIN}]}}\n", head(camera, 2)),
    ];
    assert_eq!(fs::read_to_string(path).expect("a file"), expected.concat());
}

#[test]
fn frames_without_faces_are_left_out_but_counted() {
    let folder = folder();
    let path = folder.path().join("faces.json");
    let properties = format!("location=\"{}\" frames=with-faces", path.display());
    Stream::new("num-buffers=4", &properties)
        .with(|frame, buffer| attach_faces(if frame == 3 { 2 } else { 0 }, buffer))
        .run();
    let expected = format!("{}[{PLAIN}]}}\n", head("null", 3));
    assert_eq!(fs::read_to_string(path).expect("a file"), expected);
}

#[test]
fn each_start_replaces_the_file_or_appends_to_it() {
    let folder = folder();
    let path = folder.path().join("faces.json");
    for (append, expected) in [(false, vec![0, 1]), (true, vec![0, 1, 0, 1])] {
        fs::write(&path, if append { "" } else { "what was there before\n" }).expect("a file");
        let properties = format!("location=\"file://{}\" append={append}", path.display());
        let stream = Stream::new("num-buffers=2", &properties);
        for _ in 0..2 {
            assert_eq!(stream.run().error, None);
        }
        let lines = values(&fs::read_to_string(&path).expect("a file"));
        let frames: Vec<_> =
            lines.iter().map(|line| line["frame"].as_u64().expect("one")).collect();
        assert_eq!(frames, expected, "append={append}");
    }
}

#[test]
fn utc_is_what_the_frame_or_a_live_clock_says() {
    let folder = folder();
    let path = folder.path().join("faces.json");
    let properties = format!("location=\"{}\"", path.display());
    let read = || values(&fs::read_to_string(&path).expect("a file"));
    Stream::new("num-buffers=1", &properties)
        .with(|_, buffer| {
            let unix = gst::Caps::new_empty_simple("timestamp/x-unix");
            let time = gst::ClockTime::from_nseconds(1_700_000_000_123_456_000);
            let buffer = buffer.make_mut();
            gst::ReferenceTimestampMeta::add(buffer, &unix, time, gst::ClockTime::NONE);
        })
        .run();
    assert_eq!(read()[0]["utc"], "2023-11-14T22:13:20.123456Z");

    // The zone's name apart, these sort as the times do.
    let now = || humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let start = now();
    Stream::new("num-buffers=2 is-live=true", &properties).run();
    let end = now();
    let lines = read();
    let utc = |line: &Value| line["utc"].as_str().expect("a time").to_owned();
    let (first, second) = (utc(&lines[0]), utc(&lines[1]));
    assert!(start <= first && first < second && second <= end, "{first} {second} {start} {end}");
}

#[test]
fn frames_in_any_memory_are_published() {
    common::init();
    let folder = folder();
    let path = folder.path().join("faces.json");
    let element = format!("retinafacepublish location=\"{}\"", path.display());
    let mut harness = gst_check::Harness::new_parse(&element);
    let caps = "video/x-raw(memory:DMABuf),format=DMA_DRM,drm-format=NV12,width=64,height=48,\
                framerate=30/1";
    harness.set_src_caps_str(caps);
    let mut buffer = gst::Buffer::new();
    meta::attach(buffer.make_mut(), &Face::default(), 64, 48);
    let passed = harness.push_and_pull(buffer).expect("it passes");
    assert_eq!(meta::faces(&passed).len(), 1);
    let line = &values(&fs::read_to_string(&path).expect("a file"))[0];
    assert_eq!((&line["width"], &line["height"]), (&64.into(), &48.into()));
    assert_eq!(line["pts"], Value::Null);
    assert_eq!(line["faces"].as_array().map(Vec::len), Some(1));
}

fn fifo(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("coreutils").success());
    path
}

#[test]
fn a_fifo_without_a_reader_holds_frames_and_nothing_else() {
    let folder = folder();
    let path = fifo(&folder);
    let stream = Stream::new("num-buffers=2", &format!("location=\"{}\"", path.display()));
    // With nobody there it waits, and can be stopped.
    stream.play();
    let wait = gst::ClockTime::from_mseconds(200);
    let end =
        stream.bus.timed_pop_filtered(wait, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert!(end.is_none(), "{end:?}");
    stream.stop();
    // With a reader who comes later it goes on.
    stream.play();
    let reader = thread::spawn(move || fs::read_to_string(path).expect("lines"));
    assert_eq!(stream.messages().error, None);
    stream.stop();
    let lines = reader.join().expect("read");
    assert_eq!(lines, format!("{}[]}}\n{}[]}}\n", head("null", 0), head("null", 1)));
}

/// Whether a pipe takes no byte more.
fn is_full(pipe: &fs::File) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(pipe, PollFlags::OUT)];
    poll(&mut fds, Some(&Timespec::default())) == Ok(0)
}

#[test]
fn a_reader_who_does_not_read_holds_frames_and_tears_no_line() {
    let folder = folder();
    let path = fifo(&folder);
    let mut pipe = fs::OpenOptions::new().read(true).write(true).open(&path).expect("a FIFO");
    // Lines of which the pipe takes a part at a time.
    let stream = Stream::new("", &format!("location=\"{}\"", path.display()));
    let stream = stream.with(attach_many_faces);
    stream.play();
    while !is_full(&pipe) {
        thread::sleep(Duration::from_millis(10));
    }
    stream.pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).expect("a seek");
    let mut line = String::new();
    let mut reader = BufReader::new(&mut pipe);
    let mut times = Vec::new();
    while times.len() < 50 {
        line.clear();
        reader.read_line(&mut line).expect("a line");
        let value = &values(&line)[0];
        assert_eq!(value["faces"].as_array().map(Vec::len), Some(100));
        times.push(value["pts"].as_u64().expect("a time"));
    }
    assert!(times[1..].contains(&0), "it went back to the start: {times:?}");
    drop(reader);
    while !is_full(&pipe) {
        thread::sleep(Duration::from_millis(10));
    }
    // Full again, it can be stopped.
    stream.stop();
}

#[test]
fn elements_that_write_to_the_same_place_leave_each_others_lines_whole() {
    common::init();
    let folder = folder();
    let file = folder.path().join("faces.json");
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let reader = thread::spawn(move || {
        let mut lines = String::new();
        reader.read_to_string(&mut lines).expect("lines");
        lines
    });
    for location in [format!("fd://{}", writer.as_raw_fd()), file.display().to_string()] {
        let camera = |name| {
            format!(
                "videotestsrc pattern=black num-buffers=100 ! video/x-raw,width=200,height=100 ! \
                 retinafacepublish name={name} source={name} location=\"{location}\" ! \
                 fakesink sync=false "
            )
        };
        let pipeline = gst::parse::launch(&(camera("left") + &camera("right")));
        let pipeline = pipeline.expect("a pipeline").downcast::<gst::Pipeline>().expect("one");
        for name in ["left", "right"] {
            attach_before(&pipeline.by_name(name).expect("an element"), attach_many_faces);
        }
        let bus = pipeline.bus().expect("a bus");
        let stream = Stream { pipeline, bus };
        assert_eq!(stream.run().error, None, "{location}");
    }
    drop(writer);
    let from_file = fs::read_to_string(file).expect("a file");
    for lines in [reader.join().expect("read"), from_file] {
        let lines = values(&lines);
        for name in ["left", "right"] {
            let lines = lines.iter().filter(|line| line["source"] == name);
            let frames: Vec<_> = lines.map(|line| line["frame"].as_u64()).collect();
            assert_eq!(frames, (0..100).map(Some).collect::<Vec<_>>(), "{name}");
        }
    }
}

#[test]
fn a_stream_that_ends_behind_a_flush_tears_no_line() {
    common::init();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let location = format!("location=fd://{}", writer.as_raw_fd());
    let mut harness = gst_check::Harness::new_parse(&format!("retinafacepublish {location}"));
    harness.set_src_caps_str("video/x-raw,format=GRAY8,width=200,height=100,framerate=10/1");
    let pad = harness.element().expect("an element").static_pad("sink").expect("a pad");
    let frames = pad.clone();
    let frames = thread::spawn(move || {
        let mut buffer = gst::Buffer::with_size(200 * 100).expect("a buffer");
        attach_many_faces(0, &mut buffer);
        // Until the pipe is full, in the middle of a line, and the flush.
        while frames.chain(buffer.clone()).is_ok() {}
    });
    let pipe = fs::File::from(std::os::fd::OwnedFd::from(writer));
    while !is_full(&pipe) {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(pad.send_event(gst::event::FlushStart::new()));
    frames.join().expect("the last frame is refused");
    let lines = thread::spawn(move || read_frames(reader));
    assert!(pad.send_event(gst::event::FlushStop::new(true)));
    assert!(pad.send_event(gst::event::Eos::new()));
    drop((harness, pipe));
    let lines = lines.join().expect("read");
    assert_eq!(lines, (0..lines.len() as u64).collect::<Vec<_>>());
}

/// Reads lines of frames until the other end closes.
fn read_frames(stream: impl Read) -> Vec<u64> {
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    let frame = |line: String| values(&line)[0]["frame"].as_u64().expect("a number");
    lines.map(frame).collect()
}

#[test]
fn lines_go_to_whom_listens_at_a_socket() {
    let folder = folder();
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).expect("a socket");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = tcp.local_addr().expect("an address").port();
    let unix = thread::spawn(move || read_frames(unix.accept().expect("a connection").0));
    let tcp = thread::spawn(move || read_frames(tcp.accept().expect("a connection").0));
    for location in [format!("unix://{}", path.display()), format!("tcp://localhost:{port}")] {
        let stream = Stream::new("num-buffers=3", &format!("location=\"{location}\""));
        assert_eq!(stream.run().error, None, "{location}");
    }
    for reader in [unix, tcp] {
        assert_eq!(reader.join().expect("read"), [0, 1, 2]);
    }
}

#[test]
fn a_reader_who_goes_away_ends_the_stream() {
    let folder = folder();
    let fifo = fifo(&folder);
    let path = folder.path().join("socket");
    let unix = UnixListener::bind(&path).expect("a socket");
    let first_line = |stream: &mut dyn Read| {
        let mut line = String::new();
        BufReader::with_capacity(64, stream).read_line(&mut line).expect("a line");
        assert!(line.starts_with("{\"schema\":1,"), "{line}");
    };
    let location = fifo.display().to_string();
    let readers = [
        (location, thread::spawn(move || first_line(&mut fs::File::open(fifo).expect("a FIFO")))),
        (
            format!("unix://{}", path.display()),
            thread::spawn(move || first_line(&mut unix.accept().expect("a connection").0)),
        ),
    ];
    for (location, reader) in readers {
        let stream = Stream::new("", &format!("location=\"{location}\""));
        let messages = stream.run();
        assert_eq!(messages.error, None, "{location}");
        assert!(messages.reader_gone, "{location}");
        reader.join().expect("read");
    }
}

#[test]
fn with_reconnect_frames_pass_until_somebody_reads_again() {
    let folder = folder();
    let path = folder.path().join("socket");
    // At first nobody listens.
    let properties = format!("location=\"unix://{}\" reconnect=true", path.display());
    let stream = Stream::new("is-live=true", &properties);
    stream.play();
    let warning = || {
        let time = gst::ClockTime::from_seconds(60);
        let types = [gst::MessageType::Warning, gst::MessageType::Error, gst::MessageType::Eos];
        match stream.bus.timed_pop_filtered(time, &types).expect("a message").view() {
            gst::MessageView::Warning(warning) => warning.error().to_string(),
            other => panic!("{other:?}"),
        }
    };
    let said = warning();
    assert!(
        said.contains("Cannot connect to the socket") && said.contains("No such file"),
        "{said}"
    );
    let listener = UnixListener::bind(&path).expect("a socket");
    for reader in ["first", "second"] {
        let (connection, _) = listener.accept().expect("a connection");
        let mut line = String::new();
        BufReader::new(connection).read_line(&mut line).expect("a line");
        let frame = values(&line)[0]["frame"].as_u64().expect("a number");
        assert!(frame > 0, "frames passed before the {reader} reader came");
        let said = warning();
        assert!(said.contains("Nobody reads the socket") && said.contains("unpublished"), "{said}");
    }
    stream.stop();
}

#[test]
fn what_cannot_be_written_is_an_error_that_says_why() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let _listener = UnixListener::bind(at("socket")).expect("a socket");
    // Nobody listens there any more.
    let closed =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("one").port();
    for (location, expected) in [
        (at("no/such/folder"), "for writing: No such file or directory"),
        (at(""), "for writing: Is a directory"),
        (at("socket"), "is a socket: location=unix:///"),
        (
            format!("unix://{}", at("nobody")),
            "No such file or directory (os error 2); a program has to",
        ),
        (format!("tcp://127.0.0.1:{closed}"), "Connection refused"),
        ("tcp://localhost".to_owned(), "must be tcp://HOST:PORT"),
        ("http://localhost".to_owned(), "begins with http://, but it must be a path"),
        ("fd://987654".to_owned(), "the file descriptor 987654, which is not open"),
        ("/dev/full".to_owned(), "Cannot write to /dev/full: No space left on device"),
    ] {
        let stream = Stream::new("num-buffers=2", &format!("location=\"{location}\""));
        let error = stream.run().error.unwrap_or_default();
        assert!(error.contains(expected), "{location}: {error}");
        // The same element does better with another location.
        stream.publish().set_property("location", at("faces.json"));
        assert_eq!(stream.run().error, None, "after {location}");
        assert_eq!(fs::read_to_string(at("faces.json")).expect("a file").lines().count(), 2);
        fs::remove_file(at("faces.json")).expect("a file");
    }
}

#[test]
fn a_file_descriptor_stays_open_for_its_owner() {
    let folder = folder();
    let path = folder.path().join("faces.json");
    let file = fs::File::create(&path).expect("a file");
    let stream = Stream::new("num-buffers=1", &format!("location=fd://{}", file.as_raw_fd()));
    for _ in 0..2 {
        assert_eq!(stream.run().error, None);
    }
    assert_eq!(fs::read_to_string(&path).expect("a file").lines().count(), 2);
}

/// Runs a line of shell, in which any part of a pipe may fail, with the plugin of this build.
fn shell(script: &str) -> Output {
    let folder = folder();
    let plugin = env::current_exe().expect("this test").with_file_name("libgstretinaface.so");
    let link = folder.path().join("libgstretinaface.so");
    std::os::unix::fs::symlink(plugin, link).expect("a link");
    let mut command = Command::new("bash");
    command.args(["-o", "pipefail", "-c", script]).env("GST_PLUGIN_PATH", folder.path());
    command.env("GST_REGISTRY", folder.path().join("registry"));
    command.env("faces", env!("CARGO_BIN_EXE_retinaface-faces"));
    command.env("clip", common::media("carphone_pristine.mp4"));
    command.env("astronaut", common::media("astronaut.png"));
    command.stdin(Stdio::null()).output().expect("bash")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn programs_in_c_end_quietly_when_nobody_reads_their_output() {
    for source in ["videotestsrc", "filesrc location=\"$clip\" ! decodebin"] {
        let output = shell(&format!(
            "gst-launch-1.0 -q {source} ! retinafacepublish ! fakesink sync=false | head -n 1"
        ));
        assert_eq!(text(&output.stderr), "", "{source}");
        assert!(output.status.success(), "{source}: {:?}", output.status);
        assert_eq!(values(&text(&output.stdout)).len(), 1, "{source}");
    }
}

#[test]
fn the_program_ends_quietly_when_nobody_reads_its_output() {
    for option in ["--json", ""] {
        let output =
            shell(&format!("\"$faces\" {option} \"$clip\" \"$clip\" nonesuch | head -n 1"));
        assert_eq!(text(&output.stderr), "", "{option}");
        assert!(output.status.success(), "{option}: {:?}", output.status);
        assert_eq!(text(&output.stdout).lines().count(), 1, "{option}");
    }
}

fn faces(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_retinaface-faces"));
    for argument in arguments {
        command.arg(argument);
    }
    command.output().expect("it runs")
}

#[test]
fn one_input_that_fails_leaves_the_others() {
    let folder = folder();
    let sound = folder.path().join("sound.wav");
    run(&format!(
        "audiotestsrc num-buffers=9 ! wavenc ! filesink location=\"{}\"",
        sound.display()
    ));
    let letter = folder.path().join("letter.txt");
    fs::write(&letter, "No picture at all, but a text of some length.\n".repeat(9))
        .expect("a file");
    let (astronaut, written) = (common::media("astronaut.png"), folder.path().join("faces.json"));
    let inputs = [&"nonesuch.jpg" as &dyn AsRef<_>, &sound, &astronaut, &letter, &astronaut];
    let options = [&"--json" as &dyn AsRef<_>, &"--output", &written];
    let output = faces(&[&inputs[..], &options].concat());
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let errors = text(&output.stderr);
    assert!(errors.contains("nonesuch.jpg: No such file or directory"), "{errors}");
    assert!(errors.contains("sound.wav: There is no picture and no video in it"), "{errors}");
    assert!(errors.contains("letter.txt: "), "{errors}");
    // Where in the source of GStreamer or of this program it was noticed.
    for source in ["panicked", ".c(", ".rs("] {
        assert!(!errors.contains(source), "{errors}");
    }
    let lines = values(&fs::read_to_string(&written).expect("a file"));
    assert_eq!(lines.len(), 2);
    for line in &lines {
        assert_eq!(line["source"], astronaut.to_str().expect("UTF-8"));
        assert_eq!(line["faces"].as_array().map(Vec::len), Some(1), "{line}");
    }
}

#[test]
fn wrong_arguments_are_named_with_what_would_be_right() {
    for (arguments, code, expected) in [
        (vec!["--help"], 0, "Exit status:"),
        (vec!["--version"], 0, concat!("retinaface-faces ", env!("CARGO_PKG_VERSION"))),
        (vec![], 2, "Usage: retinaface-faces"),
        (vec!["--frob", "x"], 2, "unexpected argument '--frob'"),
        (vec!["x", "--set", "scale"], 2, "PROPERTY=VALUE was expected"),
        (vec!["x", "--set", "nonesuch=1"], 2, "has no property nonesuch"),
        (vec!["x", "--set", "stats=1"], 2, "stats can only be read"),
        (vec!["x", "--set", "scale=9"], 2, "scale must be a number from 0.05 to 4, but is \"9\""),
        (vec!["x", "--set", "threads=-1"], 2, "threads must be a whole number from 0 to 1024"),
        (vec!["x", "--set", "tiles=some"], 2, "tiles must be one of off, auto, but is \"some\""),
        (vec!["x", "--set", "strides=7"], 2, "strides must be some of 8, 16, 32"),
        (vec!["x", "--set", "pyramid=perhaps"], 2, "pyramid must be true or false"),
    ] {
        let arguments: Vec<_> = arguments.iter().map(|text| text as &dyn AsRef<_>).collect();
        let output = faces(&arguments);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn the_elements_errors_are_shown_as_they_are() {
    let astronaut = common::media("astronaut.png");
    let output = faces(&[&astronaut, &"--set", &"model-file=nonesuch.onnx"]);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("nonesuch.onnx") && errors.contains("No such file"), "{errors}");
    assert!(!errors.contains("StateChange") && !errors.contains(".rs("), "{errors}");
    let output = faces(&[&astronaut, &"--output", &"/no/such/folder"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/folder: cannot be written"));
    let output = shell("\"$faces\" --json \"$astronaut\" > /dev/full");
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("the standard output: No space left on device"), "{errors}");
}

/// Runs a pipeline to its end.
fn run(description: &str) {
    common::init();
    let pipeline = gst::parse::launch(description).expect("a pipeline");
    let bus = pipeline.bus().expect("a bus");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let end = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &end).expect("an end");
    pipeline.set_state(gst::State::Null).expect("back to NULL");
    assert_eq!(end.type_(), gst::MessageType::Eos, "{end:?}");
}

/// The box of the only face, in the first frame that the program finds one in.
fn only_face(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> [f64; 4] {
    let output = faces(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = values(&text(&output.stdout));
    assert_eq!(lines[0]["faces"].as_array().map(Vec::len), Some(1), "{}", lines[0]);
    std::array::from_fn(|index| lines[0]["faces"][0]["box"][index].as_f64().expect("a number"))
}

fn assert_near(found: [f64; 4], expected: [f64; 4], what: &str) {
    let far = found.iter().zip(expected).any(|(found, expected)| (found - expected).abs() > 4.0);
    assert!(!far, "{what}: {found:?} instead of {expected:?}");
}

/// An MP4 file that says to turn its video by 90° with the clock, as phones write it: GStreamer 1.22's muxer
/// does not.
fn turned_by_90(mut mp4: Vec<u8>) -> Vec<u8> {
    let header = mp4.windows(4).position(|name| name == b"tkhd").expect("a track header");
    // ISO/IEC 14496-12, 8.3.2: the matrix is behind 40 bytes of a header of version 0.
    assert_eq!(mp4[header + 4], 0, "its version");
    let matrix = [0, 0x0001_0000, 0, -0x0001_0000, 0, 0, 0, 0, 0x4000_0000];
    let matrix: Vec<u8> = matrix.iter().flat_map(|number: &i32| number.to_be_bytes()).collect();
    mp4[header + 44..][..matrix.len()].copy_from_slice(&matrix);
    mp4
}

/// Photographs and videos of 512 × 512 pixels, stored turned by 90° against the clock.
#[test]
fn turned_pictures_and_videos_are_looked_at_upright() {
    let folder = folder();
    let astronaut = common::media("astronaut.png");
    let upright = only_face(&[&"--json", &astronaut]);
    let [x_min, y_min, x_max, y_max] = upright;
    // Where x was, y counts from the other end.
    let stored = [y_min, 512.0 - x_max, y_max, 512.0 - x_min];
    let turned = |frames| {
        format!(
            "{} ! videoconvert ! video/x-raw,format=I420 ! videoflip video-direction=90l",
            common::astronauts(frames)
        )
    };
    let photograph = folder.path().join("photograph.jpg");
    run(&format!(
        "{} ! jpegenc quality=95 ! filesink location=\"{}\"",
        turned(1),
        photograph.display()
    ));
    let jpeg = fs::read(&photograph).expect("a file");
    fs::write(&photograph, common::with_exif_orientation(&jpeg, 6)).expect("a file");
    let video = folder.path().join("phone.mp4");
    run(&format!(
        "{} ! avenc_mpeg4 bitrate=8000000 ! mp4mux ! filesink location=\"{}\"",
        turned(3),
        video.display()
    ));
    let mp4 = fs::read(&video).expect("a file");
    fs::write(&video, turned_by_90(mp4)).expect("a file");
    for (file, what) in [(&photograph, "photograph"), (&video, "video")] {
        // In older versions, the parser that reads how to turn it does not count as one.
        let parser = gst::ElementFactory::find("jpegparse");
        let is_plugged =
            parser.is_some_and(|parser| parser.has_type(gst::ElementFactoryType::DECODABLE));
        if what == "photograph" && !is_plugged {
            eprintln!(
                "SKIPPED: turned_pictures_and_videos_are_looked_at_upright: a {what} needs a jpegparse \
                 that decodebin takes, as GStreamer 1.22 has"
            );
            continue;
        }
        assert_near(only_face(&[&"--json", file]), stored, what);
        assert_near(only_face(&[&"--json", &"--upright", file]), upright, what);
    }
}

#[test]
fn formats_that_the_detector_does_not_take_are_converted() {
    let folder = folder();
    let astronaut = common::media("astronaut.png");
    let expected = only_face(&[&"--json", &astronaut]);
    let gray = folder.path().join("gray16.png");
    run(&format!(
        "filesrc location=\"{}\" ! pngdec ! videoconvert ! video/x-raw,format=GRAY16_BE ! pngenc ! \
         filesink location=\"{}\"",
        astronaut.display(),
        gray.display()
    ));
    assert_near(only_face(&[&"--json", &gray]), expected, "16 bits");
}

#[test]
fn the_standard_input_and_uris_are_inputs() {
    let output = shell(
        "\"$faces\" --output - - \"file://$astronaut\" <(cat \"$astronaut\") < \"$astronaut\"",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = text(&output.stdout);
    let frames: Vec<_> = lines.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(frames.len(), 3, "{lines}");
    for (frame, source) in frames.iter().zip(["-", "file:///", "/dev/fd/"]) {
        assert!(frame.starts_with(source) && frame.ends_with(", frame 0: 1 face"), "{lines}");
    }
    let found: Vec<_> = lines.lines().filter(|line| line.starts_with("  ")).collect();
    assert!(found.iter().all(|face| *face == found[0]), "{lines}");
}

#[test]
fn no_input_is_replaced() {
    let folder = folder();
    let (file, link) = (folder.path().join("picture.png"), folder.path().join("link.png"));
    fs::copy(common::media("astronaut.png"), &file).expect("a file");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let output = faces(&[&"nonesuch.png", &file, &"--output", &link]);
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    assert!(errors.contains("link.png: is an input, and would be replaced"), "{errors}");
    let (before, after) = (fs::read(common::media("astronaut.png")), fs::read(&file));
    assert_eq!(before.expect("a file"), after.expect("a file"));
}
