// SPDX-License-Identifier: MIT OR Apache-2.0

//! The threads that run a network: how many, and on which CPUs.

mod common;

use std::{collections::BTreeSet, env, fs, process::Command};

use gst::prelude::*;
use gstretinaface::inference::{self, Provider};

/// The value of a line such as "Cpus_allowed_list:\t0-1".
fn status(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(|value| value.trim().to_owned())
}

/// Run by itself below: loads the network, and prints the number of threads then and their CPUs.
#[test]
#[ignore = "run by the other tests"]
fn count_here() {
    common::init();
    let properties = env::var("PROPERTIES").expect("set by the other test");
    let pipeline = gst::parse::launch(&format!(
        "videotestsrc ! video/x-raw,width=64,height=64 ! retinafacedetect {properties} ! fakesink"
    ));
    let pipeline = pipeline.expect("a pipeline");
    pipeline.set_state(gst::State::Paused).expect("it starts");
    let (paused, _, _) = pipeline.state(gst::ClockTime::from_seconds(60));
    paused.expect("a frame has passed");
    let threads = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let cpus = |thread: fs::DirEntry| {
        status(&thread.path().join("status").display().to_string(), "Cpus_allowed_list")
    };
    // A thread that ends meanwhile has no CPUs.
    let cpus: Vec<_> = threads.filter_map(cpus).collect();
    println!("\nTHREADS {}", cpus.len());
    cpus.iter().for_each(|cpus| println!("CPUS {cpus}"));
    pipeline.set_state(gst::State::Null).expect("back to NULL");
}

/// The number of threads in a process that may run on `cpus`. None of them leaves these.
fn threads(cpus: &str, properties: &str) -> usize {
    let output = Command::new("taskset")
        .args(["-c", cpus])
        .arg(env::current_exe().expect("this test"))
        .args(["--exact", "count_here", "--ignored", "--nocapture"])
        .env("PROPERTIES", properties)
        .output()
        .expect("taskset is installed with every Linux");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let lines = |name: &'static str| text.lines().filter_map(move |line| line.strip_prefix(name));
    let all: BTreeSet<_> = lines("CPUS ").collect();
    assert_eq!(all, BTreeSet::from([cpus]), "with {properties}");
    lines("THREADS ").next().and_then(|count| count.parse().ok()).expect("a number")
}

/// For providers that compute on the CPU.
fn one_thread_per_cpu(provider: &str) {
    let provider = format!("execution-provider={provider}");
    let all = status("/proc/self/status", "Cpus_allowed_list").expect("Linux");
    let first: String = all.chars().take_while(char::is_ascii_digit).collect();
    let last = all.rsplit(|c: char| !c.is_ascii_digit()).next().expect("a number");
    let threads = |cpus: &str, count: &str| threads(cpus, &format!("{provider} threads={count}"));
    for cpu in [&first, last] {
        assert_eq!(threads(cpu, "0"), threads(cpu, "1"), "on CPU {cpu}");
    }
    let count = std::thread::available_parallelism().expect("Linux");
    assert_eq!(threads(&all, "0"), threads(&all, &count.to_string()), "on CPUs {all}");
}

#[test]
fn native_has_one_thread_per_cpu() {
    one_thread_per_cpu("native");
}

#[test]
fn the_cpu_has_one_thread_per_cpu() {
    one_thread_per_cpu("cpu");
}

#[test]
fn openvino_has_one_thread_per_cpu() {
    common::init();
    inference::environment(|_, _| ()).expect("ONNX Runtime");
    match Provider::OpenVino.find() {
        Ok(()) => one_thread_per_cpu("openvino"),
        Err(why) => eprintln!("SKIPPED: openvino_has_one_thread_per_cpu: {why}"),
    }
}
