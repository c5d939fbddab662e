//! Series of words and of ids from files, through the program: what is read, trained, kept, said and
//! refused.

mod common;

use common::{Csv, Lab, json};

/// A tune of which the last word does not tell the next.
const TUNE: [&str; 8] = ["do", "re", "mi", "do", "fa", "do", "re", "sól"];

/// So many of its words, in lines of different lengths.
fn tune(count: usize) -> String {
    let word = |n: usize| TUNE[n % 8].to_owned() + if n % 13 == 12 { "\n" } else { "  " };
    (0..count).map(word).collect()
}

/// A training of less than a second on `notes.txt`.
const SMALL: &str = "train --series notes.txt --series-tokens words --n-in 6 --n-out 2 --units 6 \
                     --epochs 3 --quiet";

fn lab(words: usize) -> Lab {
    let lab = Lab::new();
    lab.write("notes.txt", tune(words));
    lab
}

fn words(text: &str) -> Vec<&str> {
    text.split(' ').collect()
}

/// The shares of tokens and of sequences that are right where `says` gives the answers to `rows`.
fn accuracies<'a>(rows: &'a [Vec<String>], says: impl Fn(&'a [String]) -> &'a str) -> [f64; 2] {
    let (mut tokens, mut right, mut whole) = (0, 0, 0);
    for row in rows {
        let expected = words(&row[2]);
        let same = expected.iter().filter(|word| **word == says(row)).count();
        tokens += expected.len();
        right += same;
        whole += usize::from(same == expected.len());
    }
    [right as f64 / tokens as f64, whole as f64 / rows.len() as f64]
}

#[test]
fn a_periodic_series_is_learnt_and_stands_beside_the_naive_forecasts() {
    let lab = lab(500);
    let printed = lab.run(
        "train --series notes.txt --series-tokens words --n-in 6 --n-out 3 --units 24 --epochs 12 \
         --learning-rate 5e-3",
    );
    let config = lab.read("runs/notes/config.toml");
    for line in [
        "task = \"series\"",
        "series_tokens = \"words\"",
        "samples = 392",
        "validation_samples = 48",
        "evaluation_samples = 48",
        "vocab = 9",
        "id_min = 4",
        "id_max = 8",
        "family = \"teacher_forced\"",
        "feedback = \"argmax\"",
    ] {
        assert!(config.lines().any(|found| found == line), "{line} in {config}");
    }
    assert!(!config.contains("inputs") && !config.contains("targets"), "{config}");

    let rows = Csv::predictions(&lab, "runs/notes").rows;
    let last = rows.last().unwrap();
    let expected: Vec<&str> = (491..500).map(|n| TUNE[n % 8]).collect();
    assert_eq!((rows.len(), [words(&last[1]), words(&last[2])].concat()), (48, expected));
    let summary = json(&lab.read("runs/notes/summary.json"));
    let evaluation = &summary["replicas"][0]["evaluation"];
    let share = |of: &serde_json::Value, name: &str| of[name].as_f64().unwrap();
    let accuracy = share(evaluation, "token_accuracy");
    assert!(accuracy > 0.95, "{evaluation}");
    let naive = &evaluation["naive"];
    let most_frequent = accuracies(&rows, |_| "do");
    let last = accuracies(&rows, |row| words(&row[1]).pop().unwrap());
    for (found, expected) in [("most_frequent", most_frequent), ("last", last)] {
        let names = ["token_accuracy", "sequence_accuracy"];
        let found = names.map(|name| share(&naive[found], name));
        assert_eq!(found, expected, "{naive}");
        assert!(found[0] < 0.5 * accuracy, "{naive}");
    }
    assert!(most_frequent[0] > 0.3, "{naive}");
    for says in ["naive: most frequent", "naive: last"] {
        assert!(printed.contains(says), "{says} in {printed}");
    }
}

#[test]
fn the_vocabulary_is_that_of_the_training_part_alone() {
    let lab = Lab::new();
    // 160 words are trained on, 20 validated on, 20 evaluated on.
    let mut all: Vec<&str> = (0..200).map(|n| TUNE[n % 8]).collect();
    (all[165], all[166], all[199]) = ("new", "new", "last");
    lab.write("notes.txt", all.join(" "));
    let command = format!("{} --out run", SMALL.replace(" --quiet", ""));
    let output = lab.command(&command).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let told =
        "unknown to the training part: 2 tokens of the validation part, 1 tokens of the test";
    assert!(said.contains(told), "{said}");
    let vocabulary = "<padding>\n<start>\n<end>\n<unknown>\ndo\nfa\nmi\nre\nsól\n";
    assert_eq!(lab.read("run/vocabulary.txt"), vocabulary);
    // What nobody could know is told as it was written, and is wrong.
    let rows = Csv::predictions(&lab, "run").rows;
    let row = rows.last().unwrap();
    assert!(row[2].ends_with(" last") && row[4] == "false", "{row:?}");
    // What comes later changes nothing of what is learnt.
    lab.write("notes.txt", tune(200));
    lab.run(&format!("{SMALL} --out other"));
    let curve = |run: &str| Csv::curves(&lab, run).only(&["epoch", "loss", "accuracy"]);
    assert_eq!(curve("run"), curve("other"));
}

