//! How much memory the process can have, by what Linux reports.

use std::path::{Path, PathBuf};

/// Bytes that the process can have without swapping: what the machine has left and what its control
/// groups leave, whichever is less. `None` where the system does not report it.
pub fn available() -> Option<u64> {
    available_by(&|path| std::fs::read_to_string(path).ok())
}

/// The same where `read` gives the content of the system's files.
fn available_by(read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = machine(&read(Path::new("/proc/meminfo"))?)?;
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(|line| group(line, read));
    Some(left.fold(machine, u64::min))
}

/// `MemAvailable` of `/proc/meminfo`: free memory, and what the system can reclaim.
fn machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files of one version of control groups.
struct Version {
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    /// The line of `memory.stat` with the file pages that can be reclaimed.
    cache: &'static str,
}

const V1: Version = Version {
    root: "/sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    cache: "total_inactive_file",
};

const V2: Version = Version {
    root: "/sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    cache: "inactive_file",
};

/// What the group of this line of `/proc/self/cgroup` and its parents leave.
fn group(line: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let (_, line) = line.split_once(':')?;
    let (controllers, path) = line.split_once(':')?;
    let version = match controllers {
        "" => V2,
        _ if controllers.split(',').any(|name| name == "memory") => V1,
        _ => return None,
    };
    // Inside a container the path may be that of the host, of which only the root is there.
    let own = PathBuf::from(format!("{}{path}", version.root));
    let root = Path::new(version.root);
    let groups = own.ancestors().take_while(|group| group.starts_with(root));
    groups.filter_map(|group| left(&version, group, read)).min()
}

/// What the group in this directory leaves; `None` where it has no limit.
fn left(version: &Version, group: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let number = |file: &str| read(&group.join(file))?.trim().parse::<u64>().ok();
    let limit = number(version.limit)?;
    let used = number(version.used).unwrap_or(0);
    let stat = read(&group.join("memory.stat")).unwrap_or_default();
    let cache = stat.lines().find_map(|line| line.strip_prefix(version.cache)?.trim().parse().ok());
    Some(limit.saturating_sub(used.saturating_sub(cache.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:  24684092 kB\nMemFree: 1 kB\nMemAvailable:   20000 kB\n";

    fn with(files: &[(&str, &str)]) -> Option<u64> {
        available_by(&|path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn without_groups_it_is_what_the_machine_has_left() {
        assert_eq!(with(&[("/proc/meminfo", MEMINFO)]), Some(20_000 * 1024));
        let groups = ("/proc/self/cgroup", "4:memory:/a\n0::/a\n");
        assert_eq!(with(&[("/proc/meminfo", MEMINFO), groups]), Some(20_000 * 1024));
        assert_eq!(with(&[("/proc/meminfo", "MemTotal: 5 kB\n")]), None);
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn the_strictest_group_on_the_way_up_counts_and_its_cache_does_not() {
        let group = |own, limit, used, stat, root: &'static str| {
            with(&[
                ("/proc/meminfo", MEMINFO),
                ("/proc/self/cgroup", own),
                limit,
                used,
                stat,
                (root, "18446744073709551615"),
            ])
        };
        let v2 = group(
            "0::/a/b\n",
            ("/sys/fs/cgroup/a/memory.max", "5000\n"),
            ("/sys/fs/cgroup/a/memory.current", "4000\n"),
            ("/sys/fs/cgroup/a/memory.stat", "anon 1\ninactive_file 300\n"),
            "/sys/fs/cgroup/memory.max",
        );
        assert_eq!(v2, Some(1300));
        let v1 = group(
            "5:cpu:/x\n4:hugetlb,memory:/docker/1\n0::/\n",
            ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "7000\n"),
            ("/sys/fs/cgroup/memory/memory.usage_in_bytes", "8000\n"),
            ("/sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2500\n"),
            "/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
        );
        assert_eq!(v1, Some(1500));
        let unlimited = group(
            "0::/a\n",
            ("/sys/fs/cgroup/a/memory.max", "max\n"),
            ("/sys/fs/cgroup/a/memory.current", "4000\n"),
            ("", ""),
            "/elsewhere",
        );
        assert_eq!(unlimited, Some(20_000 * 1024));
    }
}
