//! Pairs from files, through the program: what is read, trained, kept, answered and refused.

mod common;

use std::fmt::Write;

use common::{Lab, json};

/// Words of two to six letters, and the same backwards letter by letter.
fn backwards(count: usize, first: usize) -> String {
    let letters = ["a", "b", "c", "d", "é", "ß"];
    let mut lines = String::new();
    for n in first..first + count {
        let length = 2 + n % 5;
        let word: Vec<&str> =
            (0..length).map(|place| letters[(n / 7 + n * place * place + place) % 6]).collect();
        let back: Vec<&str> = word.iter().rev().copied().collect();
        writeln!(lines, "{}\t{}", word.concat(), back.join(" ")).unwrap();
    }
    lines
}

fn lab() -> Lab {
    let lab = Lab::new();
    lab.write("words.tsv", backwards(120, 0));
    lab
}

#[test]
fn one_command_trains_on_a_file_and_says_what_it_found() {
    let lab = lab();
    lab.run(SMALL_TRAIN);
    let config = lab.read("runs/words/config.toml");
    for line in [
        "task = \"pairs\"",
        "train = \"words.tsv\"",
        "source_tokens = \"characters\"",
        "target_tokens = \"words\"",
        "vocab = 10",
        "source_vocab = 10",
        "n_in = 6",
        "n_out = 7",
        "family = \"teacher_forced\"",
        "bidirectional = true",
    ] {
        assert!(config.contains(line), "{line} in {config}");
    }
    let vocabulary = "<padding>\n<start>\n<end>\n<unknown>\na\nb\nc\nd\nß\né\n";
    assert_eq!(lab.read("runs/words/source-vocabulary.txt"), vocabulary);
    let rows = lab.read("runs/words/predictions.csv");
    let row = rows.lines().nth(1).unwrap();
    let cells: Vec<&str> = row.split(',').collect();
    let back: Vec<String> = cells[1].chars().rev().map(String::from).collect();
    assert_eq!(cells[2], back.join(" "), "{row}");
    let summary = json(&lab.read("runs/words/summary.json"));
    assert!(summary["replicas"][0]["evaluation"]["symbol_error_rate"].as_f64().unwrap() > 0.0);
}

/// A training of a second.
const SMALL_TRAIN: &str = "train --train words.tsv --units 8 --epochs 3 --quiet";

#[test]
fn data_shows_what_is_read_before_anything_is_trained() {
    let lab = lab();
    let shown = lab.run("data words.tsv --test-fraction 0.1");
    for says in [
        "words.tsv: 120 pairs, ",
        "to train on: 9",
        "to validate on: 1",
        "to evaluate on: 1",
        "source tokens: characters, 6 different: a b c d ß é\n",
        "target tokens: words, 6 different",
        "--units 64",
        "--batch-size 32",
    ] {
        assert!(shown.contains(says), "{says} in {shown}");
    }
    assert!(!lab.path("runs").exists());
}

#[test]
fn what_is_held_out_teaches_nothing() {
    let lab = Lab::new();
    lab.write("train.tsv", "ab\tx\nba\ty\nab\tx y\n");
    // Longer than all that is trained on, of letters that it has not.
    lab.write("validation.tsv", "abczzzzzz\tx z z z z\n");
    lab.write("test.tsv", "cccc\tq q q q q q q\nab\tx\n");
    let files = "--validation validation.tsv --test test.tsv --out run";
    let train = "train --train train.tsv --target-tokens words --units 4 --epochs 2 --quiet";
    lab.run(&format!("{train} {files}"));
    let config = lab.read("run/config.toml");
    for line in ["n_in = 2", "n_out = 3", "vocab = 6", "source_vocab = 6", "samples = 3"] {
        assert!(config.lines().any(|found| found == line), "{line} in {config}");
    }
    for (name, tokens) in [("source", "a\nb\n"), ("target", "x\ny\n")] {
        let vocabulary = lab.read(&format!("run/{name}-vocabulary.txt"));
        assert_eq!(vocabulary, format!("<padding>\n<start>\n<end>\n<unknown>\n{tokens}"));
    }
    // What nobody could know is told as it was written, and is wrong.
    let rows = lab.read("run/predictions.csv");
    let row = rows.lines().nth(1).unwrap();
    assert!(row.starts_with("0,cccc,q q q q q q q,") && row.ends_with(",false"), "{rows}");
    // The same run without the files that are held out is the same training.
    lab.run(&format!("{train} --validation train.tsv --out other"));
    let weights = |run: &str| lab.bytes(&lab.file(run, "checkpoint/weights.safetensors"));
    assert!(weights("run") == weights("other"));
}

