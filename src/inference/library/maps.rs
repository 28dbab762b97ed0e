// SPDX-License-Identifier: MIT OR Apache-2.0

//! The files of which this process consists.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

/// The file that is mapped at `address`, without links on its way.
pub fn file_at(address: usize) -> Option<PathBuf> {
    read().into_iter().find(|(range, _)| range.contains(&address)).map(|(_, file)| file)
}

/// Where a file that is loaded begins.
pub fn start_of(file: &Path) -> Option<usize> {
    read().into_iter().find(|(_, mapped)| mapped == file).map(|(range, _)| range.start)
}

/// All files that are mapped, some of them several times.
pub fn files() -> impl Iterator<Item = PathBuf> {
    read().into_iter().map(|(_, file)| file)
}

/// In the order of addresses.
fn read() -> Vec<(Range<usize>, PathBuf)> {
    let maps = fs::read("/proc/self/maps").unwrap_or_default();
    parse(&String::from_utf8_lossy(&maps))
}

/// Lines are "55d0-55e0 r-xp 00000000 fe:00 1234     /usr/lib/libexample.so".
fn parse(maps: &str) -> Vec<(Range<usize>, PathBuf)> {
    let parse = |line: &str| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = &rest[rest.find('/')?..];
        // A file that was replaced while it is in use.
        Some((start..end, path.strip_suffix(" (deleted)").unwrap_or(path).into()))
    };
    maps.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn mappings_of_files_are_read() {
        let maps = "1000-2000 r-xp 00000000 fe:00 12         /usr/lib/a b.so\n\
                    2000-3000 rw-p 00000000 00:00 0 \n\
                    3000-4000 r--p 00000000 fe:00 13         /tmp/c.so (deleted)\n\
                    4000-5000 rw-p 00000000 00:00 0          [heap]\n";
        let expected = [(0x1000..0x2000, "/usr/lib/a b.so"), (0x3000..0x4000, "/tmp/c.so")];
        assert_eq!(parse(maps), expected.map(|(range, file)| (range, file.into())));
    }

    #[test]
    fn this_test_is_in_its_executable() {
        let executable = env::current_exe().expect("a path").canonicalize().expect("a file");
        let address = file_at as *const () as usize;
        assert_eq!(file_at(address), Some(executable.clone()));
        assert!(start_of(&executable).is_some_and(|start| start < address));
        assert_eq!(file_at(0), None);
    }
}
