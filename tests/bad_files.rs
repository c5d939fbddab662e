//! What `seqlab` says to files that are not what they should be, and to sizes that do not fit.

mod common;

use std::fs::{self, File};
use std::time::Duration;

use common::{ECHO, Lab};
use seqlab::files::checksum::Checksum;
use seqlab::run::manifest::Manifest;

/// Every file that is read of a run, with the command that reads it.
const FILES: [(&str, &str); 5] = [
    ("config.toml", "evaluate bad"),
    ("summary.json", "report ."),
    ("curves.csv", "report ."),
    ("checkpoint/step-000000008/manifest.json", "evaluate bad"),
    ("checkpoint/step-000000008/weights.safetensors", "predict bad --source '1 2 3 4 5 6'"),
];

/// Runs a command that has to fail with this exit status and say this, within a time that only
/// waiting for ever can exceed. Unlike [`Lab::refuses`] it looks at no file: that of a pipe waits.
fn fails(lab: &Lab, status: i32, arguments: &str, says: &[&str]) {
    let mut command = lab.command(arguments);
    let output = command.timeout(Duration::from_secs(60)).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let shown = format!("seqlab {arguments}\n{stderr}");
    assert_eq!(output.status.code(), Some(status), "{shown}");
    assert!(stderr.starts_with("error: ") && stderr.len() < 16_000, "{shown}");
    assert!(!stderr.contains("panicked") && !stderr.contains("defect"), "{shown}");
    says.iter().for_each(|text| assert!(stderr.contains(text), "no {text:?} in: {shown}"));
}

/// A lab with a run whose summary does not notice that another file was changed, whatever the change.
fn without_checksums() -> Lab {
    let lab = Lab::with_run(ECHO);
    lab.forget("run", "summary.json", &["config", "curves"]);
    lab
}

/// For every file of a run: a copy of the run in which `damage` has happened to the file cannot be
/// used, which is said with the file's name.
fn every_file_is_refused(damage: impl Fn(&Lab, &str), says: &str) {
    let lab = without_checksums();
    for (file, command) in FILES {
        lab.copy("run", "bad");
        damage(&lab, &format!("bad/{file}"));
        fails(&lab, 1, command, &["bad", file, says]);
        fs::remove_dir_all(lab.path("bad")).unwrap();
    }
}

#[test]
fn a_directory_in_place_of_a_file_is_refused() {
    let directory = |lab: &Lab, file: &str| {
        fs::remove_file(lab.path(file)).unwrap();
        fs::create_dir(lab.path(file)).unwrap();
    };
    every_file_is_refused(directory, "Is a directory: expected a file");
}

#[cfg(unix)]
fn pipe(lab: &Lab, file: &str) {
    let _ = fs::remove_file(lab.path(file));
    let made = std::process::Command::new("mkfifo").arg(lab.path(file)).status().unwrap();
    assert!(made.success());
}

#[cfg(unix)]
#[test]
fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    every_file_is_refused(pipe, "no regular file but a pipe or a device");
    let lab = Lab::new();
    pipe(&lab, "c.toml");
    let says = ["error: cannot read c.toml: no regular file but a pipe or a device"];
    fails(&lab, 2, "train --config c.toml --out run", &says);
    fails(&lab, 2, "train --config /dev/zero --out run", &["/dev/zero: no regular file"]);
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let link = |lab: &Lab, file: &str| {
        fs::rename(lab.path(file), lab.path("elsewhere")).unwrap();
        std::os::unix::fs::symlink(lab.path("elsewhere"), lab.path(file)).unwrap();
    };
    every_file_is_refused(link, "a symbolic link, which is not followed");
}

#[cfg(unix)]
#[test]
fn no_link_within_a_run_is_followed_but_one_to_the_run_is() {
    let lab = Lab::with_run(ECHO);
    std::os::unix::fs::symlink("run", lab.path("link")).unwrap();
    let direct = lab.run("predict run --source '1 2 3 4 5 6'");
    assert_eq!(lab.run("predict link --source '1 2 3 4 5 6'"), direct);
    let checkpoint = "run/checkpoint/step-000000008";
    for (directory, target) in [("run/checkpoint", "state"), (checkpoint, "../state")] {
        let state = lab.path(&format!("run/{}", target.trim_start_matches("../")));
        fs::rename(lab.path(directory), &state).unwrap();
        std::os::unix::fs::symlink(target, lab.path(directory)).unwrap();
        fails(&lab, 1, "evaluate run", &["cannot read run/checkpoint", "a symbolic link, which"]);
        fs::remove_file(lab.path(directory)).unwrap();
        fs::rename(&state, lab.path(directory)).unwrap();
    }
}

