//! What `seqlab` says to bad usage and bad input.

mod common;

use std::fs;

use common::{ECHO, Lab, PARTIAL, REVERSE};

const PRESETS: [&str; 14] = [
    "echo",
    "partial-echo-2",
    "partial-echo-4",
    "partial-echo-4-tuned",
    "reverse",
    "echo-tutorial",
    "echo-current",
    "echo-lag",
    "echo-lag-no-context",
    "padded-echo",
    "padded-echo-attention",
    "reverse-400-40",
    "addition-2",
    "addition-3",
];

/// A configuration without a preset behind it.
const WHOLE: &str = "task = 'echo'\nvocab = 9\nid_min = 0\nid_max = 8\nlength = 9\nn_in = 3\n\
                     n_out = 3\nfamily = 'lstm'\nunits = 2\nreturn_sequences = true\n\
                     gate_activation = 'sigmoid'\nbatch_size = 7\nepochs = 1\n";

/// `train` with each of the arguments has to say each of the messages.
fn training_is_refused(cases: &[(&str, &str)]) {
    let lab = Lab::new();
    for (arguments, says) in cases {
        lab.refuses(2, &format!("train {arguments} --out run"), &[&format!("error: {says}")]);
    }
}

#[test]
fn refuses_an_unknown_command_or_flag() {
    let lab = Lab::new();
    lab.refuses(2, "fit echo", &["unrecognized subcommand 'fit'"]);
    lab.refuses(2, "train echo --unit 4", &["unexpected argument '--unit'", "'--units'"]);
}

#[test]
fn refuses_an_unknown_preset_and_lists_the_choices() {
    let lab = Lab::new();
    let (last, others) = PRESETS.split_last().unwrap();
    let says = format!("error: preset nope: expected {} or {last}\n", others.join(", "));
    lab.refuses(2, "train nope --out run", &[&says]);
    let says = format!("error: nope: expected a run directory or one of {}\n", PRESETS.join(", "));
    lab.refuses(2, "summary nope", &[&says]);
}

#[test]
fn asks_for_a_preset_where_there_is_neither_preset_nor_file() {
    let lab = Lab::new();
    for command in ["train --units 4 --out run", "summary"] {
        lab.refuses(2, command, &["required", "<PRESET"]);
    }
}

#[test]
fn names_the_configuration_file_as_the_other_choice() {
    Lab::new().refuses(2, "train --out run", &["<PRESET", "--config"]);
}

#[test]
fn refuses_a_preset_beside_a_configuration_file() {
    let lab = Lab::new();
    lab.write("c.toml", WHOLE);
    for command in ["train echo --config c.toml --out run", "summary --config c.toml echo"] {
        lab.refuses(2, command, &["'[PRESET", "cannot be used with", "'--config <FILE>'"]);
    }
}

#[test]
fn refuses_sizes_out_of_range() {
    let size = "expected a whole number from 1 to 1000000\n";
    let count = "expected a whole number from 1 to 1000000000000\n";
    let cases = [
        ("echo --units 0", size),
        ("echo --units -1", size),
        ("echo --vocab 1", "expected a whole number from 2 to 1000000\n"),
        ("echo --n-in 0", size),
        ("echo --n-out 0", size),
        ("echo --batch-size 0", size),
        ("reverse --samples 0", count),
        ("echo --epochs 0", count),
        ("echo --replicas 0", "expected a whole number from 1 to 65536\n"),
        ("echo --replicas 65537", "expected a whole number from 1 to 65536\n"),
        ("echo --log-every 0", count),
        ("echo --validate-every 0", count),
        ("echo --validation-samples 0", size),
        ("echo --evaluation-samples 0", size),
        ("echo-lag --lag 0", size),
        ("echo --threads 0", "expected a whole number from 1 to 1024\n"),
        ("echo --seed -1", "expected a whole number from 0 to 9223372036854775806\n"),
    ];
    let cases = cases.map(|(arguments, expected)| {
        let flag = arguments.split_once(' ').unwrap().1;
        (arguments, format!("{flag}: {expected}"))
    });
    training_is_refused(&cases.each_ref().map(|(arguments, says)| (*arguments, says.as_str())));
}

