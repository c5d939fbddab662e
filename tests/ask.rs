//! What a finished run is asked: `evaluate` and `predict`.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use common::{Csv, ECHO, Lab, PARTIAL, PROGRAM, REVERSE, json};

/// Has a validation of the very questions that it is evaluated on: those held out.
const SUMS: &str = "addition-2 --units 8 --samples 96 --evaluation-samples 40 --validation-samples \
                    40 --validate-every 1 --lr 0.1";

fn with_sums() -> Lab {
    Lab::with_run(&format!("{SUMS} --epochs 2"))
}

fn summary(lab: &Lab) -> serde_json::Value {
    json(&lab.read("run/summary.json"))
}

#[test]
fn an_evaluation_says_the_loss_of_what_it_evaluated() {
    let lab = with_sums();
    let curves = Csv::curves(&lab, "run");
    let evaluated = json(&lab.run("evaluate run --json"))[0].clone();
    assert_eq!(evaluated, summary(&lab)["replicas"][0]);
    let loss = evaluated["evaluation"]["loss"].as_f64().unwrap();
    assert_eq!(curves.numbers("val_loss")[1], loss);
    assert_eq!(curves.numbers("loss")[1], evaluated["train_loss"].as_f64().unwrap());
    assert_ne!(curves.numbers("loss")[1], loss, "says nothing");

    for printed in [lab.run("evaluate run"), lab.run("resume run --epochs 3")] {
        for header in
            ["seed  train loss  train accuracy  ", "  fresh samples  eval loss  token accuracy"]
        {
            assert!(printed.contains(header), "{printed}");
        }
    }
    let printed = lab.run("evaluate run --samples 20");
    let loss = &json(&lab.run("evaluate run --samples 20 --json"))[0]["evaluation"]["loss"];
    assert!(printed.contains(&format!("  {:.4}", loss.as_f64().unwrap())), "{printed}");
}

#[test]
fn a_summary_from_before_evaluations_had_a_loss_is_read() {
    let lab = with_sums();
    let now = lab.read("run/summary.json");
    let loss = now.lines().find(|line| line.contains("\"loss\"")).unwrap();
    let before = now.replace(&format!("{loss}\n"), "");
    let before = before.replace("\"train_loss", "\"loss").replace("\"train_accuracy", "\"accuracy");
    assert_ne!(before, now);
    lab.write("run/summary.json", before);
    let evaluated = json(&lab.run("evaluate run --json"));
    assert_eq!(evaluated, json(&now)["replicas"]);
    lab.run("report .");
}

/// What `predict run` prints for `input` and reports, where some of it is bad.
fn predict_bad(lab: &Lab, input: impl Into<Vec<u8>>) -> (Vec<String>, String) {
    let output = lab.command("predict run").write_stdin(input).output().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|o| String::from_utf8(o).unwrap());
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    (stdout.lines().map(str::to_owned).collect(), stderr)
}

#[test]
fn bad_lines_are_reported_and_the_others_answered() {
    let lab = Lab::with_run(REVERSE);
    let good = ["1 2 3 4 5 6", "6 5 4 3 2 1"];
    let [one, other] = good.map(|source| lab.run(&format!("predict run --source '{source}'")));
    for (bad, says) in [
        (b"1 2 3 4 5 51".to_vec(), "id 51 is outside the vocabulary, 0 to 50\n"),
        (b"".to_vec(), "0 ids: the model reads 6\n"),
        (b"1 2 three 4 5 6".to_vec(), "'three' is no id: expected whole numbers from 0 to 50\n"),
        (b"1 2 \xff\xfe".to_vec(), "no UTF-8: "),
        (vec![b'7'; 10_000_000], "more than 1216 bytes: the model reads 6 ids from 0 to 50\n"),
    ] {
        let input = [good[0].as_bytes(), b"\n", &bad, b"\r\n", good[1].as_bytes()].concat();
        let (lines, stderr) = predict_bad(&lab, input);
        assert_eq!(lines, [one.trim_end(), "", other.trim_end()], "{stderr}");
        assert!(stderr.starts_with(&format!("error: standard input, line 2: {says}")), "{stderr}");
        let end = "\nerror: standard input: 1 of 3 lines are no sources, answered by empty ones\n";
        assert!(stderr.ends_with(end), "{stderr}");
    }
    let (lines, stderr) = predict_bad(&lab, format!("x\n{}\n\ny", good[0]));
    assert_eq!(lines, ["", one.trim_end(), "", ""]);
    for says in ["line 1: 'x'", "line 3: 0 ids", "line 4: 'y'", ": 3 of 4 lines"] {
        assert!(stderr.contains(says), "{stderr}");
    }
}

