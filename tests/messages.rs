//! What `seqlab` says: hints that work, errors that name what was given, help that answers.

mod common;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::{ECHO, Lab, PROGRAM, json};

/// What the command between the backquotes of the only hint in `said` is.
fn hinted(said: &str) -> &str {
    let (_, hint) = said.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {said}"));
    hint.split('`').nth(1).unwrap_or_else(|| panic!("no command: {said}"))
}

/// Gives a shell in the lab a command that was printed; what it prints.
fn give(lab: &Lab, command: &str) -> String {
    let mut shell = Command::new("bash");
    shell.args(["-c", command]).current_dir(lab.path(".")).env("CUDA_VISIBLE_DEVICES", "-1");
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{command}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Makes the run at `run` one that was killed before its end.
fn unfinish(lab: &Lab, run: &str) {
    fs::remove_file(lab.path(run).join("summary.json")).unwrap();
    fs::remove_file(lab.path(run).join("predictions.csv")).unwrap();
}

/// What `train echo --out DIRECTORY` says when it is interrupted, called by the name `program`.
fn interrupted(lab: &Lab, program: &str, directory: &str) -> String {
    let mut train = Command::new(PROGRAM);
    train.arg0(program).current_dir(lab.path(".")).stderr(Stdio::piped());
    train.args(["train", "echo", "--device=cpu", "--epochs=1000000", "--quiet"]);
    let mut child = train.arg(format!("--out={directory}")).spawn().unwrap();
    let rows = lab.path(directory).join("curves.csv");
    while !fs::metadata(&rows).is_ok_and(|file| file.len() > 200) {
        assert_eq!(child.try_wait().unwrap(), None, "ended too early");
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut kill = Command::new("kill");
    assert!(kill.args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn an_interrupted_run_names_the_command_that_goes_on_as_a_shell_reads_it() {
    let lab = Lab::new();
    for directory in ["runs/my run é ü", "it's $HOME \"x\"", "a;b", "-run"] {
        let said = interrupted(&lab, "no/such/seqlab", directory);
        let (_, command) = said.trim_end().rsplit_once("resume with: ").unwrap();
        let run = command.strip_prefix("no/such/seqlab resume ").unwrap();
        let word = give(&lab, &format!("printf %s {run}"));
        assert!(!word.starts_with('-'), "{word}");
        let [named, written] = [word.as_str(), directory].map(|path| lab.path(path).canonicalize());
        assert_eq!(named.unwrap(), written.unwrap());
    }
}

#[test]
fn an_interrupted_run_that_is_trained_again_hints_at_resume() {
    let lab = Lab::new();
    lab.train(ECHO, "'my run'");
    let again = format!("train {ECHO} --out 'my run'");
    let finished = lab.said(2, &again);
    assert!(finished.contains("--force") && !finished.contains("resume"), "{finished}");
    unfinish(&lab, "my run");
    let unfinished = lab.said(2, &again);
    assert!(unfinished.contains("not finished") && !unfinished.contains("--force"), "{unfinished}");
    give(&lab, hinted(&unfinished));
    assert!(lab.path("my run/summary.json").exists());
}

#[test]
fn what_a_run_without_checkpoints_hints_at_helps() {
    let lab = Lab::new();
    lab.train(ECHO, "'my run'");
    fs::remove_dir_all(lab.path("my run/checkpoint")).unwrap();
    for command in ["evaluate 'my run'", "predict 'my run' --source '1 2 3 4 5 6'"] {
        let finished = lab.said(1, command);
        assert!(finished.contains("holds no checkpoint"), "{finished}");
        give(&lab, hinted(&finished));
    }
    give(&lab, hinted(&lab.said(1, "resume 'my run' --epochs 3")));
    lab.run("evaluate runs/echo-3");
    unfinish(&lab, "my run");
    give(&lab, hinted(&lab.said(1, "evaluate 'my run'")));
    lab.run("evaluate 'my run'");
}

#[test]
fn a_run_that_cannot_go_on_hints_at_a_command_that_trains_it_again() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --lr-schedule cosine"), "'my run'");
    give(&lab, hinted(&lab.said(2, "resume 'my run' --epochs 9")));
    assert!(lab.read("runs/echo/config.toml").contains("epochs = 9\n"));
    unfinish(&lab, "my run");
    lab.write(
        "my run/config.toml",
        lab.read("my run/config.toml").replace("units = 16", "units = 4"),
    );
    give(&lab, hinted(&lab.said(2, "resume 'my run'")));
    let file = lab.file("my run", "checkpoint/manifest.json");
    lab.write(&file, "{}");
    give(&lab, hinted(&lab.said(1, "resume 'my run'")));
}

/// Commands with the first line of what each says and, where there is one, the hint.
fn each_says(lab: &Lab, cases: &[(&str, &str)]) {
    for (command, expected) in cases {
        let said = lab.said(2, command);
        assert!(said.starts_with(&format!("error: {expected}")), "{command}\n{said}");
    }
}

#[test]
fn a_value_that_nobody_gave_is_called_the_preset_s_with_the_flag_to_give() {
    let lab = Lab::new();
    each_says(
        &lab,
        &[
            (
                "train partial-echo-4-tuned --epochs 100",
                "warmup_steps 500 of preset partial-echo-4-tuned: expected 1 to 100, the optimiser \
                 steps of the run\nhint: give --warmup-steps as well: 1 to 100\n",
            ),
            (
                "train reverse --n-in 2",
                "n_out 3 of preset reverse: expected 1 to 2, the ids of a source (--n-in)\n\
                 hint: give --n-out as well: 1 to 2\n",
            ),
            (
                "train echo --vocab 50 --id-min 49",
                "id_max 48, which follows --vocab: expected a whole number from 49 to 49\n\
                 hint: give --id-max as well: a whole number from 49 to 49\n",
            ),
            (
                "train reverse --task echo",
                "--length (not given): expected a value: tasks echo and lag need",
            ),
            ("train echo --units 0", "--units 0: expected a whole number from 1 to 1000000\n"),
        ],
    );
    lab.run("summary partial-echo-4-tuned --epochs 100 --warmup-steps 100");
    lab.run("summary reverse --n-in 2 --n-out 2");
}

#[test]
fn a_value_of_a_file_is_named_with_its_place() {
    let lab = Lab::new();
    lab.write("c.toml", "# mine\npreset = 'echo'\n\nlength = 10\nn_in = 5\n");
    each_says(
        &lab,
        &[
            (
                "train --config c.toml --n-in 20",
                "c.toml, line 4, column 1: length = 10: expected 20 to 1000000, so that it holds a \
                 window (--n-in 20)\nhint: give --length as well: 20 to 1000000\n",
            ),
            ("train --config c.toml --units 0", "--units 0: expected a whole number"),
        ],
    );
    lab.write("c.toml", "task = 'addition'\nevaluation_sample = 3\n");
    each_says(
        &lab,
        &[(
            "train --config c.toml",
            "c.toml, line 2, column 1: unknown field `evaluation_sample`\n\
             hint: did you mean `evaluation_samples`?\n",
        )],
    );
}

#[test]
fn epochs_that_a_run_cannot_have_are_not_blamed_on_another_field() {
    let lab = Lab::new();
    lab.train("echo --epochs 3 --warmup-steps 12 --evaluation-samples 20", "run");
    let says = "--epochs 2: warmup_steps 12 of the run: expected 1 to 8, the optimiser steps";
    each_says(&lab, &[("resume run --epochs 2", says)]);
}

#[test]
fn every_value_is_refused_in_one_style_with_what_is_possible() {
    let lab = Lab::new();
    let size = "a whole number from 1 to 1000000\n";
    for text in ["1e3", "1_000", "0", "-1", "1.5", "nan", "inf", "many"] {
        let says = format!("--units {text}: expected {size}");
        each_says(&lab, &[(&format!("train echo --units {text}"), &says)]);
    }
    for (command, flag) in [
        ("train echo", "--batch-size"),
        ("train echo", "--evaluation-samples"),
        ("evaluate run", "--samples"),
    ] {
        let says = format!("{flag} 1e3: expected {size}");
        each_says(&lab, &[(&format!("{command} {flag} 1e3"), &says)]);
    }
    each_says(
        &lab,
        &[
            (
                "train echo --task foo",
                "--task foo: expected echo, lag, reverse, padded_echo, addition, waves, pairs or \
                 series\n",
            ),
            ("train echo --dtype f32", "--dtype f32: expected float32 or float64\n"),
            ("train echo --device gpu", "--device gpu: expected auto, cpu, cuda or cuda:N\n"),
            (
                "reproduce --out x --device gpu",
                "--device gpu: expected auto, cpu, cuda or cuda:N\n",
            ),
            (
                "train echo --checkpoint-every 1d",
                "--checkpoint-every 1d: expected steps (1000), a time (30s, 5m, 1h) or never\n",
            ),
            ("train echo --stateful 1", "--stateful 1: expected true or false\n"),
            ("resume run --epochs 1e3", "--epochs 1e3: expected a whole number from 1 to "),
            ("reproduce --out x --base-seed 1e3", "--seed 1e3: expected a whole number from 0 to "),
            ("predict run --replica last", "--replica last: expected a whole number from 0 to "),
        ],
    );
}

#[test]
fn only_what_is_near_is_suggested() {
    let lab = Lab::new();
    lab.train(ECHO, "runs/first");
    // No run.
    lab.write("runs/firs-t/notes.txt", "");
    for (command, near) in [
        ("train echo --unit 3", "--units"),
        ("train echo --batchsize 3", "--batch-size"),
        ("train echo --clipnorm 3", "--global-clipnorm"),
        ("train ecko", "echo"),
        ("evalute run", "evaluate"),
        ("summary ecko", "echo"),
        ("summary runs/frist", "runs/first"),
        ("predict runs/firs --source 1", "runs/first"),
        ("resume runs/../runs/First", "runs/../runs/first"),
    ] {
        let said = lab.said(2, command);
        assert!(said.ends_with(&format!("\nhint: did you mean '{near}'?\n")), "{said}");
    }
    let said = lab.said(2, "train echo --beam 3");
    assert!(!said.contains("--beta"), "{said}");
    let shown = give(&lab, hinted(&said));
    assert!(shown.contains("--batch-size <N>"), "{shown}");
}

#[test]
fn a_flag_that_changes_nothing_is_refused() {
    let lab = Lab::new();
    each_says(
        &lab,
        &[
            (
                "train echo --validation-samples 40",
                "--validation-samples 40: expected nothing without --validate-every\n",
            ),
            (
                "train echo --epochs 9 --validate-every 10",
                "--validate-every 10: expected 1 to 9, the rows of curves.csv\n",
            ),
            (
                "train echo --optimizer sgd --beta-1 0.9",
                "--beta-1 0.9: expected nothing: it applies to optimizers adam and adamw only\n",
            ),
            (
                "train echo --optimizer sgd --epsilon 1e-7",
                "--epsilon 1e-7: expected nothing: it applies to optimizers adam, adamw and \
                 rmsprop only\n",
            ),
            (
                "train echo --optimizer sgd --nesterov true",
                "--nesterov true: expected false: what Nesterov looks ahead by is --momentum\n",
            ),
            ("train echo --force", "the following required arguments were not provided: --out"),
            ("reproduce echo --quick --replicas 3 --out x", "--quick: expected nothing with"),
        ],
    );
    // What a run wrote for itself stays readable.
    lab.train(&format!("{ECHO} --beta-1 0.8"), "run");
    lab.run("summary --config run/config.toml --units 4");
    let shown = lab.run("summary --config run/config.toml --optimizer sgd");
    assert!(shown.contains(", optimizer sgd, engine"), "{shown}");
    lab.write("c.toml", "preset = 'echo'\noptimizer = 'rmsprop'\nbeta_2 = 0.5\n");
    let says = "error: c.toml, line 3, column 1: beta_2 = 0.5: expected nothing: it applies to";
    lab.refuses(2, "summary --config c.toml", &[says]);
}

#[test]
fn a_file_of_data_goes_with_its_task_and_is_named_once() {
    let lab = Lab::new();
    lab.write("c.toml", "task = 'pairs'\n");
    lab.write("both.toml", "task = 'lag'\nseries = 's.csv'\n");
    let pairs = "--train w.tsv: expected nothing: it applies to task pairs only\n";
    each_says(
        &lab,
        &[
            ("train --train w.tsv --task series", pairs),
            (
                "train --series s.csv --task pairs",
                "--series s.csv: expected nothing: it applies to task series only\n",
            ),
            (
                "train --train w.tsv --series s.csv",
                "--series s.csv: expected nothing: it applies to task series only\n",
            ),
            (
                "train --config c.toml",
                "c.toml: --train (not given): expected a file: task pairs needs it\nhint: give --train\n",
            ),
            (
                "train --config both.toml",
                "both.toml, line 2, column 1: series = 's.csv': expected nothing: it applies to task",
            ),
            (
                "data w.tsv --task echo",
                "--task echo: expected pairs or series, which read a file\n",
            ),
            (
                "data w.tsv --train b.tsv",
                "--train b.tsv: expected nothing: the file that is read is FILE, w.tsv\n",
            ),
            (
                "data w.tsv --series b.csv --task series",
                "--series b.csv: expected nothing: the file that is read is FILE, w.tsv\n",
            ),
            (
                "data w.csv --task pairs --inputs a",
                "--inputs a: expected nothing: it applies to task series only\n",
            ),
        ],
    );
    let help = lab.run("data --help");
    assert!(!help.contains("\n      --train <") && !help.contains("\n      --series <"), "{help}");
    assert!(help.contains("\n      --test <FILE>"), "{help}");
}

#[test]
fn an_unknown_word_of_a_file_is_told_with_those_that_there_are() {
    let lab = Lab::new();
    lab.write("s.toml", "method = 'random'\nsample = 3\n[base]\n[fields]\n");
    lab.write("grid.toml", "method = 'gird'\n");
    lab.write("r.toml", "titel = 'a'\n");
    each_says(
        &lab,
        &[
            (
                "sweep plan s.toml --out all",
                "s.toml, line 2, column 1: unknown field `sample`, expected one of `method`, `samples`, \
                 `seed`, `metric`, `base`, `fields`: sample = 3\nhint: did you mean `samples`?\n",
            ),
            (
                "sweep plan grid.toml --out all",
                "grid.toml, line 1, column 10: unknown variant `gird`, expected `grid` or `random`: method \
                 = 'gird'\nhint: did you mean `grid`?\n",
            ),
            (
                "reproduce --recipe r.toml --data . --out all",
                "r.toml, line 1, column 1: unknown field `titel`, expected one of `title`, `data`, \
                 `notes`, `runs`, `files`, `config`, `published`: titel = 'a'\nhint: did you mean `title`?",
            ),
        ],
    );
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let lab = Lab::with_run(ECHO);
    for command in [
        "list",
        "doctor",
        "completions bash",
        "train echo --dry-run",
        "summary echo",
        "evaluate run",
        "predict run --source '1 2 3 4 5 6'",
        "inspect run --source '1 2 3 4 5 6' --out inside",
        "report .",
        "resume run",
        "train echo --epochs 1 --evaluation-samples 20",
        "--help",
        "train --help",
        "--version",
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut program = Command::new(PROGRAM);
        let words = lab.command(command);
        program.args(words.get_args()).current_dir(lab.path(".")).stdout(full);
        let output = program.env("CUDA_VISIBLE_DEVICES", "-1").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}\n{stderr}");
        let says = "error: cannot write standard output: No space left on device";
        assert!(stderr.contains(says), "{command}\n{stderr}");
    }
}

#[test]
fn every_flag_tells_its_default_and_every_line_of_help_fits() {
    let lab = Lab::new();
    let all =
        ["train", "summary", "reproduce", "evaluate", "predict", "inspect", "report", "resume"];
    for command in all {
        let help = lab.run(&format!("{command} --help"));
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        let Some((_, fields)) = help.split_once("\nData:") else { continue };
        let flags: Vec<&str> = fields.split("\n      --").skip(1).collect();
        assert_eq!(flags.len(), seqlab::config::FIELDS.len(), "{help}");
        for flag in flags {
            assert!(flag.contains("[default:"), "{command} --{flag}");
        }
    }
    let help = lab.run("train --help");
    for default in ["[default: 0.999]", "[default: 1e-7]", "[default: 30s]", "[default: float32]"] {
        assert!(help.contains(default), "{default} in {help}");
    }
    assert!(lab.run("evaluate --help").contains("free-running: fed what it said itself"));
}

#[test]
fn a_summary_is_of_a_preset_a_run_or_a_file() {
    let lab = Lab::with_run("echo --units 7 --epochs 1 --evaluation-samples 20");
    let of_run = lab.run("summary run");
    assert_eq!(of_run, lab.run("summary --config run/config.toml"));
    assert_eq!(of_run, lab.run("summary echo --units 7"));
    assert_eq!(lab.run("summary run --units 16"), lab.run("summary echo"));
    lab.write("echo/config.toml", "");
    assert_eq!(lab.run("summary run --units 16"), lab.run("summary echo"));
    lab.refuses(1, "summary ./echo", &["error: ./echo/config.toml: missing field `task`"]);
    lab.write("data/notes.txt", "");
    lab.refuses(2, "summary data", &["error: data: no run"]);
}

#[test]
fn json_says_what_the_tables_say() {
    let lab = Lab::with_run(ECHO);
    let list = json(&lab.run("list --json"));
    assert_eq!(list[0]["name"], "echo");
    assert_eq!(list[0]["config"]["units"], 16);
    assert_eq!(list[0]["loss"]["low"], 1.7123);
    let summary = json(&lab.run("summary echo-tutorial --json"));
    assert_eq!(summary["parameters"], 11_780);
    assert_eq!(summary["layers"][1]["output_shape"], json("[7, 5, 20]"));
    let report = lab.run("report . --json");
    assert_eq!(report, lab.read("report.json"));
}

/// The names of an object's fields, in alphabetical order.
fn names(value: &serde_json::Value) -> Vec<&str> {
    let mut names: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// What scripts rely on.
#[test]
fn the_names_in_json_stay_as_they_are() {
    let lab = Lab::new();
    let list = json(&lab.run("list --json"));
    for preset in list.as_array().unwrap() {
        let expected = ["about", "accuracy", "config", "loss", "name", "source"];
        assert_eq!(names(preset), expected);
    }
    let summary = json(&lab.run("summary reverse --json"));
    let expected = ["engine", "layers", "memory_bytes", "optimizer", "parameters", "preset"];
    assert_eq!(names(&summary), expected);
    let encoder = &summary["layers"].as_array().unwrap()[1];
    let expected = ["name", "output_shape", "parameters", "type", "weights"];
    assert_eq!(names(encoder), expected);
    let kernel = &encoder["weights"][0];
    assert_eq!(*kernel, json(r#"{"name":"encoder.kernel","shape":[51,512],"parameters":26112}"#));
}

/// What a terminal gets from each of the commands that follow the directory to run them in, a line each.
const TERMINAL: &str = r#"
import os, pty, re, shlex, sys
os.chdir(sys.argv[1])
for command in sys.argv[2:]:
    pid, terminal = pty.fork()
    if pid == 0:
        words = shlex.split(command)
        os.execvp(words[0], words)
    shown = b""
    try:
        while part := os.read(terminal, 4096):
            shown += part
    except OSError:
        pass
    os.waitpid(pid, 0)
    print("colour" if re.search(rb"\[[0-9;:]*m", shown) else "plain", b"steps/s" in shown)
"#;

/// With NO_COLOR and without; a bar that moves is no colour.
#[test]
fn nothing_is_coloured_on_a_terminal() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("skipped: there is no python3");
        return;
    }
    let lab = Lab::new();
    let commands =
        ["--help", "train --help", "train --unit 3", "doctor", "train echo --epochs 400"];
    let commands = commands.map(|arguments| format!("{PROGRAM} {arguments}"));
    for (variable, value) in [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")] {
        let mut python = Command::new("python3");
        python.args(["-B", "-c", TERMINAL]).arg(lab.path(".")).args(&commands);
        python.env("TERM", "xterm-256color").env(variable, value).env("CUDA_VISIBLE_DEVICES", "-1");
        let output = python.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let wrong = String::from_utf8_lossy(&output.stderr);
        let mut expected = vec!["plain False"; commands.len() - 1];
        expected.push("plain True");
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{variable}\n{wrong}");
    }
}

#[test]
fn one_name_of_a_seed_is_as_good_as_the_other() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --base-seed 7"), "run");
    assert!(lab.read("run/config.toml").contains("seed = 7\n"));
    let quick = "reproduce echo-current --replicas 1 --quiet";
    for (flag, out) in [("--seed", "one"), ("--base-seed", "other")] {
        let output = lab.command(&format!("{quick} {flag} 7 --out {out}")).output().unwrap();
        assert_eq!([output.stdout, output.stderr].concat(), b"");
        assert!(lab.read(&format!("{out}/echo-current/config.toml")).contains("seed = 7\n"));
        assert!(lab.path(out).join("report.md").exists());
    }
}

#[test]
fn checkpoints_may_be_hours_apart() {
    let lab = Lab::new();
    lab.train(&format!("{ECHO} --checkpoint-every 2h"), "run");
    assert!(lab.read("run/config.toml").contains("checkpoint_every = \"2h\"\n"));
    lab.run("resume run --epochs 3");
}