#[test]
fn refuses_what_is_no_number() {
    training_is_refused(&[
        ("echo --units many", "--units many: expected a whole number from 1 to 1000000\n"),
        ("echo --units 1.5", "--units 1.5: expected a whole number from 1 to 1000000\n"),
        (
            "echo --seed 99999999999999999999",
            "--seed 99999999999999999999: expected a whole number from 0 to 9223372036854775806\n",
        ),
        ("echo --lr fast", "--learning-rate fast: expected a finite number above 0\n"),
        ("echo --stateful maybe", "--stateful maybe: expected true or false\n"),
    ]);
}

#[test]
fn refuses_ids_outside_the_vocabulary() {
    training_is_refused(&[
        ("echo --id-max 100", "--id-max 100: expected a whole number from 0 to 99\n"),
        ("echo --vocab 50 --id-max 50", "--id-max 50: expected a whole number from 0 to 49\n"),
        ("echo --id-min 50 --id-max 49", "--id-max 49: expected a whole number from 50 to 99\n"),
        ("echo --id-min -1", "--id-min -1: expected a whole number from 0 to 99\n"),
        ("echo --id-min 100", "--id-min 100: expected a whole number from 0 to 99\n"),
    ]);
}

#[test]
fn refuses_targets_that_the_model_or_the_task_cannot_give() {
    training_is_refused(&[
        ("partial-echo-2 --n-out 6", "--n-out 6: expected 1 to 5, the ids of a source (--n-in)\n"),
        ("reverse --n-in 2", "n_out 3 of preset reverse: expected 1 to 2, the ids of a source"),
        ("echo --n-out 5", "--n-out 5: expected 6, as many as --n-in"),
        ("echo --return-sequences false", "n_out 6 of preset echo: expected 1, since the LSTM"),
        (
            "padded-echo --echoed 6",
            "--echoed 6: expected 1 to 5, the ids that source (--n-in) and target (--n-out) have\n",
        ),
        ("echo-lag --n-out 2", "--n-out 2: expected 1, the one id that task lag asks for\n"),
    ]);
}

#[test]
fn refuses_a_sequence_shorter_than_the_window() {
    training_is_refused(&[
        ("echo --length 5", "--length 5: expected 6 to 1000000, so that it holds a window"),
        ("echo --n-in 26", "length 25 of preset echo: expected 26 to 1000000"),
        ("echo-lag --length 5", "--length 5: expected 6 to 1000000"),
        ("echo-lag --lag 30", "length 25 of preset echo-lag: expected 31 to 1000000"),
    ]);
}

#[test]
fn refuses_a_batch_size_that_does_not_divide_the_windows_and_lists_those_that_do() {
    training_is_refused(&[
        (
            "echo --batch-size 3",
            "--batch-size 3: expected a divisor of the 20 samples of an epoch: \
             1, 2, 4, 5, 10, 20\n",
        ),
        (
            "partial-echo-4 --batch-size 5",
            "--batch-size 5: expected a divisor of the 21 samples of an epoch: 1, 3, 7, 21\n",
        ),
        (
            "echo-lag-no-context --batch-size 48",
            "--batch-size 48: expected a divisor of the 24 samples of an epoch: \
             1, 2, 3, 4, 6, 8, 12, 24\n",
        ),
        (
            "echo --length 5045 --batch-size 11",
            "--batch-size 11: expected a divisor of the 5040 samples of an epoch: \
             1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, …\n",
        ),
    ]);
}

#[test]
fn refuses_hyper_parameters_without_meaning() {
    let positive = "expected a finite number above 0 in float32\n";
    let fraction = "expected a number from 0 to below 1\n";
    let cases = [
        ("--lr 0", "--learning-rate 0", positive),
        ("--lr -0.5", "--learning-rate -0.5", positive),
        ("--lr nan", "--learning-rate NaN", positive),
        ("--lr inf", "--learning-rate inf", positive),
        ("--lr=-inf", "--learning-rate -inf", positive),
        ("--epsilon 0", "--epsilon 0", positive),
        ("--global-clipnorm 0", "--global-clipnorm 0", positive),
        ("--global-clipnorm nan", "--global-clipnorm NaN", positive),
        ("--beta-1 1", "--beta-1 1", fraction),
        ("--beta-2 -0.1", "--beta-2 -0.1", fraction),
        ("--beta-2 nan", "--beta-2 NaN", fraction),
    ];
    let lab = Lab::new();
    for (flag, found, expected) in cases {
        let says = format!("error: {found}: {expected}");
        lab.refuses(2, &format!("train echo {flag} --out run"), &[&says]);
    }
}

