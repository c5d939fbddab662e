//! What results and reports tell: nothing that is not so, and nothing that plays with the terminal.

mod common;

use std::fs;

use common::{Csv, Lab, PROGRAM, json, python};
use serde_json::Value;

/// The entry of `name` in a directory's report.json.
fn entry(lab: &Lab, directory: &str, name: &str) -> Value {
    let report = json(&lab.read(&format!("{directory}/report.json")));
    let entries = report["experiments"].as_array().unwrap();
    entries.iter().find(|entry| entry["name"] == name).unwrap().clone()
}

/// The line that begins with `start`.
fn line<'a>(text: &'a str, start: &str) -> &'a str {
    let found = text.lines().find(|line| line.starts_with(start));
    found.unwrap_or_else(|| panic!("no line begins with {start:?}: {text}"))
}

/// What `scripts/plot` marks as published of a run.
fn marks(lab: &Lab, run: &str, expected: &str) {
    let path = lab.path(run);
    let code = format!(
        "import sys, pathlib\nsys.path.insert(0, 'scripts')\nimport plot\n\
         found = plot.published(pathlib.Path({path:?}))\nassert {expected}, found"
    );
    python(&["-c", &code]);
}

const VERDICTS: [&str; 3] = ["reproduced", "better", "worse"];

#[test]
fn a_changed_experiment_is_set_beside_no_published_figure() {
    let lab = Lab::new();
    let few = "--evaluation-samples 40 --replicas 2";
    for (run, arguments) in [
        ("as-it-is", format!("echo {few} --log-every 5 --threads 1 --seed 7")),
        ("r32", "echo --replicas 32 --units 24 --evaluation-samples 40".to_owned()),
        ("long", format!("reverse {few} --n-in 40 --n-out 30 --units 4 --samples 64")),
        ("two-ids", format!("echo {few} --vocab 3 --epochs 2")),
        ("rate", format!("echo {few} --lr 1e-3 --beta-1 0.8 --epochs 2")),
        ("asked", format!("addition-2 {few} --samples 64 --epochs 1 --units 4")),
    ] {
        lab.train(&arguments, &format!("runs/{run}"));
    }
    let printed = lab.run("report runs");
    let report = lab.read("runs/report.md");
    for (run, changed) in [
        ("r32", "--units 24"),
        ("long", "--n-in 40 --n-out 30 --samples 64 --units 4"),
        ("two-ids", "--epochs 2 --id-max 1 --vocab 3"),
        ("rate", "--beta-1 0.8 --epochs 2"),
        ("asked", "--epochs 1 --evaluation-samples 40 --samples 64 --units 4"),
    ] {
        let entry = entry(&lab, "runs", run);
        assert_eq!(entry["changed"], changed);
        assert_eq!(entry["published"], Value::Null, "{run}");
        assert_eq!(entry["reference"], Value::Null, "{run}");
        let rows = [line(&printed, &format!("{run} ")), line(&report, &format!("| {run} "))];
        for row in rows {
            assert!(row.contains(changed), "{row}");
            assert!(VERDICTS.iter().all(|verdict| !row.contains(verdict)), "{row}");
        }
        marks(&lab, &format!("runs/{run}"), "found == ([], [], [])");
    }
    assert!(report.contains("\nChanged: `echo` with `--units 24`.\n"), "{report}");

    let same = entry(&lab, "runs", "as-it-is");
    assert_eq!(
        (&same["changed"], &same["published"]["loss"]["low"]),
        (&Value::Null, &1.7123.into())
    );
    assert_eq!(same["reference"]["loss"]["distribution"]["n"], 20);
    let row = line(&printed, "as-it-is ");
    assert!(VERDICTS.iter().any(|verdict| row.contains(verdict)), "{row}");
    marks(&lab, "runs/as-it-is", "found == ([1.7123, 1.7123], [1, 1], [])");
}

#[test]
fn a_changed_experiment_is_set_beside_the_published_curve_only_where_that_is_asked_for() {
    let lab = Lab::new();
    let small = "partial-echo-2 --units 2 --log-every 50 --evaluation-samples 42";
    lab.train(small, "study/two-units");
    lab.run("report study");
    assert_eq!(entry(&lab, "study", "two-units")["published"], Value::Null);
    assert!(!lab.read("study/report.md").contains("published curve"));

    let printed = lab.run("report study --published-curves");
    let published = entry(&lab, "study", "two-units")["published"].clone();
    assert_eq!((&published["loss"], &published["accuracy"]), (&Value::Null, &Value::Null));
    assert_eq!(published["curve"].as_array().unwrap().len(), 20);
    assert!(published["curve_distance"]["whole"].as_f64().unwrap() > 0.1);
    let row = line(&printed, "two-units ");
    assert!(VERDICTS.iter().all(|verdict| !row.contains(verdict)), "{row}");
    assert!(lab.read("study/report.md").contains("\n| two-units | partial-echo-2 | "));
    marks(&lab, "study/two-units", "found[:2] == ([], []) and len(found[2]) == 20");
}

