//! The scripts find their checkout and what they set up, wherever they are called from. Beside a copy of
//! them lie stand-ins for cargo, rustc, the compiler and Python, so nothing is built or fetched here.

#![cfg(unix)]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use common::{python, tree};
use tempfile::TempDir;

/// Every script that is called by its name.
const ALL: [&str; 9] =
    ["seqlab", "test", "soak", "plot", "results", "bench", "fuzz", "cuda-check", "optuna"];

const CARGO: &str = r#"#!/bin/sh
printf 'cargo in %s\n' "$PWD" >>"$LOG"
if [ "$1" = metadata ]; then cat "$METADATA"; fi
"#;

const PYTHON: &str = r#"#!/bin/sh
if [ "$1" = -B ]; then printf 'python %s\n' "$*" >>"$LOG"; fi
case $* in
*fetch_libtorch.py*) exit 7 ;;
*make_environment.py*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; touch "$4/complete" ;;
esac
"#;

/// A checkout that consists of the scripts, and tools that only write into a log.
struct Checkout {
    folder: TempDir,
    root: PathBuf,
}

impl Checkout {
    /// One in a folder of this name.
    fn named(name: &OsStr) -> Self {
        let folder = TempDir::new().unwrap();
        // As the scripts see it: a temporary folder may be behind a link.
        let root = folder.path().canonicalize().unwrap().join(name);
        let checkout = Self { folder, root };
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        fs::create_dir_all(checkout.root.join("scripts")).unwrap();
        for (name, _) in tree(&scripts)
            .into_iter()
            .filter(|(name, _)| scripts.join(name).is_file() && !name.contains('/'))
        {
            fs::copy(scripts.join(&name), checkout.root.join("scripts").join(&name)).unwrap();
        }
        let rustc = "#!/bin/sh\necho host: x86_64-unknown-linux-gnu\n";
        for (name, text) in
            [("cargo", CARGO), ("python3", PYTHON), ("rustc", rustc), ("c++", "#!/bin/sh\n")]
        {
            checkout.tool(name, text);
        }
        // The program is a shell here: it can tell how it was called.
        let target = checkout.root.join("target");
        fs::create_dir_all(target.join("release")).unwrap();
        symlink("/bin/bash", target.join("release/seqlab")).unwrap();
        let decoy = r#""target_directory":"/nowhere""#;
        let told =
            serde_json::json!({ "about": decoy, "target_directory": target.to_string_lossy() });
        fs::write(checkout.path("metadata.json"), told.to_string()).unwrap();
        fs::create_dir(checkout.path("libtorch")).unwrap();
        checkout
    }

    fn new() -> Self {
        Self::named(OsStr::new("checkout"))
    }