#[test]
fn refuses_a_schedule_without_meaning() {
    let positive = "expected a finite number above 0 in float32\n";
    let or_0 = "expected 0 or a finite number above 0 in float32\n";
    let nothing =
        "expected nothing: it applies to learning-rate schedules cosine, exponential and plateau";
    let needed = "expected a value: learning-rate schedule exponential needs it\n";
    let steps = "expected 1 to 12, the optimiser steps of the run\n";
    let cases = [
        ("--final-learning-rate 0.5", "0.5", nothing),
        ("--lr-schedule constant --final-learning-rate 0", "0.0", nothing),
        ("--lr-schedule exponential", "(not given)", needed),
        ("--lr-schedule exponential --final-learning-rate 0", "0", positive),
        ("--lr-schedule exponential --final-learning-rate -1", "-1", positive),
        ("--lr-schedule exponential --final-learning-rate inf", "inf", positive),
        ("--lr-schedule cosine --final-learning-rate -1", "-1", or_0),
        ("--lr-schedule cosine --final-learning-rate nan", "NaN", or_0),
        ("--lr-schedule cosine --final-learning-rate inf", "inf", or_0),
    ];
    let lab = Lab::new();
    for (flags, found, expected) in cases {
        let says = format!("error: --final-learning-rate {found}: {expected}");
        lab.refuses(2, &format!("train echo {flags} --out run"), &[&says]);
    }
    for warmup in ["0", "-1", "13"] {
        let says = format!("error: --warmup-steps {warmup}: {steps}");
        let command = format!("train echo --epochs 3 --warmup-steps {warmup} --out run");
        lab.refuses(2, &command, &[&says]);
    }
    lab.run("summary echo --lr-schedule cosine --final-learning-rate 0 --warmup-steps 2000");
}

#[test]
fn refuses_a_negative_number_with_an_exponent_as_the_value_that_it_is() {
    training_is_refused(&[("echo --lr -1e-3", "--learning-rate -0.001: expected a finite number")]);
}

#[test]
fn refuses_flags_that_do_not_apply() {
    training_is_refused(&[
        (
            "echo --samples 100",
            "--samples 100: expected nothing: it applies to tasks reverse, padded_echo, addition, waves, \
             pairs and series only\n",
        ),
        ("reverse --length 25", "--length 25: expected nothing: it applies to tasks echo and lag"),
        (
            "addition-2 --length 25",
            "--length 25: expected nothing: it applies to tasks echo and lag",
        ),
        ("reverse --lag 1", "--lag 1: expected nothing: it applies to task lag only\n"),
        ("echo --lag 2", "--lag 2: expected nothing: it applies to task lag only\n"),
        (
            "echo --feedback argmax",
            "--feedback argmax: expected nothing: it applies to family teacher_forced only\n",
        ),
        (
            "reverse --return-sequences true",
            "--return-sequences true: expected nothing: it applies to family lstm only\n",
        ),
    ]);
}

#[test]
fn refuses_an_addition_of_other_ids_sizes_or_models() {
    let ids = ", since task addition has the digits as ids 0 to 9, + as 10 and the space as 11\n";
    let family = "expected repeat_vector: in task addition a sum is shorter than its question";
    let stateful =
        "--stateful true: expected false: no question of task addition continues another\n";
    training_is_refused(&[
        ("addition-2 --vocab 13", &format!("--vocab 13: expected 12{ids}")),
        ("addition-2 --id-min 1", &format!("--id-min 1: expected 0{ids}")),
        ("addition-2 --id-max 10", &format!("--id-max 10: expected 11{ids}")),
        ("addition-2 --n-in 6", "--n-in 6: expected 5, so that a source holds two numbers of a"),
        ("addition-2 --n-out 1", "--n-out 1: expected 2 to 6, a digit more than each of the"),
        ("addition-2 --n-out 7", "--n-out 7: expected 2 to 6, a digit more than each of the"),
        ("addition-2 --family lstm", &format!("--family lstm: {family}")),
        ("addition-2 --family teacher_forced", &format!("--family teacher_forced: {family}")),
        ("addition-2 --stateful true", stateful),
    ]);
}