#[test]
fn a_run_goes_on_as_if_it_had_not_ended_and_only_on_the_same_data() {
    let lab = lab(200);
    let training = SMALL.replace("--epochs 3", "--learning-rate-schedule constant --replicas 2");
    lab.run(&format!("{training} --epochs 3 --out whole"));
    lab.run(&format!("{training} --epochs 1 --out run"));
    lab.run("resume run --epochs 3 --quiet");
    lab.same_run("whole", "run");
    // The second replica is what its seed trains alone.
    let alone = training.replace("--replicas 2", "--seed 2");
    lab.run(&format!("{alone} --epochs 3 --out alone"));
    let columns = ["source", "expected", "predicted"];
    let both = Csv::predictions(&lab, "whole").replica(1).only(&columns);
    assert_eq!(both, Csv::predictions(&lab, "alone").only(&columns));
    let together = lab.run("evaluate run --ensemble --beam-width 2");
    assert!(together.contains("ensemble") && together.contains("naive: last"), "{together}");
    lab.write("notes.txt", tune(200).replacen("mi", "si", 1));
    lab.refuses(2, "resume run --epochs 4", &["notes.txt: was changed since the run began"]);
    lab.refuses(2, "evaluate run", &["notes.txt: was changed since the run began"]);
}

#[test]
fn ids_are_as_they_are_in_a_text_or_in_a_column() {
    let lab = Lab::new();
    let ids: Vec<usize> = (0..300).map(|n| [7, 100, 12, 7, 0][n % 5]).collect();
    let text: Vec<String> = ids.iter().map(usize::to_string).collect();
    lab.write("ids.txt", text.join("\n") + "\n");
    let rows: String = text.iter().map(|id| format!("x; {id}\n")).collect();
    lab.write("ids.csv", "day;id\n".to_owned() + &rows);
    let sizes = "--series-tokens ids --n-in 4 --n-out 1 --units 8 --epochs 4 --quiet";
    lab.run(&format!("train --series ids.txt {sizes} --out text"));
    let column = "--targets id --separator semicolon";
    lab.run(&format!("train --series ids.csv {column} {sizes} --out column"));
    let vocabulary = "<padding>\n<start>\n<end>\n<unknown>\n0\n7\n12\n100\n";
    for run in ["text", "column"] {
        assert_eq!(lab.read(&format!("{run}/vocabulary.txt")), vocabulary);
        assert!(lab.read(&format!("{run}/config.toml")).contains("family = \"lstm\""));
    }
    let [text, column] = ["text", "column"].map(|run| Csv::predictions(&lab, run).rows);
    assert_eq!(text, column);
    let last = text.last().unwrap();
    assert_eq!((&*last[1], &*last[2]), ("7 100 12 7", "0"));
    let said = lab.run("predict column --source-file ids.csv");
    assert_eq!(said, lab.run("predict text --source '100 012 7 0'"));
    assert!(["0", "7", "12", "100"].contains(&said.trim()), "{said}");
}

#[test]
fn a_run_goes_on_with_a_file_without_the_one_it_was_trained_on() {
    let lab = lab(300);
    lab.run(&format!("{SMALL} --out run"));
    let before = lab.run("evaluate run --json");
    let rows = Csv::predictions(&lab, "run").rows;
    std::fs::rename(lab.path("notes.txt"), lab.path("gone.txt")).unwrap();
    let row = rows.last().unwrap();
    assert_eq!(lab.run(&format!("predict run --source '{}'", row[1])), format!("{}\n", row[3]));
    let both = lab.run_with_input("predict run", &format!("{}\n{}\n", row[1], rows[0][1]));
    assert_eq!(both, format!("{}\n{}\n", row[3], rows[0][3]));
    // The file but for its last two words goes on with the last answer.
    lab.write("now.txt", tune(298));
    assert_eq!(lab.run("predict run --source-file now.txt"), format!("{}\n", row[3]));
    assert!(lab.run("predict run --source-file now.txt --n-best 2").lines().count() == 3);

    // The part that it was evaluated on, with the words before it, has the same figures.
    let end: Vec<&str> = (264..300).map(|n| TUNE[n % 8]).collect();
    lab.write("end.txt", end.join(" "));
    let after = lab.run("evaluate run --test end.txt --json");
    assert_eq!(json(&before)[0]["evaluation"], json(&after)[0]["evaluation"]);

    lab.write("other.txt", tune(20) + " si do");
    let output = lab.command("predict run --source-file other.txt").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("other.txt: 'si' is unknown") && output.status.success(), "{said}");
    lab.write("short.txt", "do re mi");
    lab.refuses(2, "predict run --source-file short.txt", &["3 tokens: the model reads 6"]);
    lab.refuses(2, "predict run --source 'do re'", &["--source: 2 tokens: the model reads 6"]);
    lab.refuses(2, "evaluate run", &["notes.txt"]);
}