/// Control characters, and those of Unicode that turn the order of what is written.
fn is_printable(text: &str) -> bool {
    text.chars().all(|c| c == '\n' || !(c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c)))
}

/// A name that clears the screen, begins a line of its own, and turns the rest round.
#[cfg(unix)]
const NAME: &str = "a\u{1b}[2J\nhint: b\u{202e}*c*|";

#[cfg(unix)]
#[test]
fn no_name_of_a_file_reaches_the_terminal_as_it_is() {
    let lab = Lab::new();
    let run = format!("runs/{NAME}");
    let call = |arguments: &[&str], status: i32| {
        let output = lab.command("").args(arguments).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|t| String::from_utf8(t).unwrap());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {err}");
        assert!(is_printable(&out) && is_printable(&err), "{arguments:?}: {out:?} {err:?}");
        (out, err)
    };
    let train = "train echo --epochs 2 --evaluation-samples 40 --replicas 2 --out";
    let train: Vec<&str> = train.split(' ').chain([run.as_str()]).collect();
    let (out, err) = call(&train, 0);
    for text in [&out, &err] {
        assert!(text.contains(r"a\u{1b}[2J\nhint: b\u{202e}*c*|"), "{text}");
    }
    let (_, err) = call(&train, 2);
    assert_eq!(err.lines().filter(|line| line.starts_with("hint: ")).count(), 1, "{err}");
    let (out, _) = call(&["resume", &run], 0);
    assert!(out.contains("finished"), "{out}");
    for command in ["resume", "evaluate", "predict", "report"] {
        call(&[command, &format!("{run}/x\u{9b}2J")], 2);
    }
    call(&[&format!("{NAME}x")], 2);
    call(&["train", &format!("--{NAME}")], 2);

    let (out, _) = call(&["report", "runs"], 0);
    assert!(line(&out, r"a\u{1b}[2J\nhint: b\u{202e}*c*| ").contains("0.0"), "{out}");
    fs::remove_file(lab.path(&format!("{run}/summary.json"))).unwrap();
    fs::write(lab.path(&format!("{run}/summary.json")), "{\u{1b}\u{202e}").unwrap();
    call(&["report", "runs"], 1);
}

#[cfg(unix)]
#[test]
fn foreign_text_is_no_markup_in_a_report() {
    let lab = Lab::new();
    let run = format!("runs/{NAME}");
    lab.train("echo --epochs 2 --evaluation-samples 40", "runs/plain");
    fs::rename(lab.path("runs/plain"), lab.path(&run)).unwrap();
    let path = format!("{run}/summary.json");
    let mut summary = json(&lab.read(&path));
    summary["machine"] = "![x](http://y)\n\n# <b>`two` | three\u{202e}".into();
    lab.write(&path, summary.to_string());
    lab.run("report runs");
    let report = lab.read("runs/report.md");
    assert!(is_printable(&report), "{report:?}");
    let name = r"a\\u{1b}\[2J\\nhint: b\\u{202e}\*c\*\|";
    assert!(report.contains(&format!("\n| {name} | ")), "{report}");
    assert!(report.contains(&format!("\n### {name}\n")), "{report}");
    assert!(report.contains(r"--out $'DIR/a\x1b[2J\x0ahint: b\xe2\x80\xae*c*|'"), "{report}");
    let machine = r"\!\[x\](http://y)\\n\\n\# \<b\>\`two\` \| three\\u{202e}";
    assert!(report.contains(&format!(": {machine}.\n")), "{report}");
}

#[test]
fn what_a_configuration_holds_is_shown_escaped() {
    let lab = Lab::new();
    for text in ["\u{202e}units = 4", "units = \"\u{202e}\u{7f}\"", "task = '\u{2066}x'"] {
        lab.write("a.toml", format!("preset = 'echo'\n{text}\n"));
        let output = lab.command("train --config a.toml").output().unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{err}");
        assert!(is_printable(&err) && err.contains("\\u{20"), "{err:?}");
    }
}

/// What is printed of a training that has `arguments`, line by line.
fn printed(lab: &Lab, arguments: &str) -> Vec<String> {
    let arguments = format!("train {arguments} --evaluation-samples 40 --out run");
    lab.run(&arguments).lines().map(str::to_owned).collect()
}

#[test]
fn results_of_several_replicas_end_with_their_mean_and_examples_say_whose_they_are() {
    let lab = Lab::new();
    let lines = printed(&lab, "reverse --units 8 --samples 320 --replicas 3 --seed 5");
    assert!(lines[0].starts_with("seed  source "), "{lines:?}");
    let whose: Vec<&str> = lines[1..11].iter().map(|line| &line[..1]).collect();
    assert_eq!(whose.concat(), "5555666677");
    let expected = Csv::predictions(&lab, "run").replica(2).rows[0][2].clone();
    assert!(lines[9].contains(&format!("  {expected}  ")), "{expected}: {lines:?}");

    let results: Vec<&String> = lines.iter().skip_while(|line| !line.contains("loss")).collect();
    let replicas = json(&lab.read("run/summary.json"))["replicas"].as_array().unwrap().clone();
    let losses = replicas.iter().map(|replica| replica["train_loss"].as_f64().unwrap());
    let mean = losses.sum::<f64>() / 3.0;
    assert!(results[4].starts_with(&format!("mean ± sd  {mean:.4} ± 0.0")), "{results:?}");
    assert!(!lab.run("evaluate run").lines().any(|line| line.contains("Far worse")));
}