#[test]
fn refuses_more_questions_than_are_found_soon() {
    let samples = "task addition draws at most 5050 questions, of which --evaluation-samples 500";
    let lab = Lab::new();
    lab.run("summary addition-2 --samples 4550");
    lab.run("summary addition-2 --n-out 6 --samples 999500");
    training_is_refused(&[
        ("addition-2 --samples 4551", &format!("--samples 4551: expected 1 to 4550: {samples}")),
        (
            "addition-2 --evaluation-samples 551",
            "samples 4500 of preset addition-2: expected 1 to 4499",
        ),
        ("addition-3 --samples 395401", "--samples 395401: expected 1 to 395400: "),
        (
            "addition-2 --evaluation-samples 5050",
            "--evaluation-samples 5050: expected a whole number from 1 to 5049\n",
        ),
        (
            "addition-2 --n-out 2",
            "evaluation_samples 500 of preset addition-2: expected a whole number from 1 to 54\n",
        ),
        ("addition-2 --n-out 6 --samples 999501", "--samples 999501: expected 1 to 999500: "),
        (
            "addition-2 --n-out 6 --samples 999500 --replicas 1001",
            "--replicas 1001: expected at most 1000, so that the data of every replica",
        ),
    ]);
}

#[test]
fn refuses_a_stateful_teacher_forced_model() {
    let says = "--stateful true: expected false: the decoder of family teacher_forced";
    training_is_refused(&[
        ("reverse --stateful true", says),
        ("echo --family teacher_forced --id-min 1 --stateful true", says),
    ]);
}

#[test]
fn refuses_the_start_id_in_the_data_of_a_teacher_forced_model() {
    training_is_refused(&[(
        "reverse --id-min 0",
        "--id-min 0: expected 1 to 50: id 0 starts the decoder of family teacher_forced\n",
    )]);
}

#[test]
fn refuses_an_unknown_word_and_lists_the_choices() {
    let cases = [
        ("gate-activation", "hard_sigmoid or sigmoid"),
        ("task", "echo, lag, reverse, padded_echo, addition, waves, pairs or series"),
        ("family", "lstm, repeat_vector or teacher_forced"),
        ("feedback", "softmax, argmax or values"),
        ("learning-rate-schedule", "constant, cosine, exponential or plateau"),
        ("dtype", "float32 or float64"),
        ("engine", "auto, libtorch or fused"),
    ];
    let lab = Lab::new();
    for (flag, choices) in cases {
        let says = format!("error: --{flag} tanh: expected {choices}\n");
        lab.refuses(2, &format!("train echo --{flag} tanh --out run"), &[&says]);
    }
}

#[test]
fn refuses_a_gpu_that_is_not_there_and_says_what_to_do() {
    let lab = Lab::with_run(ECHO);
    for (command, device) in [
        ("train echo --device cuda --out new", "cuda:0"),
        ("train echo --device cuda:3 --out run --force", "cuda:3"),
        ("evaluate run --device cuda", "cuda:0"),
        ("predict run --source '1 2 3 4 5 6' --device cuda:1", "cuda:1"),
    ] {
        let says = format!("error: --device {device}: ");
        lab.refuses(2, command, &[&says, "\nhint: ", "or give --device cpu\n"]);
    }
}

#[test]
fn refuses_a_malformed_device_and_lists_the_choices() {
    let lab = Lab::new();
    for word in ["gpu", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "CPU"] {
        let says = format!("error: --device {word}: expected auto, cpu, cuda or cuda:N\n");
        lab.refuses(2, &format!("train echo --out run --device {word}"), &[&says]);
    }
    for command in ["evaluate run", "predict run"] {
        lab.refuses(2, &format!("{command} --device gpu"), &["error: --device gpu: expected auto"]);
    }
}