#[test]
fn all_pairs_of_a_source_are_held_out_together() {
    let lab = Lab::new();
    let lines: String =
        (0..200).map(|n| format!("{}\t{n}\n", "abcdefghij".repeat(1 + n % 40))).collect();
    lab.write("words.tsv", lines);
    let shown = lab.run("data words.tsv --validation-fraction 0.3");
    assert!(shown.contains("to validate on: 60 pairs"), "{shown}");
    assert!(!shown.contains("warning"), "{shown}");
    let other = lab.run("data words.tsv --validation-fraction 0.3 --split-seed 2");
    assert_ne!(shown, other);
}

#[test]
fn a_run_answers_in_text_without_its_files() {
    let lab = lab();
    lab.write("other.tsv", backwards(20, 500));
    lab.run(&format!("{SMALL_TRAIN} --replicas 2 --out run"));
    lab.run("evaluate run");
    std::fs::remove_file(lab.path("words.tsv")).unwrap();
    let answer = lab.run("predict run --source abé");
    assert!(answer.trim().split(' ').all(|token| "abcdéß".contains(token)), "{answer}");
    let table = lab.run("predict run --source abé --n-best 3 --ensemble");
    assert_eq!(table.lines().count(), 4, "{table}");
    let found = lab.run("evaluate run --test other.tsv --beam-width 2");
    assert!(found.contains("20"), "{found}");
    lab.refuses(2, "evaluate run", &["words.tsv"]);
    // Unknown symbols are said; what is longer than any source of the training is read.
    let output = lab.command("predict run --source abéx").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("'x' is unknown") && output.status.success(), "{said}");
    lab.run("predict run --source abcdabcdabcd");
    lab.refuses(2, "predict run --source ''", &["--source: an empty source"]);
}

#[test]
fn a_resumed_run_has_the_bytes_of_one_that_was_not_and_refuses_other_data() {
    let lab = lab();
    let flags = "--replicas 2 --checkpoint-every 1 --keep-checkpoints 100";
    lab.run(&format!("{SMALL_TRAIN} {flags} --out whole"));
    lab.copy("whole", "cut");
    let steps = std::fs::read_dir(lab.path("cut/checkpoint")).unwrap();
    let mut names: Vec<_> = steps.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    for name in &names[3..] {
        std::fs::remove_dir_all(lab.path("cut/checkpoint").join(name)).unwrap();
    }
    std::fs::remove_file(lab.path("cut/summary.json")).unwrap();
    std::fs::remove_file(lab.path("cut/predictions.csv")).unwrap();
    lab.write("kept.tsv", lab.read("words.tsv"));
    lab.write("words.tsv", backwards(120, 1));
    lab.refuses(2, "resume cut", &["words.tsv: was changed since the run began: expected "]);
    lab.write("words.tsv", lab.read("kept.tsv"));
    lab.run("resume cut --quiet");
    lab.same_run("whole", "cut");
}

