//! Writes that fail: each of a checkpoint's in turn, and real ones.

mod common;

use std::cell::RefCell;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{ECHO, Lab, PROGRAM};
use seqlab::base::rng::Purpose;
use seqlab::config::Config;
use seqlab::config::presets;
use seqlab::data::task::Task;
use seqlab::files::checksum::Checksum;
use seqlab::files::directory::Directory;
use seqlab::files::disk::{self, Disk};
use seqlab::tensor::device::host;
use seqlab::train::checkpoint::{self, Checkpoint};
use seqlab::train::trainer::Trainer;

/// What happens at the operation that fails.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// It fails, half done; the next ones work.
    Error,
    /// The machine stops: nothing works any more, and what was not synced is lost.
    Crash,
    /// The same, but what was not synced has reached the disk.
    LateCrash,
}

#[derive(Default)]
struct State {
    done: Vec<&'static str>,
    /// Files with content that was not synced.
    unsynced: Vec<PathBuf>,
    /// Names given in directories that were not synced: from, to.
    renamed: Vec<(PathBuf, PathBuf)>,
    /// Directories whose own names were not synced.
    made: Vec<PathBuf>,
    crashed: bool,
}

/// A disk whose `n`-th operation fails.
struct Faulty {
    n: usize,
    fault: Fault,
    real: Directory,
    state: RefCell<State>,
}

/// What changes the directory that `path` is in.
fn real(path: &Path) -> Directory {
    Directory::open(disk::parent(path)).unwrap()
}

impl Faulty {
    /// One for the directory that `path` is in.
    fn new(n: usize, fault: Fault, path: &Path) -> Self {
        Self { n, fault, real: real(path), state: RefCell::default() }
    }

    /// Counts an operation, which `half` does half of.
    fn attempt(&self, what: &'static str, half: impl FnOnce()) -> io::Result<()> {
        let mut state = self.state.borrow_mut();
        if state.crashed {
            return Err(io::Error::other("crashed"));
        }
        state.done.push(what);
        if state.done.len() != self.n + 1 {
            return Ok(());
        }
        half();
        state.crashed = self.fault != Fault::Error;
        if self.fault == Fault::Crash {
            for (from, to) in state.renamed.iter().rev() {
                fs::rename(to, from).unwrap();
            }
            for file in state.unsynced.iter().filter(|file| file.exists()) {
                fs::write(file, "").unwrap();
            }
        }
        Err(io::Error::other("injected"))
    }
}

impl Disk for Faulty {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.attempt("create", || ())?;
        self.state.borrow_mut().made.push(path.to_owned());
        self.real.create_dir(path)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = || fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        self.attempt("write", half)?;
        self.state.borrow_mut().unsynced.push(path.to_owned());
        self.real.write(path, bytes)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.attempt("sync", || ())?;
        let mut state = self.state.borrow_mut();
        state.unsynced.retain(|file| file != path);
        state.renamed.retain(|(_, to)| disk::parent(to) != path);
        state.made.retain(|made| disk::parent(made) != path);
        self.real.sync(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.attempt("rename", || ())?;
        let mut state = self.state.borrow_mut();
        for file in &mut state.unsynced {
            if let Ok(rest) = file.strip_prefix(from) {
                *file = if rest == Path::new("") { to.to_owned() } else { to.join(rest) };
            }
        }
        // A file that this replaces cannot be brought back here.
        if from.is_dir() {
            state.renamed.push((from.to_owned(), to.to_owned()));
        }
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let half = || {
            if path.is_dir() {
                let first = fs::read_dir(path).unwrap().next().unwrap().unwrap().path();
                fs::remove_file(first).unwrap();
            }
        };
        self.attempt("remove", half)?;
        self.real.remove(path)
    }
}

fn config(keep_checkpoints: i64) -> Config {
    let echo = presets::find("echo").unwrap().config;
    Config { units: 3, epochs: 2, keep_checkpoints, ..echo }
}

/// A trainer after `steps` steps.
fn trainer(config: &Config, steps: usize) -> Trainer {
    let (task, seeds) = (Task::new(config), config.seeds());
    let mut trainer = Trainer::new(config, host()).unwrap();
    let epoch = task.epoch(&seeds, Purpose::Training, 0);
    (0..steps).for_each(|i| drop(trainer.learn(&epoch.batch(i * 5..i * 5 + 5)).unwrap()));
    trainer
        .restore(&seqlab::run::manifest::Position::at(trainer.epochs(), steps as i64), &[0.0; 8]);
    trainer
}

fn newest(path: &Path) -> Checkpoint {
    checkpoint::newest(path).unwrap().whole.unwrap()
}

/// Everything in the checkpoint, but for its name.
fn content(checkpoint: &Checkpoint) -> common::Tree {
    common::tree(&checkpoint.path)
}