#[test]
fn a_line_is_answered_as_it_comes() {
    let lab = Lab::with_run(REVERSE);
    let mut command = std::process::Command::new(PROGRAM);
    command.args(["predict", "run"]).current_dir(lab.path(".")).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || output.for_each(|line| sender.send(line.unwrap()).unwrap()));
    let answer = || receiver.recv_timeout(Duration::from_secs(120)).unwrap();
    for source in ["1 2 3 4 5 6", "6 5 4 3 2 1"] {
        // A line is one at its end, and the next that has begun is none yet.
        write!(input, "{source}\n9 9 ").unwrap();
        assert_eq!(answer().split(' ').count(), 3);
        writeln!(input, "9 9 9 9").unwrap();
        assert_eq!(answer().split(' ').count(), 3);
    }
    drop(input);
    assert!(receiver.recv().is_err() && child.wait().unwrap().success());
}

#[test]
fn errors_about_the_run_come_before_those_about_sources() {
    let lab = Lab::new();
    let says = "error: run: no run: it has no config.toml\n";
    lab.refuses_input(2, "predict run", "1 2 three", &[says]);
    lab.refuses(2, "predict run --source three", &[says]);
}

/// Types lines on a terminal of its own and prints what is seen there.
const TERMINAL: &str = r#"
import os, pty, signal, sys
signal.alarm(120)
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:3] + ["run"])
seen = b""
def read_until(prompts):
    global seen
    while seen.count(b"> ") < prompts:
        try:
            more = os.read(terminal, 4096)
        except OSError:
            more = b""
        if not more:
            sys.exit("not %d prompts: %r" % (prompts, seen))
        seen += more
for i, line in enumerate([b"1 2 3 4 5 6\n", b"1 2 3\n", b"6 5 4 3 2 1\n", b"\x04"]):
    read_until(i + 1)
    os.write(terminal, line)
status = os.waitpid(pid, 0)[1]
while True:
    try:
        more = os.read(terminal, 4096)
    except OSError:
        break
    if not more:
        break
    seen += more
print(os.WEXITSTATUS(status))
print(seen.decode().replace("\r", ""))
"#;

#[cfg(unix)]
#[test]
fn a_terminal_is_asked_line_by_line() {
    let lab = Lab::with_run(REVERSE);
    let mut python = std::process::Command::new("python3");
    python.args(["-c", TERMINAL, PROGRAM, "predict"]).current_dir(lab.path("."));
    let Ok(output) = python.output() else { return eprintln!("skipped: there is no python3") };
    let seen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let [one, other] = ["1 2 3 4 5 6", "6 5 4 3 2 1"]
        .map(|source| lab.run(&format!("predict run --source '{source}'")));
    let expected = format!(
        "2\ntype 6 ids from 0 to 50, one source a line; Ctrl-D ends\n> 1 2 3 4 5 6\n{one}> 1 2 3\n\n\
         error: standard input, line 2: 3 ids: the model reads 6\n> 6 5 4 3 2 1\n{other}> \n\
         error: standard input: 1 of 3 lines are no sources, answered by empty ones\n\n"
    );
    assert_eq!(seen, expected);
}