#[test]
fn a_target_of_one_token_is_a_class() {
    let lab = Lab::new();
    let lines: String = (0..60)
        .map(|n| format!("{}\t{}\n", ["aab", "bba", "abab"][n % 3].repeat(1 + n / 3 % 4), n % 3))
        .collect();
    lab.write("classes.tsv", lines);
    lab.run("train --train classes.tsv --units 8 --epochs 2 --out run --quiet");
    let config = lab.read("run/config.toml");
    assert!(config.contains("family = \"lstm\"") && config.contains("n_out = 1"), "{config}");
    let answer = lab.run("predict run --source aab");
    assert!(["0", "1", "2"].contains(&answer.trim()), "{answer}");
}

#[test]
fn every_family_engine_and_number_type_trains_on_pairs() {
    let lab = lab();
    for (number, flags) in [
        "--family repeat_vector --engine libtorch",
        "--family repeat_vector --dtype float64",
        "--engine libtorch --attention none --bidirectional false",
        "--dtype float64 --attention additive --layers 2 --batch-size 7",
        "--attention general --feedback softmax --embedding 0",
    ]
    .iter()
    .enumerate()
    {
        lab.run(&format!("{SMALL_TRAIN} {flags} --out run-{number}"));
    }
}

#[test]
fn a_file_that_is_no_file_of_pairs_is_refused_before_anything_is_written() {
    let lab = lab();
    lab.write("no-tab.tsv", "a\tb\nno tab\n");
    lab.write("three.tsv", "a\tb\tc\n");
    lab.write("source.tsv", "a\tb\n\tb\n");
    lab.write("target.tsv", "a\tb\na\t\n");
    lab.write("latin.tsv", b"a\tb\nb\xe9\tc\n");
    lab.write("utf16.tsv", b"\xff\xfea\0\t\0b\0\n\0");
    lab.write("nul.tsv", b"a\tb\na\0\tb\n");
    lab.write("empty.tsv", "");
    lab.write("quoted.csv", "a,\"b\nc\"\n");
    lab.write("twice.csv", "word,word\na,b\n");
    lab.write("named.csv", "word,phones\na,b\n");
    lab.write("ids.tsv", "1 2\t3\n1 x\t3\n");
    std::fs::create_dir(lab.path("folder")).unwrap();
    lab.write("long.tsv", format!("a\tb\n{}\tb\n", "a".repeat(2 << 20)));
    for (file, says) in [
        ("no-tab.tsv", "no-tab.tsv, line 2"),
        ("three.tsv", "three.tsv, line 1"),
        ("source.tsv", "source.tsv, line 2"),
        ("target.tsv", "target.tsv, line 2"),
        ("latin.tsv", "latin.tsv, line 2"),
        ("utf16.tsv", "UTF-16"),
        ("nul.tsv", "nul.tsv, line 2"),
        ("empty.tsv", "empty.tsv"),
        ("folder", "folder"),
        ("missing.tsv", "missing.tsv"),
        ("long.tsv", "long.tsv, line 2"),
        ("quoted.csv", "quoted.csv, line 1"),
        ("twice.csv --source-column word --target-column phones", "twice.csv"),
        ("named.csv --source-column wort --target-column phones", "word"),
        ("ids.tsv --source-tokens ids --target-tokens ids", "ids.tsv, line 2"),
        ("words.tsv --validation words.tsv --validation-fraction 0.2", "--validation-fraction"),
        ("words.tsv --n-in 3", "--n-in 3: expected 6 or more"),
        ("words.tsv --source-vocab 30", "--source-vocab 30: expected 10"),
        ("words.tsv --source-column 3", "words.tsv"),
        ("words.tsv echo", "preset echo: expected none with task pairs\nhint: leave it out"),
    ] {
        lab.refuses(2, &format!("train --train {file} --out run"), &["error: ", says]);
        assert!(!lab.path("run").exists(), "{file}");
    }
    // What is asked for is left out and counted.
    lab.write("some.tsv", lab.read("words.tsv") + "no tab\n\tno source\n");
    let shown = lab.run("data some.tsv --bad-lines skip");
    assert!(shown.contains("2 lines left out"), "{shown}");
}