#[test]
fn whichever_operation_of_a_save_fails_the_checkpoint_before_or_the_new_one_is_there() {
    let mut points = 0;
    for keep in [1, 2] {
        let config = config(keep);
        let [mut first, mut second, mut third] = [1, 2, 3].map(|steps| trainer(&config, steps));
        let reference = tempfile::tempdir().unwrap();
        let save = |disk: &dyn Disk, path: &Path, trainer: &mut Trainer| {
            checkpoint::save(disk, path, trainer, Checksum::of(b"rows"))
        };
        let [old, new] = [("old", &mut second), ("new", &mut third)].map(|(name, trainer)| {
            let path = reference.path().join(name);
            save(&real(&path), &path, trainer).unwrap();
            content(&newest(&path))
        });
        for fault in [Fault::Error, Fault::Crash, Fault::LateCrash] {
            for n in 0.. {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("checkpoint");
                save(&real(&path), &path, &mut first).unwrap();
                save(&real(&path), &path, &mut second).unwrap();
                // What a save that was cut short before left.
                fs::create_dir(path.join("partial")).unwrap();
                fs::write(path.join("partial/weights.safetensors"), "x").unwrap();
                let disk = Faulty::new(n, fault, &path);
                let saved = save(&disk, &path, &mut third);
                let done = disk.state.borrow().done.clone();
                if done.len() <= n {
                    assert!(saved.is_ok(), "{saved:?}");
                    assert!(content(&newest(&path)) == new);
                    let wanted = ["create", "write", "sync", "rename", "remove"];
                    assert!(wanted.iter().all(|what| done.contains(what)), "{done:?}");
                    points += n;
                    break;
                }
                let error = format!("{:#}", saved.unwrap_err());
                assert!(error.contains(&folder.path().display().to_string()), "{error}");
                assert!(error.contains("injected"), "{error}");
                let found = content(&newest(&path));
                let renamed = done[..n].contains(&"rename");
                assert!(found == old || (renamed && found == new), "{fault:?} at {n}: {done:?}");
                // The next process goes on as if nothing had been.
                save(&real(&path), &path, &mut third).unwrap();
                assert!(content(&newest(&path)) == new);
                assert!(!path.join("partial").exists());
                let kept = fs::read_dir(&path).unwrap().count();
                assert_eq!(kept as i64, keep, "{fault:?} at {n}");
            }
        }
    }
    println!("{points} points of failure");
    assert!(points >= 60, "{points}");
}

#[test]
fn whichever_operation_of_the_first_save_fails_there_is_none_or_that_one() {
    let config = config(2);
    let mut trainer = trainer(&config, 2);
    for fault in [Fault::Error, Fault::Crash, Fault::LateCrash] {
        for n in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("checkpoint");
            let disk = Faulty::new(n, fault, &path);
            let saved = checkpoint::save(&disk, &path, &mut trainer, Checksum::of(b"rows"));
            let found = checkpoint::newest(&path).unwrap().whole;
            if saved.is_ok() {
                assert!(disk.state.borrow().done.len() <= n && found.is_some());
                break;
            }
            assert!(found.is_none_or(|found| found.manifest.position.step == 2));
        }
    }
}

#[test]
fn a_file_is_replaced_or_stays() {
    for fault in [Fault::Error, Fault::Crash, Fault::LateCrash] {
        for n in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("config.toml");
            fs::write(&path, "old").unwrap();
            let replaced = disk::replace(&Faulty::new(n, fault, &path), &path, b"new");
            let found = fs::read_to_string(&path).unwrap();
            if replaced.is_ok() {
                assert_eq!((found.as_str(), n), ("new", 4));
                break;
            }
            assert_eq!(found, if n < 3 { "old" } else { "new" }, "{fault:?} at {n}");
        }
    }
}

#[test]
fn a_new_directory_and_those_made_above_it_are_synced_where_they_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let first = folder.path().join("a");
    let path = first.join("b/c");
    let disk = Faulty::new(usize::MAX, Fault::Crash, &first);
    disk::create_dirs(&disk, &path).unwrap();
    let state = disk.state.borrow();
    assert_eq!(state.done, ["create", "sync"].repeat(3));
    assert!(path.is_dir() && state.made.is_empty(), "{:?}", state.made);
    for n in 0..6 {
        fs::remove_dir_all(&first).unwrap();
        let disk = Faulty::new(n, Fault::Error, &first);
        disk::create_dirs(&disk, &path).unwrap_err();
        disk::create_dirs(&real(&first), &path).unwrap();
    }
}

const LONG: &str = "--units 8 --epochs 100000000 --log-every 4 --checkpoint-every 400 --quiet \
                    --device cpu";

/// Goes on with `run`, which something stopped, a few epochs beyond its last checkpoint, and finds it
/// equal to a run that nothing stopped.
#[cfg(unix)]
fn resumes(lab: &Lab, run: &str) {
    let step = newest(&lab.path(run).join("checkpoint")).manifest.position.step;
    let epochs = step / 4 + 3;
    lab.run(&format!("resume {run} --quiet --epochs {epochs}"));
    let short = LONG.replace("100000000", &epochs.to_string());
    lab.train(&format!("echo {}", short.replace("--quiet", "")), "whole");
    lab.same_run(run, "whole");
    fs::remove_dir_all(lab.path("whole")).unwrap();
}