#[test]
fn a_file_longer_than_any_is_refused_before_it_is_read() {
    let enlarge = |lab: &Lab, file: &str| {
        // Sparse: it takes no space.
        File::options().write(true).open(lab.path(file)).unwrap().set_len(1 << 40).unwrap();
    };
    every_file_is_refused(enlarge, ": 1099511627776 bytes: expected at most ");
    let lab = Lab::new();
    lab.write("c.toml", "preset = 'echo'");
    enlarge(&lab, "c.toml");
    let says = ["error: cannot read c.toml: 1099511627776 bytes: expected at most 1048576\n"];
    fails(&lab, 2, "train --config c.toml --out run", &says);
}

#[test]
fn files_that_are_cut_or_have_other_bytes_are_refused() {
    for bytes in [&b""[..], b"\0\0\0\0\0\0\0\0\0", b"\xff\xfe\xfd", b"{\"a\": [[[[", b"a = 1"] {
        every_file_is_refused(|lab, file| lab.write(file, bytes), "error: ");
    }
    let cut = |lab: &Lab, file: &str| {
        let whole = lab.bytes(file);
        lab.write(file, &whole[..whole.len() / 2]);
    };
    let lab = Lab::with_run(ECHO);
    for (file, command) in FILES {
        lab.copy("run", "bad");
        cut(&lab, &format!("bad/{file}"));
        fails(&lab, 1, command, &[file]);
        fs::remove_dir_all(lab.path("bad")).unwrap();
    }
}

#[test]
fn deeply_nested_files_are_refused() {
    for deep in ["[", "{\"a\":", "a = [", "a = {a = ", "a."] {
        every_file_is_refused(|lab, file| lab.write(file, deep.repeat(50_000)), "error: ");
    }
}

#[test]
fn numbers_that_no_run_has_are_refused() {
    let lab = without_checksums();
    for (file, command, old, new, says) in [
        (
            "config.toml",
            "report .",
            "replicas = 1",
            "replicas = 2",
            "bad is damaged: 1 replicas in",
        ),
        ("summary.json", "report .", "\"samples\": 40", "\"samples\": 1e300", "is damaged: inva"),
        (
            "summary.json",
            "report .",
            "\"samples\": 40",
            "\"samples\": 18446744073709551615",
            "replica 0: samples 18446744073709551615: expected at most 2000000\n",
        ),
        (
            "summary.json",
            "report .",
            "\"sequence_accuracy\": 0",
            "\"sequence_accuracy\": 7",
            "0 to 1",
        ),
        (
            "summary.json",
            "report .",
            "\"steps\": 8",
            "\"steps\": -8",
            "steps -8: expected a number",
        ),
        (
            "curves.csv",
            "report .",
            "\n0,1,1,4,20,",
            "\n9,1,1,4,20,",
            "replica 9 in curves.csv, exp",
        ),
        ("curves.csv", "report .", "\n0,1,1,4,20,", "\n0,1,1,-4,20,", "row 1: epoch, step and sam"),
        (
            "curves.csv",
            "report .",
            "\n0,1,1,4,20,",
            "\n0,1,1,4,20,,,",
            "found record with 15 fields",
        ),
        (
            "checkpoint/step-000000008/manifest.json",
            "evaluate bad",
            "\"step\": 8",
            "\"step\": -8",
            "its checksum is another",
        ),
        (
            "checkpoint/step-000000008/manifest.json",
            "evaluate bad",
            "\"format\": 2",
            "\"format\": 3",
            "format 3; this version reads format 2",
        ),
    ] {
        lab.copy("run", "bad");
        let (name, whole) = (format!("bad/{file}"), lab.read(&format!("run/{file}")));
        let changed = whole.replace(old, new);
        assert_ne!(changed, whole, "no {old} in {file}");
        lab.write(&name, changed);
        fails(&lab, 1, command, &[says]);
        fs::remove_dir_all(lab.path("bad")).unwrap();
    }
}

/// Makes the manifest of the checkpoint in `directory` one of the files that are there.
fn seal(lab: &Lab, directory: &str) {
    let path = format!("{directory}/manifest.json");
    let manifest = Manifest::parse(&lab.bytes(&path)).unwrap();
    let names = manifest.files.keys().cloned();
    let files = names.map(|name| {
        let bytes = lab.bytes(&format!("{directory}/{name}"));
        (name, Checksum::of(&bytes))
    });
    let files = files.collect();
    let Manifest { config, position, .. } = manifest;
    let curves = Checksum::of(&lab.bytes("run/curves.csv"));
    lab.write(&path, Manifest::new(&config, position, curves, files).unwrap().text().unwrap());
}