#[test]
fn data_shows_what_is_read_before_anything_is_trained() {
    let lab = lab(200);
    let shown = lab.run("data notes.txt --series-tokens words --n-in 6 --n-out 2");
    for says in [
        "notes.txt: a text, 200 tokens, ",
        "windows of 6 tokens and the 2 after them: 153 to train on, 19 to validate on, 19 to",
        "training tokens: words, 5 different: do fa mi re sól\n",
        "the most frequent of them: do, 37.5 % of the training part",
        "  do re mi do fa do  →  re sól\n",
        "--vocab 9",
        "--attention dot",
        "--embedding 64",
    ] {
        assert!(shown.contains(says), "{says} in {shown}");
    }
    assert!(!shown.contains("unknown") && !lab.path("runs").exists(), "{shown}");
    lab.write("notes.csv", "day,note\n1,do\n2,re\n".to_owned() + &"3,mi\n".repeat(98));
    let shown = lab.run("data notes.csv --series-tokens words --targets note");
    assert!(shown.contains("notes.csv: column note, 100 tokens, "), "{shown}");
}

#[test]
fn bad_input_is_refused_before_anything_is_written() {
    let lab = Lab::new();
    let ids = SMALL.replace("words", "ids");
    let many = "1 2 3\n".repeat(30);
    let table = |last: &str| format!("day,id\n{}{last}\n", "x,1\n".repeat(90));
    let column = format!("{ids} --targets id");
    let [negative, broken] = ["4 -5\n", "4 5.5\n"].map(|line| many.clone() + line);
    for (command, content, says) in [
        (SMALL, Vec::new(), "an empty file"),
        (SMALL, b" \n \n".to_vec(), "no token in it"),
        (SMALL, b"do re mi\n".to_vec(), "no window of 6 + 2 tokens (--n-in, --n-out)"),
        (SMALL, b"do re\nmi \xff\n".to_vec(), ", line 2, column 4: byte 4 (0xff) is not UTF-8"),
        (&ids, negative.into(), ", line 31, column 3: '-5' is negative: expected an id"),
        (&ids, broken.into(), ", line 31, column 3: '5.5' is no whole number"),
        (&column, table("x,").into(), ", line 92, column 'id': expected a token, found none"),
        (
            &column,
            table("x,1 2").into(),
            ", line 92, column 'id': expected one token, found several",
        ),
        (&column, table("x,y").into(), ", line 92, column 'id': 'y' is no whole number"),
        (&column, table("x").into(), ", line 92: 1 fields, but the header has 2"),
        (&column, table("x,1").replace("id", "ids").into(), "line 1: no column 'id'"),
    ] {
        lab.write("notes.txt", content);
        let command = format!("{command} --out run");
        let command =
            if command.contains("--targets") { command + " --separator comma" } else { command };
        lab.refuses(2, &command, &["notes.txt", says, "\nhint: "]);
    }
    lab.write("notes.txt", tune(200));
    for (flags, says) in [
        ("--inputs a", "--inputs a: expected nothing: a series of tokens is one column"),
        ("--targets a,b", "--targets a,b: expected the name of one column"),
        ("--decimal comma", "--decimal comma: expected nothing"),
        ("--missing previous", "--missing previous: expected nothing"),
        ("--separator tab", "--separator tab: expected nothing: without --targets"),
        ("--loss mse", "--loss mse: expected cross_entropy: tokens have no differences"),
        ("--vocab 12", "--vocab 12: expected 9, the different tokens of the training part"),
        ("--stateful true", "--stateful true: expected"),
        ("--source-tokens words", "--source-tokens words: expected nothing"),
    ] {
        lab.refuses(2, &format!("{SMALL} {flags} --out run"), &[says]);
    }
    let files = "--series-tokens words --n-in 6";
    lab.refuses(2, &format!("train reverse --series notes.txt {files}"), &["preset reverse"]);
    lab.refuses(2, "train echo --series-tokens words", &["it applies to task series only"]);
}
