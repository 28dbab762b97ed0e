// SPDX-License-Identifier: MIT OR Apache-2.0

//! How much memory this process may use.

use std::{fs, path::Path};

/// Bytes that the machine has, or that this process's control groups allow, whichever is least; none
/// where neither is known. What other processes use at the moment does not matter: the same pipeline
/// is to run or not.
pub fn total() -> Option<u64> {
    total_in(Path::new("/"))
}

/// [`total`], of a machine whose files are under `root`.
fn total_in(root: &Path) -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(root.join(path)).ok();
    let meminfo = read(Path::new("proc/meminfo"));
    let machine = meminfo.as_deref().and_then(|meminfo| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    });
    let groups = read(Path::new("proc/self/cgroup")).unwrap_or_default();
    let allowed = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, group) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (base, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        // Each group is limited by those around it. Inside a container only the last is to be seen.
        let groups = Path::new(group).ancestors();
        let limits = groups.filter_map(|group| read(&Path::new(base).join(group).join(file)));
        // No limit is the word max, or a huge number.
        limits.filter_map(|limit| limit.trim().parse::<u64>().ok()).min()
    });
    machine.into_iter().chain(allowed).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`total_in`] finds with these files.
    fn total_with(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, content).expect("a file");
        }
        total_in(root.path())
    }

    #[test]
    fn the_least_of_machine_and_groups_counts() {
        let machine = ("proc/meminfo", "MemTotal:       2048 kB\nMemFree:        1000 kB\n");
        assert_eq!(total_with(&[]), None);
        assert_eq!(total_with(&[machine]), Some(2 << 20));
        assert_eq!(total_with(&[("proc/meminfo", "MemTotal: many kB")]), None);
        let two = ("proc/self/cgroup", "0::/a/b\n");
        for (file, limit, expected) in [
            ("sys/fs/cgroup/a/b/memory.max", "4096\n", 4096),
            ("sys/fs/cgroup/a/memory.max", "4096\n", 4096),
            ("sys/fs/cgroup/memory.max", "4096\n", 4096),
            ("sys/fs/cgroup/a/b/memory.max", "max\n", 2 << 20),
            ("sys/fs/cgroup/a/b/memory.max", "9223372036854771712\n", 2 << 20),
            ("sys/fs/cgroup/c/memory.max", "4096\n", 2 << 20),
        ] {
            assert_eq!(total_with(&[machine, two, (file, limit)]), Some(expected), "{file}");
        }
        let one = ("proc/self/cgroup", "5:devices:/x\n4:cpu,memory:/a\n0::/\n");
        let limit = ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "8192\n");
        assert_eq!(total_with(&[machine, one, limit]), Some(8192));
        let other = ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "8192\n");
        assert_eq!(total_with(&[machine, one, other]), Some(2 << 20));
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(total().is_some_and(|total| total > 1 << 26));
    }
}