/// Ten pairs, of which one is held out where nothing is said.
fn ten() -> Lab {
    let lab = Lab::new();
    lab.write("w.tsv", (0..10).map(|n| format!("a{n}\tb{n}\n")).collect::<String>());
    lab.write("three.tsv", "a0\tb\na1\tb\nnew\tb\n");
    lab
}

#[test]
fn no_more_pairs_are_validated_and_evaluated_on_than_there_are() {
    let lab = ten();
    for (flags, says) in [
        (
            "--evaluation-samples 2",
            "--evaluation-samples 2: expected 1 to 1, the pairs to evaluate",
        ),
        ("--validation-samples 50", "--validation-samples 50: expected 1 to 1, the pairs to valid"),
        (
            "--test three.tsv --evaluation-samples 4",
            "--evaluation-samples 4: expected 1 to 3, the pairs to evaluate on\nhint: leave it out",
        ),
    ] {
        for command in ["train --dry-run --train", "data"] {
            lab.refuses(2, &format!("{command} w.tsv {flags}"), &["error: ", says]);
        }
    }
    lab.run("train --train w.tsv --test three.tsv --evaluation-samples 3 --dry-run");
}

#[test]
fn a_value_of_a_file_that_the_pairs_refute_is_named_with_its_place() {
    let lab = ten();
    lab.write("c.toml", "train = 'w.tsv'\nsamples = 8\n");
    let says =
        "error: c.toml, line 2, column 1: samples = 8: expected 9, as w.tsv has\nhint: leave it";
    lab.refuses(2, "train --config c.toml --dry-run", &[says]);
    lab.refuses(2, "train --config c.toml --units 4 --dry-run", &[says]);
    let says = "error: --samples 7: expected 9, as w.tsv has\nhint: leave it";
    lab.refuses(2, "train --config c.toml --samples 7 --dry-run", &[says]);

    // A whole configuration is what it was, also where it has what nobody would have chosen.
    let whole = lab.run("train --train w.tsv --dropout 0 --attention none --dry-run");
    lab.write("whole.toml", &whole);
    assert_eq!(lab.run("train --config whole.toml --dry-run"), whole);
    lab.write("w.tsv", lab.read("w.tsv") + "another\tc\n");
    let line = 1 + whole.lines().position(|line| line == "samples = 9").unwrap();
    let says =
        format!("error: whole.toml, line {line}, column 1: samples = 9: expected 10, as w.tsv");
    lab.refuses(2, "train --config whole.toml --dry-run", &[&says, "or the file was changed"]);
    lab.run("summary --config whole.toml");
}

#[test]
fn shares_that_cannot_be_are_refused_before_a_file_is_read() {
    let lab = ten();
    for (flags, says) in [
        (
            "--validation-fraction 0",
            "--validation-fraction 0: expected a number above 0: some pairs",
        ),
        (
            "--validation-fraction 0.5 --test-fraction 0.5",
            "--test-fraction 0.5: expected less than 1 together with --validation-fraction 0.5, so",
        ),
        ("--test-fraction 0.95", "expected less than 1 together with --validation-fraction 0.1"),
    ] {
        lab.refuses(2, &format!("train --train none.tsv {flags}"), &["error: ", says]);
        lab.refuses(2, &format!("data none.tsv {flags}"), &["error: ", says]);
    }
}

#[test]
fn a_share_that_comes_to_no_pair_is_not_left_out() {
    let lab = ten();
    let says =
        "w.tsv: no pair is left to evaluate on: --test-fraction 0.04 of 10 pairs comes to none";
    lab.refuses(2, "data w.tsv --test-fraction 0.04", &[says, "\nhint: give more pairs, a larger"]);
    lab.refuses(2, "train --train w.tsv --test-fraction 0.04 --dry-run", &[says]);
    let says = "to validate on: --validation-fraction 0.04 of 10 pairs comes to none";
    lab.refuses(2, "data w.tsv --validation-fraction 0.04", &[says]);
    let same = "to evaluate on: the same, as";
    let shown = lab.run("data w.tsv");
    assert!(
        shown.contains(&format!("{same} no --test and no --test-fraction is given\n")),
        "{shown}"
    );
    let shown = lab.run("data w.tsv --test-fraction 0");
    assert!(shown.contains(&format!("{same} --test-fraction is 0\n")), "{shown}");
}