#[cfg(unix)]
fn fails(output: &Output, says: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.starts_with("error: cannot "), "{stderr}");
    assert!(says.iter().all(|text| stderr.contains(text)), "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_ends_a_run_with_whole_rows_and_the_last_checkpoint() {
    let lab = Lab::new();
    // In blocks of 512 or 1024 bytes, as the shell likes.
    let script = format!("ulimit -f 120; exec {PROGRAM} train echo {LONG} --out run");
    let output = Command::new("sh").args(["-c", &script]).current_dir(lab.path(".")).output();
    fails(&output.unwrap(), &["error: cannot write run/curves.csv: File too large"]);
    assert!(lab.read("run/curves.csv").ends_with('\n'));
    resumes(&lab, "run");
}

/// A file system of its own of `size` bytes at `lab/disk`, if this may be made.
#[cfg(target_os = "linux")]
struct Tmpfs(PathBuf);

#[cfg(target_os = "linux")]
impl Tmpfs {
    fn new(lab: &Lab, size: &str) -> Option<Self> {
        let path = lab.path("disk");
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        println!("skipped: no file system can be mounted here");
        None
    }

    fn read_only(&self, yes: bool) {
        let options = if yes { "remount,ro" } else { "remount,rw" };
        let mut mount = Command::new("mount");
        assert!(mount.args(["-o", options]).arg(&self.0).status().unwrap().success());
    }
}

#[cfg(target_os = "linux")]
impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_ends_a_run_with_whole_rows_and_the_last_checkpoint() {
    let lab = Lab::new();
    let Some(disk) = Tmpfs::new(&lab, "400k") else { return };
    let output = lab.command(&format!("train echo {LONG} --out disk/run")).output().unwrap();
    fails(&output, &["cannot write disk/run/", "No space left on device"]);
    assert!(lab.read("disk/run/curves.csv").ends_with('\n'));
    assert!(!lab.path("disk/run/checkpoint/partial").exists());
    lab.copy("disk/run", "run");
    drop(disk);
    resumes(&lab, "run");
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_full_before_a_run_begins_is_told_and_costs_no_other_run() {
    let lab = Lab::new();
    // Room for so many files and directories, its root among them: for all but the run's directory,
    // its lock, its configuration and its curves in turn.
    for files in 1..5 {
        let Some(disk) = Tmpfs::new(&lab, &format!("1m,nr_inodes={files}")) else { return };
        let output = lab.command("train echo --out disk/run").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{files}: {stderr}");
        assert!(stderr.starts_with("error: --out disk/run: cannot "), "{files}: {stderr}");
        assert!(stderr.contains("No space left on device"), "{files}: {stderr}");
        drop(disk);
        fs::remove_dir(lab.path("disk")).unwrap();
    }
    let Some(disk) = Tmpfs::new(&lab, "1m,nr_inodes=20") else { return };
    lab.train(ECHO, "disk/run");
    let before = common::tree(&lab.path("disk/run"));
    // The lock takes the last.
    let fill = |n| fs::write(lab.path(&format!("disk/fill{n}")), "");
    let filled = (0..).take_while(|n| fill(*n).is_ok()).count();
    fs::remove_file(lab.path(&format!("disk/fill{}", filled - 1))).unwrap();
    let says = "error: --out disk/run: cannot be written: No space left on device";
    lab.fails(2, "train echo --out disk/run --force", &[says]);
    assert!(common::tree(&lab.path("disk/run")) == before);
    drop(disk);
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_directory_is_told_and_left_alone() {
    let lab = Lab::new();
    let Some(disk) = Tmpfs::new(&lab, "4m") else { return };
    lab.train(ECHO, "disk/run");
    disk.read_only(true);
    let says = "Read-only file system";
    lab.refuses(2, "train echo --out disk/new", &["--out disk/new: cannot be written: ", says]);
    lab.refuses(2, "train echo --out disk/run --force", &["--out disk/run: cannot be", says]);
    lab.refuses(1, "resume disk/run --epochs 3", &["cannot lock disk/run/lock: ", says]);
    lab.run("evaluate disk/run");
    disk.read_only(false);
}

#[cfg(unix)]
#[test]
fn a_directory_that_vanishes_ends_the_run() {
    let lab = Lab::new();
    let mut command = Command::new(PROGRAM);
    command.args(format!("train echo {LONG} --out run").split_whitespace());
    command.current_dir(lab.path(".")).stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    let saved = |path: &Path| checkpoint::newest(path).is_ok_and(|found| found.whole.is_some());
    while !saved(&lab.path("run/checkpoint")) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    fs::rename(lab.path("run"), lab.path("elsewhere")).unwrap();
    fails(&child.wait_with_output().unwrap(), &["cannot write run: it was moved, removed or repl"]);
    resumes(&lab, "elsewhere");
}