#[test]
fn an_addition_is_asked_and_shown_in_characters() {
    let lab = Lab::new();
    let printed = lab.run(&format!("train {SUMS} --epochs 2 --out run"));
    let predictions = Csv::predictions(&lab, "run");
    let written = |ids: &str, backwards: bool| {
        let ids = ids.split(' ').map(|id| b"0123456789+ "[id.parse::<usize>().unwrap()] as char);
        let mut characters: Vec<char> = ids.collect();
        if backwards {
            characters.reverse();
        }
        characters.into_iter().collect::<String>().trim_end().to_owned()
    };
    let (mut ids, mut characters, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for row in &predictions.rows {
        let [_, source, expected, predicted, _] = &row[..] else { panic!("{row:?}") };
        let question = written(source, true);
        let (a, b) = question.split_once('+').unwrap();
        let sum = a.parse::<u32>().unwrap() + b.parse::<u32>().unwrap();
        assert_eq!(written(expected, false), sum.to_string());
        ids.extend([source.as_str(), "\n"]);
        answers.push(written(predicted, false));
        characters.push(question);
    }
    let example = printed.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(example[0], characters[0], "{printed}");
    assert_eq!(example[1], written(predictions.column("expected")[0], false));

    let printed = lab.run_with_input("predict run", &characters.join("\n"));
    assert_eq!(printed.lines().collect::<Vec<_>>(), answers);
    let printed = lab.run_with_input("predict run", &ids.concat());
    assert_eq!(printed.lines().collect::<Vec<_>>(), predictions.column("predicted"));
    let alone = format!("predict run --source ' {} '", characters[0].replace('+', " + "));
    assert_eq!(lab.run(&alone), format!("{}\n", answers[0]));

    for (source, says) in [
        ("123+1", "'123' is no number: expected 1 to 2 digits on each side of +\n"),
        ("1+2+3", "'2+3' is no number: expected 1 to 2 digits on each side of +\n"),
        ("12-3", "'12-3' is no id: expected whole numbers from 0 to 11, or a question such as 1+2"),
        ("12", "id 12 is outside the vocabulary, 0 to 11, or a question such as 1+2\n"),
    ] {
        let says = format!("error: --source: {says}");
        lab.refuses(2, &format!("predict run --source '{source}'"), &[&says]);
    }
}

#[test]
fn the_best_weights_are_those_where_the_validation_loss_was_lowest() {
    let lab = Lab::new();
    // Each row's validation reads the questions that are evaluated, and epochs have a row each.
    let training = format!("{SUMS} --replicas 2");
    lab.train(&format!("{training} --epochs 9"), "run");
    let curves = Csv::curves(&lab, "run");
    let losses = [0, 1].map(|k| curves.replica(k).numbers("val_loss"));
    let mean = |row: usize| losses[0][row] + losses[1][row];
    let best = (0..9).min_by(|&a, &b| mean(a).total_cmp(&mean(b))).unwrap();
    assert_ne!(best, 8, "says nothing: take another learning rate");

    lab.train(&format!("{training} --epochs {}", best + 1), "short");
    let evaluated = json(&lab.run("evaluate run --best --json"));
    let short = json(&lab.run("evaluate short --json"));
    for k in [0, 1] {
        assert_eq!(evaluated[k]["evaluation"]["loss"], losses[k][best]);
        assert_eq!(evaluated[k]["evaluation"], short[k]["evaluation"]);
        assert!(evaluated[k]["train_loss"].is_null(), "that of the last epoch is of other weights");
    }
    let step = curves.column("step")[2 * best];
    let printed = lab.run("evaluate run --best");
    assert!(printed.starts_with(&format!("best weights, those after step {step}\n")), "{printed}");

    let questions: String = (0..100).map(|n| format!("{}+{}\n", n, 99 - n)).collect();
    let ask = |command: &str| lab.run_with_input(command, &questions);
    let answers = ask("predict run --best --replica 1");
    assert_eq!(answers, ask("predict short --replica 1"));
    assert_ne!(answers, ask("predict run --replica 1"));
}

#[test]
fn a_run_without_best_weights_says_how_to_get_them() {
    let lab = Lab::with_run(REVERSE);
    for command in ["evaluate run --best", "predict run --best --source '1 2 3 4 5 6'"] {
        let hint = "train --config run/config.toml --validate-every 1` trains it again with them\n";
        lab.refuses(2, command, &["error: --best: no row of run was validated\nhint: `", hint]);
    }
    lab.run("train --config run/config.toml --validate-every 1 --out again --quiet");
    lab.run("evaluate again --best");
}

#[test]
fn more_questions_than_were_held_out_are_refused() {
    let lab = with_sums();
    let says = "error: --samples 41: expected at most the 40 held out\nhint: ";
    lab.refuses(2, "evaluate run --samples 41", &[says]);
    assert_eq!(json(&lab.run("evaluate run --samples 40 --json")), summary(&lab)["replicas"]);

    let fewer = "train addition-2 --samples 96 --evaluation-samples 40 --validate-every 1";
    let says = "error: --validation-samples 41: expected 1 to 40, the questions held out";
    lab.refuses(2, &format!("{fewer} --validation-samples 41 --out new"), &[says]);
    lab.run(&format!("{fewer} --epochs 1 --units 8 --out new --quiet"));
    let config = lab.read("new/config.toml");
    assert!(config.contains("\nvalidation_samples = 40\n"), "it follows: {config}");
    // As it was written before it followed.
    lab.write("c.toml", config.replace("validation_samples = 40", "validation_samples = 500"));
    lab.run("train --config c.toml --out again --quiet");
    assert_eq!(lab.bytes("again/predictions.csv"), lab.bytes("new/predictions.csv"));
}

/// A run of three replicas whose answers differ, with the sources and targets of its first one.
fn with_reverses() -> (Lab, String, Vec<String>) {
    let training =
        "reverse --units 8 --samples 4000 --evaluation-samples 50 --replicas 3 --lr 0.02";
    let lab = Lab::with_run(training);
    let predictions = Csv::predictions(&lab, "run").replica(0);
    let expected = predictions.column("expected").into_iter().map(str::to_owned).collect();
    (lab, predictions.column("source").join("\n"), expected)
}

fn accuracies(evaluation: &serde_json::Value) -> [f64; 2] {
    ["token_accuracy", "sequence_accuracy"].map(|of| evaluation[of].as_f64().unwrap())
}

/// Token and sequence accuracy of the lines of `answers`.
fn accuracies_of(answers: &str, expected: &[String]) -> [f64; 2] {
    let (mut right, mut all, mut exact) = (0, 0, 0);
    assert_eq!(answers.lines().count(), expected.len());
    for (answer, expected) in answers.lines().zip(expected) {
        let pairs = answer.split(' ').zip(expected.split(' '));
        right += pairs.clone().filter(|(answer, expected)| answer == expected).count();
        all += pairs.count();
        exact += usize::from(answer == expected);
    }
    [right as f64 / all as f64, exact as f64 / expected.len() as f64]
}

#[test]
fn a_beam_is_evaluated_by_its_best_hypotheses_which_predict_says() {
    let (lab, sources, expected) = with_reverses();
    let ask = |flags: &str| lab.run_with_input(&format!("predict run {flags}"), &sources);
    for flags in ["--beam-width 1", "--beam-width 4", "--ensemble", "--ensemble --beam-width 4"] {
        let evaluated = json(&lab.run(&format!("evaluate run {flags} --json")));
        let evaluation = &evaluated[0]["evaluation"];
        assert_eq!(accuracies(evaluation), accuracies_of(&ask(flags), &expected), "{flags}");
        assert!(evaluation["loss"].is_null() && evaluation["samples"] == 50, "{evaluation}");
        let together = flags.contains("--ensemble");
        assert_eq!(evaluated.as_array().unwrap().len(), if together { 1 } else { 3 });
        let seeds = if together { serde_json::json!([1, 2, 3]) } else { serde_json::json!(null) };
        assert_eq!(evaluated[0]["ensemble"], seeds);
    }
    assert_ne!(ask("--ensemble"), ask("--beam-width 1"), "says nothing");
    assert_ne!(ask("--beam-width 4 --replica 1"), ask("--beam-width 4"), "says nothing");
    let printed = lab.run("evaluate run --ensemble --beam-width 4");
    let says = "beam search of width 4, whose answers have no loss\n\
                ensemble of 3 replicas, on the data of seed 1\n\
                seed      fresh samples  token accuracy  exact sequences\nensemble  50             0.";
    assert!(printed.starts_with(says), "{printed}");
}

#[test]
fn a_beam_of_one_says_what_a_model_without_decoder_says_and_carries_its_state() {
    for training in [ECHO, PARTIAL] {
        let lab = Lab::with_run(&format!("{training} --replicas 2"));
        let [plain, beam] = ["", "--beam-width 1"].map(|flags| {
            let replicas = json(&lab.run(&format!("evaluate run {flags} --json")));
            [0, 1].map(|k| accuracies(&replicas[k]["evaluation"]))
        });
        assert_eq!(plain, beam, "{training}");
        lab.run("evaluate run --ensemble");
    }
}

#[test]
fn the_best_hypotheses_are_shown_with_their_scores() {
    let lab = Lab::with_run(REVERSE);
    let (good, other) = ("1 2 3 4 5 6", "6 5 4 3 2 1");
    let header = "line\trank\tlog_probability\tscore\tpredicted\n";
    let table = |printed: &str| -> Vec<Vec<String>> {
        let rows = printed.strip_prefix(header).unwrap().lines();
        rows.map(|row| row.split('\t').map(str::to_owned).collect()).collect()
    };
    let rows = table(&lab.run(&format!("predict run --n-best 3 --source '{good}'")));
    let ranks: Vec<&str> = rows.iter().map(|row| row[1].as_str()).collect();
    assert_eq!(ranks, ["1", "2", "3"]);
    let scores: Vec<f64> = rows.iter().map(|row| row[2].parse().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] < 0.0, "{scores:?}");
    for row in &rows {
        assert_eq!((row[0].as_str(), &row[2], row[4].split(' ').count()), ("1", &row[3], 3));
    }
    let best = lab.run(&format!("predict run --beam-width 3 --source '{good}'"));
    assert_eq!(best, format!("{}\n", rows[0][4]));
    // Wider beams show the same number.
    let wide = lab.run(&format!("predict run --beam-width 60 --n-best 3 --source '{good}'"));
    assert_eq!(table(&wide).len(), 3);

    let mut command = lab.command("predict run --n-best 2");
    let output = command.write_stdin(format!("{good}\nx\n{other}\n")).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let rows = table(&String::from_utf8(output.stdout).unwrap());
    let lines: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(lines, ["1", "1", "2", "3", "3"]);
    assert_eq!(rows[2], ["2", "", "", "", ""]);
    let many = lab.run_with_input("predict run --n-best 1", &format!("{good}\n").repeat(5000));
    let rows = table(&many);
    assert_eq!((rows.len(), rows[4999][0].as_str()), (5000, "5000"));
    assert!(rows.iter().all(|row| row[4] == rows[0][4]));
}