#[test]
fn refuses_an_output_that_cannot_be_written() {
    let lab = Lab::new();
    lab.write("file", "mine");
    lab.refuses(
        2,
        "train echo --out file/run",
        &["error: --out file/run: cannot be written: Not a directory"],
    );
    for force in ["", "--force"] {
        let command = format!("train echo --out file {force}");
        lab.refuses(2, &command, &["error: --out file: is no directory\n"]);
    }
}

#[test]
fn leaves_an_existing_run_alone_without_force() {
    let lab = Lab::with_run(ECHO);
    lab.refuses(
        2,
        "train echo --epochs 1 --seed 9 --out run",
        &["error: --out run: holds a run already\nhint: ", "--force"],
    );
}

#[test]
fn a_bad_value_does_not_cost_the_run_that_force_would_replace() {
    let lab = Lab::with_run(ECHO);
    lab.refuses(2, "train echo --units 0 --out run --force", &["--units 0"]);
}

#[test]
fn leaves_a_directory_that_is_no_run_alone_even_with_force() {
    let lab = Lab::new();
    lab.write("data/notes.txt", "mine");
    for force in ["", "--force"] {
        let command = format!("train echo --out data {force}");
        lab.refuses(2, &command, &["error: --out data: holds files that are no run's\nhint: "]);
    }
}

#[test]
fn refuses_a_configuration_file_that_cannot_be_read() {
    let lab = Lab::new();
    lab.write("c.toml", b"units = 4 # \xff");
    for says in [
        "cannot read none.toml: No such file",
        "cannot read .: Is a directory: expected a file\n",
        "c.toml: no UTF-8: invalid utf-8 sequence of 1 bytes from index 12\n",
    ] {
        let file = says.trim_start_matches("cannot read ").split(": ").next().unwrap();
        let command = format!("train --config {file} --out run");
        lab.refuses(2, &command, &[&format!("error: {says}")]);
    }
}

#[test]
fn refuses_a_configuration_file_that_is_not_toml_and_shows_the_place() {
    let lab = Lab::new();
    lab.write("c.toml", WHOLE.replace("units = 2", "units = = 2"));
    let says = ["error: c.toml, line 9, column 9: ", "units = = 2\n"];
    lab.refuses(2, "train --config c.toml --out run", &says);
    lab.write("c.toml", format!("{WHOLE}units = 3\n"));
    let says = ["error: c.toml, line 14, column 1: duplicate key: units = 3\n"];
    lab.refuses(2, "train --config c.toml --out run", &says);
}

#[test]
fn refuses_fields_of_a_configuration_file_that_are_wrong() {
    let lab = Lab::new();
    lab.write("c.toml", WHOLE);
    lab.run("summary --config c.toml");
    for (line, instead, says) in [
        (
            "units = 2\n",
            "unit = 2\n",
            ", line 9, column 1: unknown field `unit`\nhint: did you mean `units`?\n",
        ),
        ("units = 2\n", "", ": missing field `units`\nhint: "),
        ("task = 'echo'\n", "", ": missing field `task`\nhint: "),
        ("length = 9\n", "", ": --length (not given): expected a value: tasks echo and lag need"),
        (
            "units = 2",
            "units = 'two'",
            ", line 9, column 1: units = 'two': expected a whole number from 1 to 1000000\n",
        ),
        ("units = 2", "units = 2.5", ", line 9, column 1: units = 2.5: expected a whole number"),
        (
            "return_sequences = true",
            "return_sequences = 1",
            ", line 10, column 1: return_sequences = 1: expected true or false\n",
        ),
        (
            "'sigmoid'",
            "'tanh'",
            ", line 11, column 1: gate_activation = 'tanh': expected hard_sigmoid or sigmoid\n",
        ),
        (
            "epochs = 1",
            "epochs = 1\ndevice = 'gpu'",
            ", line 14, column 1: device = 'gpu': expected auto, cpu, cuda or cuda:N\n",
        ),
        (
            "task = 'echo'",
            "task = 'echo'\npreset = '../x'",
            ", line 2, column 1: preset \"../x\": expected custom or one of echo, ",
        ),
        ("units = 2", "units = 0", ", line 9, column 1: units = 0: expected a whole number from 1"),
        (
            "batch_size = 7",
            "batch_size = 2",
            ", line 12, column 1: batch_size = 2: expected a divisor of the 7 samples",
        ),
        (
            "epochs = 1",
            "epochs = 1\nlearning_rate = nan",
            ", line 14, column 1: learning_rate = nan: expected a finite",
        ),
    ] {
        let changed = WHOLE.replace(line, instead);
        assert_ne!(changed, WHOLE);
        lab.write("c.toml", changed);
        let says = format!("error: c.toml{says}");
        lab.refuses(2, "train --config c.toml --out run", &[&says]);
    }
}

