//! Runs the `seqlab` program in a directory of its own.

#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::Command;
use tempfile::TempDir;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_seqlab");

/// Runs of a fraction of a second, one of each family.
pub const ECHO: &str = "echo --epochs 2 --evaluation-samples 40";
pub const PARTIAL: &str = "partial-echo-2 --units 8 --epochs 3 --evaluation-samples 42";
pub const REVERSE: &str = "reverse --units 8 --samples 80 --evaluation-samples 50";
pub const FAMILIES: [&str; 3] = [ECHO, PARTIAL, REVERSE];

pub const CURVES: &str = "replica,seed,epoch,step,samples,loss,accuracy,val_loss,val_accuracy,\
                          val_sequence_accuracy,learning_rate,grad_norm,seconds";
pub const PREDICTIONS: &str = "replica,source,expected,predicted,correct";

/// A directory in which commands run.
pub struct Lab(TempDir);

impl Lab {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    /// A lab with the run `run`, trained with these arguments.
    pub fn with_run(training: &str) -> Self {
        let lab = Self::new();
        lab.train(training, "run");
        lab
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    pub fn read(&self, relative: &str) -> String {
        String::from_utf8(self.bytes(relative)).unwrap()
    }

    pub fn bytes(&self, relative: &str) -> Vec<u8> {
        fs::read(self.path(relative)).unwrap_or_else(|e| panic!("{relative}: {e}"))
    }

    /// The newest checkpoint of `run`, `run/checkpoint/step-…`.
    pub fn newest(&self, run: &str) -> String {
        let names = fs::read_dir(self.path(run).join("checkpoint")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        format!("{run}/checkpoint/{}", names.max().unwrap())
    }

    /// The file `name` of `run`, where that of its newest checkpoint is `checkpoint/…`.
    pub fn file(&self, run: &str, name: &str) -> String {
        match name.strip_prefix("checkpoint/") {
            Some(name) => format!("{}/{name}", self.newest(run)),
            None => format!("{run}/{name}"),
        }
    }

    /// The names of a run's files for [`Lab::file`]; those of all its checkpoints are as one's.
    pub fn files(&self, run: &str) -> Vec<String> {
        let name = |name: String| match name.split_once("/step-") {
            Some((checkpoint, rest)) => format!("{checkpoint}/{}", rest.split_once('/').unwrap().1),
            None => name,
        };
        let mut names: Vec<String> = files(&self.path(run)).into_iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Finds the two runs equal, but for times and for how often their state was saved.
    pub fn same_run(&self, one: &str, other: &str) {
        assert_eq!(self.files(one), self.files(other));
        for name in self.files(one) {
            let [a, b] = [one, other].map(|run| match name.as_str() {
                "curves.csv" => timeless(&self.read(&self.file(run, &name))),
                name if name.ends_with(".json") => essence(&self.read(&self.file(run, name))),
                "config.toml" => without_checkpoints(&self.read(&self.file(run, &name))),
                name => self.bytes(&self.file(run, name)),
            });
            let texts = [&a, &b].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            let text = if name.ends_with(".safetensors") {
                [""; 2]
            } else {
                texts.each_ref().map(String::as_str)
            };
            assert!(a == b, "{name} of {one} and {other} differ:\n{}\n{}", text[0], text[1]);
        }
    }

    pub fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Takes `fields` out of the JSON file `name` of `run`, as if an older seqlab had written it.
    pub fn forget(&self, run: &str, name: &str, fields: &[&str]) {
        let file = self.file(run, name);
        let mut value = json(&self.read(&file));
        let table = value.as_object_mut().unwrap();
        fields.iter().for_each(|field| assert!(table.remove(*field).is_some(), "{field}"));
        self.write(&file, serde_json::to_string_pretty(&value).unwrap());
    }

    /// Copies the directory `from` to the new directory `to`.
    pub fn copy(&self, from: &str, to: &str) {
        for (name, content) in tree(&self.path(from)) {
            match content {
                Some(bytes) => self.write(&format!("{to}/{name}"), bytes),
                None => fs::create_dir_all(self.path(to).join(name)).unwrap(),
            }
        }
    }

    /// `seqlab` with these words as arguments; single quotes hold words together. No GPU is
    /// visible, so that `auto` means the CPU everywhere.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.current_dir(self.0.path()).args(words(arguments));
        command.env("RUST_BACKTRACE", "1").env("CUDA_VISIBLE_DEVICES", "-1");
        command
    }

    /// Runs a command that has to succeed; what it prints.
    pub fn run(&self, arguments: &str) -> String {
        self.run_with_input(arguments, "")
    }

    /// What a command that ends with `status` says on standard error.
    pub fn said(&self, status: i32, arguments: &str) -> String {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "seqlab {arguments}\n{stderr}");
        stderr
    }

    pub fn run_with_input(&self, arguments: &str, input: &str) -> String {
        let output = self.command(arguments).write_stdin(input).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "seqlab {arguments}\n{stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a command that would go on for long and sends it `signal` when `ready` is true.
    #[cfg(unix)]
    pub fn signal(&self, signal: &str, arguments: &str, ready: impl Fn() -> bool) -> Output {
        let mut command = std::process::Command::new(PROGRAM);
        command.args(arguments.split(' ')).current_dir(self.path("."));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let start = Instant::now();
        while !ready() {
            assert_eq!(child.try_wait().unwrap(), None, "ended too early");
            if start.elapsed() > Duration::from_secs(120) {
                child.kill().unwrap();
                panic!("nothing happened");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut kill = std::process::Command::new("kill");
        assert!(kill.args([signal, &child.id().to_string()]).status().unwrap().success());
        child.wait_with_output().unwrap()
    }

    /// Trains with these arguments into the directory `out`, which prints nothing.
    pub fn train(&self, arguments: &str, out: &str) {
        let arguments = format!("train {arguments} --out {out} --quiet");
        let output = self.command(&arguments).output().unwrap();
        let printed = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(printed, "", "seqlab {arguments}");
        assert_eq!(output.status.code(), Some(0), "seqlab {arguments}");
    }

    /// Runs a command that has to fail with `status`, print nothing but an error that holds every
    /// one of `says`, and leave every file as it is.
    pub fn refuses(&self, status: i32, arguments: &str, says: &[&str]) {
        self.refuses_input(status, arguments, "", says);
    }

    pub fn refuses_input(
        &self,
        status: i32,
        arguments: &str,
        input: impl Into<Vec<u8>>,
        says: &[&str],
    ) {
        let before = tree(self.0.path());
        self.fails_on_input(status, arguments, input, says);
        let after = tree(self.0.path());
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&before), names(&after), "seqlab {arguments}");
        for (name, content) in before {
            assert!(after[&name] == content, "seqlab {arguments}: changed {name}");
        }
    }

    /// As [`Lab::refuses`] where files may change.
    pub fn fails(&self, status: i32, arguments: &str, says: &[&str]) {
        self.fails_on_input(status, arguments, "", says);
    }

    fn fails_on_input(
        &self,
        status: i32,
        arguments: &str,
        input: impl Into<Vec<u8>>,
        says: &[&str],
    ) {
        let output = self.command(arguments).write_stdin(input).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let shown = format!("seqlab {arguments}\n{stderr}");
        assert_eq!(output.status.code(), Some(status), "{shown}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "{shown}");
        assert!(stderr.starts_with("error: ") && stderr.ends_with('\n'), "{shown}");
        for trace in ["panicked", "backtrace", "src/", "Exception raised"] {
            assert!(!stderr.contains(trace), "{trace} in: {shown}");
        }
        for text in says {
            assert!(stderr.contains(text), "no {text:?} in: {shown}");
        }
    }
}

/// `curves.csv` without the time it took.
pub fn timeless(curves: &str) -> Vec<u8> {
    let lines = curves.lines().map(|line| line.rsplit_once(',').unwrap().0);
    lines.collect::<Vec<_>>().join("\n").into_bytes()
}

/// A summary or a manifest without times and what follows from them, as the number of threads does unless it was
/// asked for.
fn essence(text: &str) -> Vec<u8> {
    let mut value = json(text);
    if value.pointer("/config/threads").is_some_and(serde_json::Value::is_null) {
        value.as_object_mut().map(|fields| fields.remove("threads"));
    }
    for path in ["", "/position", "/config"] {
        let Some(serde_json::Value::Object(fields)) = value.pointer_mut(path) else { continue };
        for field in ["startup_seconds", "train_seconds", "seconds", "crc32"] {
            fields.remove(field);
        }
        // Of a curve with its times.
        for field in ["curves_bytes", "curves_crc32", "curves"] {
            fields.remove(field);
        }
        for field in ["checkpoint_every", "keep_checkpoints"] {
            fields.remove(field);
        }
    }
    value.to_string().into_bytes()
}

fn without_checkpoints(config: &str) -> Vec<u8> {
    let mut table: toml::Table = config.parse().unwrap();
    for field in ["checkpoint_every", "keep_checkpoints"] {
        table.remove(field);
    }
    table.to_string().into_bytes()
}

fn words(arguments: &str) -> Vec<&str> {
    let parts = arguments.split('\'').enumerate();
    parts
        .flat_map(|(i, part)| match i % 2 {
            0 => part.split_whitespace().collect(),
            _ => vec![part],
        })
        .collect()
}

/// Content by path, `None` for a directory.
pub type Tree = BTreeMap<String, Option<Vec<u8>>>;

/// Everything below `directory`.
pub fn tree(directory: &Path) -> Tree {
    let mut found = Tree::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            let inside = tree(&entry.path());
            found.extend(inside.into_iter().map(|(path, c)| (format!("{name}/{path}"), c)));
            found.insert(name, None);
        } else {
            found.insert(name, Some(fs::read(entry.path()).unwrap()));
        }
    }
    found
}

/// The files below `directory`, sorted.
pub fn files(directory: &Path) -> Vec<String> {
    let all = tree(directory).into_iter();
    all.filter(|(_, content)| content.is_some()).map(|(name, _)| name).collect()
}

/// A CSV file that consists of whole rows.
pub struct Csv {
    columns: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    pub fn parse(text: &str, header: &str) -> Self {
        assert!(text.starts_with(&format!("{header}\n")), "{text:.200}");
        assert!(text.ends_with('\n') && !text.contains('\r'), "no whole rows: {text}");
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let list = |record: &csv::StringRecord| record.iter().map(str::to_owned).collect();
        let columns = list(reader.headers().unwrap());
        Self { columns, rows: reader.records().map(|record| list(&record.unwrap())).collect() }
    }