#[test]
fn every_bit_of_the_header_of_weights_counts() {
    let lab = Lab::with_run("echo --epochs 1 --units 2 --vocab 20 --evaluation-samples 20");
    let file = "run/checkpoint/step-000000004/weights.safetensors";
    let whole = lab.bytes(file);
    let header = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    for (i, bit) in (0..8 + header).step_by(37).zip((0..8).cycle()) {
        let mut flipped = whole.clone();
        flipped[i] ^= 1 << bit;
        lab.write(file, flipped);
        seal(&lab, "run/checkpoint/step-000000004");
        // Spaces that become other white space, at most, change nothing.
        let output = lab.command("evaluate run").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "bit {bit} of byte {i}: {stderr}");
        assert!(stderr.starts_with(&format!("error: {file} is of another run: ")), "{stderr}");
    }
}

#[test]
fn weights_of_absurd_sizes_are_refused() {
    let lab = Lab::with_run(ECHO);
    let file = "run/checkpoint/step-000000008/weights.safetensors";
    let entry = |shape: &str, end: u64| {
        format!(r#"{{"lstm.kernel":{{"dtype":"F32","shape":{shape},"data_offsets":[0,{end}]}}}}"#)
    };
    for (length, header) in [
        (None, entry("[1000000000,1000000000]", 4_000_000_000_000_000_000)),
        (None, entry("[18446744073709551615,2]", 8)),
        (Some(u64::MAX), entry("[1]", 4)),
        (Some(1 << 50), entry("[1]", 4)),
        (Some(90_000_000), entry("[1]", 4)),
    ] {
        let length = length.unwrap_or(header.len() as u64);
        lab.write(file, [&length.to_le_bytes(), header.as_bytes(), &[0; 8]].concat());
        seal(&lab, "run/checkpoint/step-000000008");
        lab.refuses(1, "evaluate run", &[&format!("error: {file} is of another run: ")]);
    }
}

#[test]
fn messages_quote_no_more_of_bad_input_than_helps() {
    let lab = Lab::with_run(ECHO);
    let long = "7".repeat(100_000);
    let source = format!("predict run --source '{long}'");
    fails(&lab, 2, &source, &["error: --source: '7777", "…' is no id: expected whole numbers"]);
    let source = "predict run --source '\u{1b}[31m1 2 3'";
    fails(&lab, 2, source, &["error: --source: '\\u{1b}[31m1' is no id"]);
    for text in [format!("units = {long}"), format!("preset = '{long}'"), format!("{long} = 1")] {
        lab.write("c.toml", text);
        fails(&lab, 2, "train --config c.toml --out new", &["error: c.toml, line 1, column "]);
    }
}

#[test]
fn a_line_without_end_is_refused() {
    let lab = Lab::with_run(ECHO);
    let says = "error: standard input, line 1: more than 1216 bytes: the model reads 6 ids from 0";
    for (input, says) in [
        (vec![b' '; 10_000_000], says),
        (vec![0; 100], "line 1: '\\0\\0\\0"),
        (vec![0; 1 << 27], "no end"),
    ] {
        let output = lab.command("predict run").write_stdin(input).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && stderr.contains(says), "{stderr}");
        assert_eq!(output.stdout, b"\n");
    }
}

/// Wherever a process is told how much memory there is.
#[cfg(target_os = "linux")]
#[test]
fn a_training_that_no_memory_holds_is_refused_with_what_to_lower() {
    let lab = Lab::new();
    for (arguments, largest, hint) in [
        (
            "echo --units 1000000",
            "GiB are available: weights, gradient and the optimiser's moments ",
            "lower --units, --vocab",
        ),
        (
            "reverse --units 50000 --replicas 300",
            "weights, gradient",
            "lower --units, --vocab, --r",
        ),
        (
            "reverse --batch-size 1000000 --vocab 1000000 --samples 1000000",
            "activations of a batch",
            "lower --batch-size, --vocab",
        ),
        (
            "reverse --batch-size 1000000 --units 20000 --samples 1000000 --engine libtorch",
            "activations of a batch",
            "lower --batch-size, --units",
        ),
        (
            "echo --units 1000000 --vocab 1000000 --replicas 65536",
            "GiB are available",
            "lower --units, --vocab, --replicas",
        ),
    ] {
        let preset = arguments.split(' ').next().unwrap();
        let needs = format!("error: training {preset} needs about ");
        lab.refuses(2, &format!("train {arguments} --out run"), &[&needs, largest, hint]);
    }
    // Before the first of them trains for an hour.
    let says = "error: training partial-echo-4 needs about ";
    lab.refuses(2, "reproduce echo partial-echo-4 --replicas 30000 --out runs", &[says]);
    lab.run("summary echo --units 1000000");
}
