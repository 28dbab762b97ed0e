// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which file an address of this process comes from.

use std::{fs, path::PathBuf};

/// The file that is mapped at `address`, without links on its way.
pub fn file_at(address: usize) -> Option<PathBuf> {
    // Paths need not be UTF-8; one that is not is of no use to ONNX Runtime either.
    let maps = fs::read("/proc/self/maps").ok()?;
    file_in(&String::from_utf8_lossy(&maps), address)
}

/// Lines are "55d0-55e0 r-xp 00000000 fe:00 1234     /usr/lib/libexample.so".
fn file_in(maps: &str, address: usize) -> Option<PathBuf> {
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = &rest[rest.find('/')?..];
        // A file that was replaced while it is in use.
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        (start..end).contains(&address).then(|| PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use std::env;

    use super::*;

    #[test]
    fn the_file_is_that_of_the_mapping_around_the_address() {
        let maps = "1000-2000 r-xp 00000000 fe:00 12         /usr/lib/a b.so\n\
                    2000-3000 rw-p 00000000 00:00 0 \n\
                    3000-4000 r--p 00000000 fe:00 13         /tmp/c.so (deleted)\n\
                    4000-5000 rw-p 00000000 00:00 0          [heap]\n";
        let file = |address| file_in(maps, address);
        assert_eq!(file(0xfff), None);
        assert_eq!(file(0x1000), Some("/usr/lib/a b.so".into()));
        assert_eq!(file(0x1fff), Some("/usr/lib/a b.so".into()));
        assert_eq!(file(0x2000), None, "memory that is no file's");
        assert_eq!(file(0x3800), Some("/tmp/c.so".into()));
        assert_eq!(file(0x4800), None);
    }

    #[test]
    fn this_test_is_in_its_executable() {
        let executable = env::current_exe().expect("a path").canonicalize().expect("a file");
        assert_eq!(file_at(file_at as *const () as usize), Some(executable));
    }
}