    /// A file beside the checkout.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn tool(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path("tools")).unwrap();
        let path = self.path("tools").join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A command with the stand-ins before everything else in PATH and a libtorch of the user's own.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap();
        let tools = [self.path("tools")].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(tools).unwrap());
        command.env("PYTHON", self.path("tools/python3")).env("LIBTORCH", self.path("libtorch"));
        command.env("LOG", self.path("log")).env("METADATA", self.path("metadata.json"));
        command.env("SEQLAB_CACHE", self.path("cache"));
        let others = [
            "Clet output = checkout.command",
            "CARGO_TARGET_DIR",
            "SEQLAB_LIBTORCH",
            "LIBTORCH_USE_PYTORCH",
            "LIBTORCH_INCLUDE",
            "LIBTORCH_LIB",
        ];
        for name in others {
            command.env_remove(name);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// What the stand-ins were asked for since the last time.
    fn log(&self) -> String {
        let log = fs::read_to_string(self.path("log")).unwrap_or_default();
        let _ = fs::remove_file(self.path("log"));
        log
    }

    /// The folder that libtorch is fetched to.
    fn fetched(&self) -> PathBuf {
        self.path("cache/libtorch-2.13.0-cpu-linux-x86_64")
    }

    /// Whether `scripts/seqlab` fetches libtorch.
    fn fetches(&self) -> bool {
        let mut command = self.command(self.root.join("scripts/seqlab"));
        command.env_remove("LIBTORCH").env("SEQLAB_LIBTORCH", "cpu");
        let output = command.output().unwrap();
        let fetches = self.log().contains("fetch_libtorch.py");
        assert_eq!(output.status.code(), Some(if fetches { 7 } else { 0 }), "{}", stderr(&output));
        fetches
    }

    /// Fills the cache with `files` files of `bytes` bytes in all, one of them with a hole.
    fn fill_cache(&self, [files, bytes]: [u64; 2]) {
        let _ = fs::remove_dir_all(self.fetched());
        for folder in ["torch/include", "torch/lib", "nvidia/cu13/lib"] {
            fs::create_dir_all(self.fetched().join(folder)).unwrap();
        }
        let large = File::create(self.fetched().join("nvidia/cu13/lib/libcudart.so.13")).unwrap();
        large.set_len(bytes).unwrap();
        for i in 1..files {
            File::create(self.fetched().join(format!("torch/include/{i}.h"))).unwrap();
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn every_script_is_found_through_links() {
    let checkout = Checkout::new();
    let link = |to: &Path, name: &str| symlink(to, checkout.path(name)).unwrap();
    fs::create_dir(checkout.path("bin")).unwrap();
    link(&checkout.root, "folder");
    link(&checkout.root.join("scripts"), "bin/scripts");
    for name in ALL {
        link(&checkout.root.join("scripts").join(name), &format!("bin/{name}"));
        link(Path::new(&format!("../checkout/scripts/{name}")), &format!("bin/relative-{name}"));
        link(Path::new(&format!("relative-{name}")), &format!("bin/link-to-{name}"));
        link(Path::new(&format!("bin/scripts/{name}")), &format!("through-folders-{name}"));
        let ways = [
            format!("bin/{name}"),
            format!("bin/relative-{name}"),
            format!("bin/link-to-{name}"),
            format!("through-folders-{name}"),
            format!("bin/scripts/{name}"),
            format!("folder/scripts/{name}"),
        ];
        for way in ways {
            // Not every script comes to its end with nothing to work on.
            let output = checkout.command(checkout.path(&way)).output().unwrap();
            let log = checkout.log();
            let root = checkout.root.to_str().unwrap();
            let found = |line: &str| line.ends_with(root) || line.contains(&format!("{root}/"));
            assert!(!log.is_empty() && log.lines().all(found), "{way}: {log}{}", stderr(&output));
        }
    }
}

#[test]
fn the_program_is_told_what_was_typed() {
    let checkout = Checkout::new();
    fs::create_dir(checkout.path("bin")).unwrap();
    symlink(checkout.root.join("scripts/seqlab"), checkout.path("bin/seqlab")).unwrap();
    let tell = ["-c", r#"printf '%s, ' "$0" "$PWD""#];
    let here = checkout.path("");
    let here = here.to_str().unwrap().trim_end_matches('/');
    for typed in ["checkout/scripts/seqlab", "bin/seqlab", "./bin/seqlab"] {
        let output = checkout.command(typed).args(tell).output().unwrap();
        assert_eq!(stdout(&output), format!("{typed}, {here}, "));
    }
    let mut shell = checkout.command("bash");
    shell.args(["-c", r#"PATH=$PWD/bin:$PATH; seqlab -c "$1""#, "bash", tell[1]]);
    assert_eq!(stdout(&shell.output().unwrap()), format!("seqlab, {here}, "));
}

#[test]
fn a_checkout_may_have_any_name_that_cargo_can_build_in() {
    for name in ["quote\" and \\ and \\\" $HOME 'é', #", "100 \\n & *;"] {
        let checkout = Checkout::named(OsStr::new(name));
        let libtorch = checkout.root.join("libtorch");
        fs::create_dir(&libtorch).unwrap();
        let mut command = checkout.command(checkout.root.join("scripts/seqlab"));
        let output =
            command.env("LIBTORCH", &libtorch).args(["-c", "echo built"]).output().unwrap();
        assert_eq!(stdout(&output), "built\n", "{name}");
        let config = fs::read_to_string(checkout.root.join(".cargo/config.toml")).unwrap();
        let config: toml::Table = config.parse().unwrap();
        assert_eq!(config["env"]["LIBTORCH"].as_str(), libtorch.to_str());
    }
    let impossible: [(&[u8], &str); 4] = [
        (b"line\nbreak", "a control character"),
        (b"break at the end\n", "a control character"),
        (b"a:b", "a colon"),
        (b"latin \xe9", "bytes that are no UTF-8"),
    ];
    for (name, problem) in impossible {
        let checkout = Checkout::named(OsStr::from_bytes(name));
        let output = checkout.command(checkout.root.join("scripts/seqlab")).output().unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.starts_with("error: the checkout's folder, ") && said.contains(problem),
            "{said}"
        );
        assert!(said.ends_with("hint: move or rename it\n"), "{said}");
        assert_eq!(checkout.log(), "");
    }
}

/// Files and bytes of a whole libtorch, as scripts/setup has them.
fn whole() -> [u64; 2] {
    let setup = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/setup")).unwrap();
    let (_, rest) = setup.split_once("cpu-linux-x86_64) echo ").unwrap();
    let numbers: Vec<u64> =
        rest.split_whitespace().take(2).map(|number| number.parse().unwrap()).collect();
    numbers.try_into().unwrap()
}

#[test]
fn a_libtorch_that_is_not_whole_is_fetched_again() {
    let checkout = Checkout::new();
    assert!(checkout.fetches(), "there is none");
    let [files, bytes] = whole();
    checkout.fill_cache([files, bytes]);
    assert!(!checkout.fetches(), "it is whole");
    for part in [[files - 1, bytes], [files, bytes - 1], [1, 0]] {
        checkout.fill_cache(part);
        assert!(checkout.fetches() && !checkout.fetched().exists(), "{part:?}");
    }
    fs::create_dir(checkout.fetched()).unwrap();
    assert!(checkout.fetches() && !checkout.fetched().exists(), "it is empty");
    File::create(checkout.fetched()).unwrap();
    assert!(checkout.fetches() && !checkout.fetched().exists(), "it is a file");
    symlink("nowhere", checkout.fetched()).unwrap();
    assert!(checkout.fetches() && !checkout.fetched().is_symlink(), "it is a link to nothing");
}

/// The libtorch that this test is linked with may be one that a script fetched, long ago perhaps.
#[test]
fn a_libtorch_that_was_fetched_is_whole() {
    let config = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/.cargo/config.toml"));
    let config: toml::Table = config.unwrap_or_default().parse().unwrap();
    let libtorch = config.get("env").and_then(|env| env.get("LIBTORCH")?.as_str());
    let folder = libtorch.and_then(|path| Path::new(path).parent());
    let checkout = Checkout::new();
    let Some(folder) = folder.filter(|folder| folder.file_name() == checkout.fetched().file_name())
    else {
        eprintln!("skipped: this build has another libtorch than the CPU's for Linux on x86-64");
        return;
    };
    fs::create_dir(checkout.path("cache")).unwrap();
    symlink(folder, checkout.fetched()).unwrap();
    assert!(!checkout.fetches());
}

#[test]
fn an_environment_that_is_not_whole_is_made_again() {
    let checkout = Checkout::new();
    let plots = || {
        let output = checkout.command(checkout.root.join("scripts/plot")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        checkout.log().contains("make_environment.py")
    };
    assert!(plots() && !plots());
    let folder = fs::read_dir(checkout.path("cache")).unwrap().next().unwrap().unwrap().path();
    for name in ["complete", "bin/python"] {
        fs::remove_file(folder.join(name)).unwrap();
        assert!(plots() && !plots(), "without {name}");
    }
    // As on another machine, whose Python is elsewhere.
    fs::remove_file(folder.join("bin/python")).unwrap();
    symlink("/nowhere/python3", folder.join("bin/python")).unwrap();
    assert!(plots() && !plots());
}

#[test]
fn the_python_of_the_scripts_passes_its_own_tests() {
    python(&["-m", "unittest", "discover", "--start-directory", "scripts"]);
}
