//! Runs on numbers, by the program itself: what is trained, written, evaluated and predicted.

mod common;

use common::{Csv, Lab, json};

/// A run of each family, with how many numbers a source and a target of it have.
const FAMILIES: [(&str, usize, usize); 3] = [
    (
        "echo --task waves --loss mse --return-sequences false --stateful false --n-in 6 --n-out 1",
        6,
        1,
    ),
    (
        "partial-echo-2 --task waves --loss mae --features-in 2 --features-out 2 --stateful false \
         --n-in 5 --n-out 3",
        10,
        6,
    ),
    ("reverse --task waves --loss mse --attention dot --n-in 6 --n-out 3", 6, 3),
];

const SIZES: &str = "--units 5 --batch-size 32 --samples 80 --epochs 3 --log-every 2 \
                     --validate-every 2 --validation-samples 20 --evaluation-samples 50";

/// The arguments of a run of the family.
fn arguments(family: &str) -> String {
    format!("{family} {SIZES}")
}

fn numbers(text: &str) -> Vec<f64> {
    text.split(' ').map(|number| number.parse().unwrap()).collect()
}

#[test]
fn a_run_on_numbers_has_losses_and_no_accuracies() {
    for (family, read, said) in FAMILIES {
        let lab = Lab::new();
        let printed = lab.run(&format!("train {} --out run", arguments(family)));
        assert!(!printed.contains("accuracy") && !printed.contains("wrong"), "{printed}");
        let curves = Csv::curves(&lab, "run");
        assert!(curves.rows.len() >= 4, "{:?}", curves.rows);
        assert!(curves.numbers("loss").iter().all(|loss| *loss > 0.0));
        assert!(curves.column("val_loss").iter().any(|loss| !loss.is_empty()));
        for accuracy in ["accuracy", "val_accuracy", "val_sequence_accuracy"] {
            assert!(curves.column(accuracy).iter().all(|cell| cell.is_empty()), "{accuracy}");
        }

        let (mut error, mut count) = (0.0, 0);
        for row in Csv::predictions(&lab, "run").rows {
            let [_, source, expected, predicted, correct] = &row[..] else { panic!("{row:?}") };
            let [source, expected, predicted] = [source, expected, predicted].map(|x| numbers(x));
            assert_eq!([source.len(), expected.len(), predicted.len()], [read, said, said]);
            assert!(correct.is_empty());
            for (expected, predicted) in expected.iter().zip(&predicted) {
                let d = expected - predicted;
                error += if family.contains("mae") { d.abs() } else { d * d };
                count += 1;
            }
        }
        let summary = json(&lab.read("run/summary.json"));
        let evaluation = &summary["replicas"][0]["evaluation"];
        let loss = evaluation["loss"].as_f64().unwrap();
        assert!((loss - error / f64::from(count)).abs() < 1e-5, "{family}: {loss}, {error}");
        assert!(evaluation["token_accuracy"].is_null());
        assert_eq!(json(&lab.run("evaluate run --json")), summary["replicas"]);
    }
}

#[test]
fn what_is_predicted_of_a_source_is_what_was_evaluated() {
    for (family, ..) in FAMILIES {
        let lab = Lab::with_run(&arguments(family));
        let rows = Csv::predictions(&lab, "run");
        let answers = lab.run_with_input("predict run", &rows.column("source")[..3].join("\n"));
        assert_eq!(answers.lines().count(), 3);
        for (answer, predicted) in answers.lines().zip(rows.column("predicted")) {
            for (got, expected) in numbers(answer).iter().zip(numbers(predicted)) {
                assert!((got - expected).abs() < 1e-5, "{answer}, not {predicted}");
            }
        }
        lab.refuses(2, "predict run --source '1 2'", &["--source: 2 numbers: the model reads "]);
        lab.refuses(2, "predict run --source '1 x'", &["--source: 'x' is no number"]);
        lab.refuses(2, "predict run --beam-width 3", &["--beam-width: is for ids"]);
        lab.refuses(2, "evaluate run --ensemble", &["--ensemble: is for ids"]);
    }
}

#[test]
fn a_run_on_numbers_goes_on_as_if_it_had_not_ended() {
    for (family, ..) in FAMILIES {
        let lab = Lab::new();
        // Rows end with epochs, so that a run of one epoch can go on.
        let arguments = |family| {
            let rows = arguments(family).replace("--log-every 2", "--log-every 3");
            rows.replace("--validate-every 2", "--validate-every 1")
        };
        let run = arguments(family) + " --replicas 2";
        lab.train(&run, "whole");
        lab.train(&run.replace("--epochs 3", "--epochs 1"), "run");
        lab.run("resume run --epochs 3 --quiet");
        lab.same_run("whole", "run");
        // The second replica is what its seed trains alone.
        let alone = arguments(family) + " --seed 2";
        lab.train(&alone, "alone");
        let second = |run: &str, replica: usize| {
            Csv::curves(&lab, run).replica(replica).only(&["seed", "step", "loss", "val_loss"])
        };
        assert_eq!(second("whole", 1), second("alone", 0));
    }
}

#[test]
fn what_numbers_have_no_use_for_is_refused() {
    let lab = Lab::new();
    let waves = "train reverse --out run --task waves --loss mse";
    for (arguments, says) in [
        ("train echo --out run --loss mse", "--loss mse: expected cross_entropy: the sequences"),
        (
            "train reverse --out run --task waves",
            "loss cross_entropy, the default: expected mse or mae",
        ),
        (&format!("{waves} --vocab 5"), "--vocab 5: expected 0, since task waves has numbers"),
        (&format!("{waves} --embedding 3"), "--embedding 3: expected 0"),
        (&format!("{waves} --feedback softmax"), "--feedback softmax: expected values"),
        ("train reverse --out run --feedback values", "--feedback values: expected softmax or"),
        (&format!("{waves} --label-smoothing 0.1"), "--label-smoothing 0.1: expected nothing"),
        (&format!("{waves} --features-out 2"), "--features-out 2: expected 1 to 1"),
        ("train echo --out run --features-in 2", "--features-in 2: expected nothing"),
        (
            &format!(
                "{waves} --early-stopping accuracy --early-stopping-mode max \
                      --early-stopping-patience 3"
            ),
            "--early-stopping accuracy: expected loss or val_loss: numbers have no accuracy",
        ),
    ] {
        lab.refuses(2, arguments, &[says]);
    }
}