#[test]
fn one_replica_has_no_mean_and_no_column_of_seeds() {
    let lab = Lab::new();
    let lines = printed(&lab, "echo --epochs 2");
    assert!(lines[0].starts_with("source ") && lines.iter().all(|line| !line.contains(" ± ")));
}

#[test]
fn the_last_validation_is_a_part_of_the_result() {
    let lab = Lab::new();
    // Rows 2 and 4 of 5 are validated.
    let lines = printed(&lab, "echo --epochs 5 --replicas 2 --validate-every 2");
    let header = lines.iter().position(|line| line.contains("train loss")).unwrap();
    assert!(lines[header].contains("train accuracy   val loss         val accuracy"), "{lines:?}");
    for k in 0..2 {
        let curve = Csv::curves(&lab, "run").replica(k);
        let [loss, accuracy] = ["val_loss", "val_accuracy"].map(|name| curve.column(name)[3]);
        let [loss, accuracy] = [loss, accuracy].map(|cell| cell.parse::<f64>().unwrap());
        let words: Vec<&str> = lines[header + 1 + k].split_whitespace().collect();
        assert_eq!(words[3..5], [format!("{loss:.4}"), format!("{accuracy:.4}")], "{lines:?}");
    }
    let lines = printed(&Lab::new(), "echo --epochs 5");
    assert!(lines.iter().all(|line| !line.contains(" val loss")), "{lines:?}");
}

#[test]
fn a_run_that_ends_far_worse_than_one_that_knows_nothing_says_so() {
    let lab = Lab::new();
    let lost = "reverse --units 8 --samples 320 --replicas 2";
    for (arguments, vocab, seeds) in [
        (format!("{lost} --lr 1e30"), 51, Some("1, 2")),
        ("echo --epochs 5 --lr 1e10".to_owned(), 100, Some("1")),
        // It knows nothing, but that is no worse than nothing.
        (lost.to_owned(), 51, None),
        ("echo --epochs 1".to_owned(), 100, None),
    ] {
        let lab = Lab::new();
        let lines = printed(&lab, &arguments);
        let said = lines.iter().find(|line| line.starts_with("Far worse than a model that knows"));
        let expected =
            seeds.map(|seeds| format!("ln {vocab} = {:.4}: seed {seeds}.", f64::from(vocab).ln()));
        match expected {
            Some(expected) => assert!(said.unwrap().ends_with(&expected), "{lines:?}"),
            None => assert_eq!(said, None, "{arguments}"),
        }
        assert!(lines.iter().all(|line| !line.contains("0000000")), "{lines:?}");
        assert_eq!(lab.run("evaluate run").contains("Far worse"), seeds.is_some());
    }
    lab.train(&format!("{lost} --evaluation-samples 40 --lr 1e30"), "runs/lost");
    let told = "lost: 2 of 2 replicas ended far worse than a model that knows nothing";
    assert!(lab.run("report runs").contains(told));
    assert!(lab.read("runs/report.md").contains(told));
    assert_eq!(entry(&lab, "runs", "lost")["worse_than_guessing"], 2);
}

#[cfg(unix)]
#[test]
fn long_rows_are_shortened_on_a_terminal_and_nowhere_else() {
    let lab = Lab::new();
    let arguments = "reverse --n-in 60 --n-out 50 --units 4 --samples 64";
    let lines = printed(&lab, arguments);
    let row = &Csv::predictions(&lab, "run").rows[0];
    assert!(lines[1].starts_with(&row[1]) && lines[1].contains(&row[3]), "{lines:?}");
    // In a terminal of 60 columns.
    let words: Vec<&str> = arguments.split(' ').collect();
    let code = format!(
        "import fcntl, os, pty, struct, termios\n\
         words = [{PROGRAM:?}, 'train', *{words:?}, '--evaluation-samples', '40', '--out', {:?}]\n\
         child, terminal = pty.fork()\n\
         if child == 0:\n    \
             fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 60, 0, 0))\n    \
             os.execv(words[0], words)\n\
         text = b''\n\
         try:\n    \
             while part := os.read(terminal, 65536):\n        text += part\n\
         except OSError:\n    pass\n\
         assert os.waitpid(child, 0)[1] == 0, text\n\
         rows = [row for row in text.decode().splitlines() if '…' in row]\n\
         assert len(rows) == 10 and all(len(row) <= 60 and row.count('…') == 3 for row in rows), text\n",
        lab.path("terminal")
    );
    python(&["-c", &code]);
}