    pub fn curves(lab: &Lab, run: &str) -> Self {
        Self::parse(&lab.read(&format!("{run}/curves.csv")), CURVES)
    }

    pub fn predictions(lab: &Lab, run: &str) -> Self {
        Self::parse(&lab.read(&format!("{run}/predictions.csv")), PREDICTIONS)
    }

    pub fn column(&self, name: &str) -> Vec<&str> {
        let index = self.columns.iter().position(|column| column == name).unwrap();
        self.rows.iter().map(|row| row[index].as_str()).collect()
    }

    pub fn numbers(&self, name: &str) -> Vec<f64> {
        self.column(name).iter().map(|cell| cell.parse().unwrap()).collect()
    }

    /// The columns side by side, cells separated by spaces, a line a row.
    pub fn only(&self, names: &[&str]) -> Vec<String> {
        let columns: Vec<_> = names.iter().map(|name| self.column(name)).collect();
        let row = |i: usize| columns.iter().map(|c| c[i]).collect::<Vec<_>>().join(" ");
        (0..self.rows.len()).map(row).collect()
    }

    /// The rows of replica `k`.
    pub fn replica(&self, k: usize) -> Self {
        let rows = self.rows.iter().filter(|row| row[0] == k.to_string()).cloned().collect();
        Self { columns: self.columns.clone(), rows }
    }
}

pub fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// Runs `python3` with `arguments` at the root, if there is one.
pub fn python(arguments: &[&str]) {
    let mut command = Command::new("python3");
    command.args(["-B", "-W", "error"]).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
    match command.output() {
        Ok(output) => {
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "python3 {}:\n{stderr}", arguments.join(" "));
        }
        Err(_) => eprintln!("skipped: there is no python3"),
    }
}