#[test]
fn searches_that_are_impossible_or_have_no_effect_are_refused() {
    let lab = Lab::with_run(&format!("{REVERSE} --replicas 2"));
    let one = Lab::with_run(REVERSE);
    for (flags, says) in [
        (
            "--n-best 3 --beam-width 2",
            "--n-best 3: expected at most the --beam-width, 2\nhint: give",
        ),
        ("--beam-width 0", "--beam-width 0: expected a whole number from 1 to 1024\n"),
        ("--beam-width 1025", "--beam-width 1025: expected a whole number from 1 to 1024\n"),
        ("--n-best few", "--n-best few: expected a whole number from 1 to 1024\n"),
        ("--length-penalty -1", "--length-penalty -1: expected a number from 0 to 10\n"),
        ("--length-penalty nan", "--length-penalty nan: expected a number from 0 to 10\n"),
        (
            "--beam-width 3 --length-penalty 1",
            "--length-penalty 1: has no effect, every target of reverse has 3 ids\nhint: leave it out",
        ),
        ("--ensemble --replica 1", "'--ensemble' cannot be used with '--replica <K>'"),
    ] {
        let command = format!("predict run {flags} --source '1 2 3 4 5 6'");
        lab.refuses(2, &command, &["error: ", says]);
    }
    for command in ["evaluate run --ensemble", "predict run --ensemble --source '1 2 3 4 5 6'"] {
        let says =
            "error: --ensemble: the run has one replica, which answers alike without it\nhint: ";
        one.refuses(2, command, &[says]);
    }
}