#[test]
fn refuses_a_step_size_or_epsilon_that_is_zero_in_the_run_s_precision() {
    let lab = Lab::new();
    let says = ["--epsilon 0.0000000000000000000000000000000000000000000001: expected a finite"];
    lab.refuses(2, "train echo --out run --epsilon 1e-46", &says);
    lab.refuses(2, "train echo --out run --lr 1e-60", &["above 0 in float32"]);
    lab.run("summary echo --dtype float64 --epsilon 1e-46");
}

#[test]
fn refuses_more_replicas_than_their_data_leave_room_for() {
    let says = ["--replicas 2000: expected at most 1000, so that the data of every replica"];
    let lab = Lab::new();
    lab.refuses(2, "train echo-current --replicas 2000 --length 1000000 --out run", &says);
}

#[test]
fn refuses_a_directory_that_is_no_run() {
    let lab = Lab::new();
    lab.write("data/curves.csv", "");
    for run in ["none", "data"] {
        let says = format!("error: {run}: no run: it has no config.toml\nhint: ");
        lab.refuses(2, &format!("evaluate {run}"), &[&says]);
        lab.refuses(2, &format!("predict {run} --source '1 2 3 4 5 6'"), &[&says]);
    }
}

#[test]
fn refuses_to_evaluate_on_no_or_too_many_samples() {
    let lab = Lab::with_run(ECHO);
    for samples in ["0", "-5", "1000001"] {
        let says =
            format!("error: --samples {samples}: expected a whole number from 1 to 1000000\n");
        lab.refuses(2, &format!("evaluate run --samples {samples}"), &[&says]);
    }
    let says = "error: --samples few: expected a whole number from 1 to 1000000\n";
    lab.refuses(2, "evaluate run --samples few", &[says]);
}

#[test]
fn refuses_a_source_that_the_model_cannot_read() {
    let lab = Lab::with_run(REVERSE);
    for (source, says) in [
        ("1 2 3 4 5 51", "id 51 is outside the vocabulary, 0 to 50\n"),
        ("1 2 3 -4 5 6", "id -4 is outside the vocabulary, 0 to 50\n"),
        ("-1 2 3 4 5 6", "id -1 is outside the vocabulary, 0 to 50\n"),
        ("1 2 3 4 5", "5 ids: the model reads 6\n"),
        ("1 2 3 4 5 6 7", "7 ids: the model reads 6\n"),
        ("", "0 ids: the model reads 6\n"),
        ("1 2 three 4 5 6", "'three' is no id: expected whole numbers from 0 to 50\n"),
        ("1,2,3,4,5,6", "'1,2,3,4,5,6' is no id: expected whole numbers from 0 to 50\n"),
        ("1 2 3 4 5 6.0", "'6.0' is no id: expected whole numbers from 0 to 50\n"),
    ] {
        let command = format!("predict run --source '{source}'");
        lab.refuses(2, &command, &[&format!("error: --source: {says}")]);
    }
}

#[test]
fn refuses_a_replica_that_the_run_does_not_have() {
    let lab = Lab::with_run(&format!("{ECHO} --replicas 3"));
    for replica in ["3", "-1"] {
        let command = format!("predict run --source '1 2 3 4 5 6' --replica {replica}");
        lab.refuses(2, &command, &[&format!("error: --replica {replica}: expected 0 to 2\n")]);
    }
    lab.refuses(2, "predict run --replica last", &["error: --replica last: expected a whole"]);
}

/// `evaluate` and `predict` of the run `damaged` have to fail with `status`, saying this.
fn damage_is_reported(lab: &Lab, status: i32, says: &[&str]) {
    lab.refuses(status, "evaluate damaged", says);
    lab.refuses(status, "predict damaged --source '1 2 3 4 5 6'", says);
    fs::remove_dir_all(lab.path("damaged")).unwrap();
}