#[test]
fn a_seed_of_what_is_held_out_is_refused_where_nothing_is() {
    let lab = ten();
    let files = "train --train w.tsv --validation three.tsv --dry-run";
    let says = "--split-seed 3: expected nothing: no pair of --train is held out";
    lab.refuses(2, &format!("{files} --split-seed 3"), &[says]);
    lab.run(&format!("{files} --split-seed 3 --test-fraction 0.2"));
    lab.run("train --train w.tsv --split-seed 3 --dry-run");
}

#[test]
fn a_training_warns_of_what_is_held_out_and_trained_on_as_well() {
    let lab = ten();
    let warning = |pairs: usize, verb: &str| {
        format!("\nwarning: the sources of {pairs} pairs to {verb} on are trained on as well\n")
    };
    let both = "--train w.tsv --validation w.tsv --test three.tsv --units 4 --epochs 1";
    for command in [format!("train {both} --dry-run"), format!("train {both} --out run")] {
        let said = lab.said(0, &command);
        for warning in [warning(10, "validate"), warning(2, "evaluate")] {
            assert!(said.contains(&warning), "{said}");
        }
    }
    let shown = lab.run("data w.tsv --validation three.tsv");
    assert!(shown.contains(&warning(2, "validate and evaluate")), "{shown}");
    let said = lab.said(0, "train --train w.tsv --test-fraction 0.2 --dry-run");
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_series_that_is_read_as_pairs_is_told() {
    let lab = Lab::new();
    lab.write("three.csv", "day,a,b\n1.1.,2,3\n2.1.,4,5\n");
    lab.write("words.txt", "do re mi fa\nsol la\n");
    let numbers = "; if it is a series of numbers: --series three.csv (with data: --task series)\n";
    let tokens =
        "; if it is a series of words: --series words.txt --series-tokens words (with data";
    for (file, hint) in [("three.csv", numbers), ("words.txt", tokens)] {
        for command in ["data", "train --train"] {
            lab.refuses(2, &format!("{command} {file}"), &[hint]);
            // Whoever says that they are pairs is told what is wrong with them.
            for pairs in ["--task pairs", "--source-tokens words"] {
                let output = lab.command(&format!("{command} {file} {pairs}")).output().unwrap();
                let told = String::from_utf8(output.stderr).unwrap();
                assert!(told.contains("\nhint: ") && !told.contains("if it is a series"), "{told}");
            }
        }
    }

    let lines = |names: &str, separator: char| {
        let line = |n: usize| format!("{n}{separator}{}\n", n * n);
        names.to_owned() + &(2..40).map(line).collect::<String>()
    };
    lab.write("xy.csv", lines("x,y\n", ','));
    let note = "note: xy.csv is read as pairs, its first line too, but looks like columns of numbers \
                below their names\nhint: --series xy.csv";
    for command in ["data xy.csv", "train --train xy.csv --dry-run"] {
        assert!(lab.said(0, command).contains(note), "{command}");
        assert!(!lab.said(0, &format!("{command} --task pairs")).contains("note: "), "{command}");
        assert!(!lab.said(0, &format!("{command} --header true")).contains("note: "), "{command}");
    }
    assert_eq!(lab.said(0, "train --train xy.csv --units 4 --epochs 5 --quiet"), "");
    // Pairs of digits are pairs.
    lab.write("squares.tsv", lines("", '\t'));
    lab.write("sums.tsv", "sum\ttotal\n".to_owned() + &"12+3\t15\n4+5\t9\n1+1\t2\n".repeat(9));
    for file in ["squares.tsv", "sums.tsv"] {
        assert_eq!(lab.said(0, &format!("data {file}")), "", "{file}");
    }
}