/// Sources of 3 to 6 ids, targets of 2 to 4 and the end.
const LENGTHS: &str = "reverse --units 16 --n-in-min 3 --n-out 5 --n-out-min 3 --samples 320 \
                       --evaluation-samples 60 --lr 0.02 --feedback argmax";

#[test]
fn targets_with_lengths_end_where_the_model_says_the_end() {
    let lab = Lab::with_run(&format!("{LENGTHS} --epochs 2"));
    let rows = lab.read("run/predictions.csv");
    let mut lengths = std::collections::BTreeSet::new();
    let (mut asked, mut answered) = (String::new(), String::new());
    for row in rows.lines().skip(1) {
        let cells: Vec<&str> = row.split(',').collect();
        let ids = |cell: &str| cell.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (source, expected, predicted) = (ids(cells[1]), ids(cells[2]), ids(cells[3]));
        assert!((3..=6).contains(&source.len()) && (2..=4).contains(&expected.len()), "{row}");
        let reversed: Vec<String> = source[..expected.len()].iter().rev().cloned().collect();
        assert_eq!(expected, reversed, "{row}");
        assert!(predicted.len() <= 5 && !predicted.contains(&"0".to_owned()), "{row}");
        assert_eq!(cells[4] == "true", expected == predicted, "{row}");
        lengths.insert((source.len(), expected.len()));
        asked += &format!("{}\n", cells[1]);
        answered += &format!("{}\n", cells[3]);
    }
    assert_eq!(lab.run_with_input("predict run", &asked), answered);
    assert_eq!(lengths.into_iter().collect::<Vec<_>>(), [(3, 2), (4, 2), (5, 3), (6, 4)]);

    let sources = "1 2 3\n1 2 3 4 5 6\n1 2 3 4 5\n";
    let together = lab.run_with_input("predict run", sources);
    let apart = sources.lines().map(|line| lab.run_with_input("predict run", line));
    assert_eq!(together, apart.collect::<String>());
    lab.refuses(2, "predict run --source '1 2'", &["--source: 2 ids: the model reads 3 to 6"]);
    // The mean log-probability of an id, not their sum, ranks hypotheses.
    let best = lab.run("predict run --n-best 4 --length-penalty 1 --source '1 2 3 4 5 6'");
    let scores = best.lines().skip(1).map(|row| {
        let cells: Vec<&str> = row.split('\t').collect();
        let [total, score] = [2, 3].map(|k| cells[k].parse::<f64>().unwrap());
        (total / score).round() as usize
    });
    let lengths: Vec<usize> = scores.collect();
    assert!(lengths.iter().all(|length| (1..=5).contains(length)), "{lengths:?}: {best}");
    lab.run("evaluate run --beam-width 3 --length-penalty 1");
}

#[test]
fn lengths_that_no_model_could_know_are_refused() {
    let lab = Lab::new();
    for (flags, says) in [
        ("--n-in-min 7", "--n-in-min 7: expected 1 to 6, the ids of the longest source (--n-in)"),
        ("--n-out-min 2", "--n-out-min 2: expected --n-in-min as well: the length of a target"),
        (
            "--n-in-min 5 --n-out-min 2 --n-out 6",
            "--n-out-min 2: expected 5 to 6, as many lengths as sources have",
        ),
        ("--n-in-min 5 --n-out-min 2 --n-out 8", "--n-out 8: expected 2 to 7, the ids of"),
        ("--n-in-min 4 --n-out-min 2 --n-out 1", "--n-out 1: expected 2 to 7, an id and the end"),
        ("--n-in-min 2", "n_out 3 of preset reverse: expected 1 to 2, the ids of the shortest"),
        (
            "--n-in-min 3 --family repeat_vector --stateful true",
            "--stateful true: expected false: a batch with other lengths does not",
        ),
        ("--task echo --length 26 --n-in-min 3", "--n-in-min 3: expected nothing: it applies to"),
    ] {
        lab.refuses(2, &format!("train reverse --out run {flags}"), &["error: ", says]);
    }
}