/// The file of the only checkpoint of `damaged`, a copy of `run`.
fn of_damaged(lab: &Lab, name: &str) -> String {
    lab.file("run", &format!("checkpoint/{name}")).replacen("run/", "damaged/", 1)
}

#[test]
fn reports_damaged_weights() {
    let lab = Lab::with_run(ECHO);
    let file = of_damaged(&lab, "weights.safetensors");
    let whole = lab.bytes(&lab.file("run", "checkpoint/weights.safetensors"));
    let mut garbled = whole.clone();
    garbled[1000] ^= 1;
    let longer = [&whole[..], b"x"].concat();
    for bytes in [&[], &whole[..100], &whole[..whole.len() - 4], &garbled[..], &longer[..]] {
        lab.copy("run", "damaged");
        lab.write(&file, bytes);
        let says = if bytes.len() > whole.len() {
            format!("error: no whole checkpoint: cannot read {file}: {} bytes: exp", bytes.len())
        } else {
            format!("error: no whole checkpoint: {file} is damaged: ")
        };
        damage_is_reported(&lab, 1, &[&says]);
    }
}

#[test]
fn reports_missing_files_of_the_checkpoint() {
    let lab = Lab::with_run(ECHO);
    for name in ["manifest.json", "weights.safetensors", "training.safetensors"] {
        lab.copy("run", "damaged");
        let file = of_damaged(&lab, name);
        fs::remove_file(lab.path(&file)).unwrap();
        let says = format!("error: no whole checkpoint: cannot read {file}: ");
        damage_is_reported(&lab, 1, &[&says, "No such file"]);
    }
}

#[test]
fn reports_a_damaged_manifest_or_one_of_another_format() {
    let lab = Lab::with_run(ECHO);
    let file = of_damaged(&lab, "manifest.json");
    let whole = lab.read(&file.replacen("damaged/", "run/", 1));
    for (content, says) in [
        ("{\"format\": 2,".to_owned(), "EOF while parsing"),
        ("{\"format\":99}".to_owned(), "format 99; this version reads format 2"),
        (whole.replace("\"step\": 8", "\"step\": 4"), "its checksum is another"),
    ] {
        lab.copy("run", "damaged");
        lab.write(&file, content);
        let error = format!("error: no whole checkpoint: {file} is damaged: {says}");
        damage_is_reported(&lab, 1, &[&error]);
    }
}

#[test]
fn reports_weights_of_another_model() {
    let lab = Lab::with_run(ECHO);
    lab.train(&format!("{ECHO} --units 4"), "narrow");
    lab.train(PARTIAL, "partial");
    lab.train(&format!("{ECHO} --dtype float64"), "wide");
    for (other, says) in [
        ("narrow", "units is 16, but was 4 there\n"),
        ("partial", "family is \"lstm\", but was \"repeat_vector\", "),
        ("wide", "dtype is \"float32\", but was \"float64\" there\n"),
    ] {
        lab.copy("run", "damaged");
        fs::remove_dir_all(lab.path("damaged/checkpoint")).unwrap();
        lab.copy(&format!("{other}/checkpoint"), "damaged/checkpoint");
        let newest = lab.newest("damaged");
        damage_is_reported(&lab, 1, &[&format!("error: {newest} is of another run: "), says]);
    }
}

#[test]
fn reports_a_damaged_configuration_of_a_run() {
    let lab = Lab::with_run(ECHO);
    let whole = lab.read("run/config.toml");
    for (content, says) in [
        (whole.replace("units = 16", "units = "), "units = \n"),
        (whole.replace("units = 16", "units = 0"), "units = 0: expected a whole number from 1 to"),
        (whole.replace("units", "untis"), "unknown field `untis`"),
    ] {
        lab.copy("run", "damaged");
        lab.write("damaged/config.toml", content);
        damage_is_reported(&lab, 1, &["error: damaged/config.toml, line ", says]);
    }
}

#[test]
fn reports_a_damaged_summary() {
    let lab = Lab::with_run(ECHO);
    lab.write("run/summary.json", "{\"preset\": \"echo\"");
    lab.refuses(1, "evaluate run", &["error: run/summary.json is damaged: "]);
}
