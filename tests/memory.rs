//! Memory does not grow with the number of steps, and is what was estimated.

mod common;

use std::process::{Command, Stdio};
use std::time::Duration;

use common::{Lab, PROGRAM};
use seqlab::base::rng::Purpose;
use seqlab::config::presets;
use seqlab::data::task::Task;
use seqlab::tensor::device;
use seqlab::train::trainer::Trainer;

/// Resident memory of this process in bytes, where the system tells.
fn resident() -> Option<i64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

#[test]
fn steps_leave_nothing_behind() {
    for name in ["echo", "partial-echo-2", "reverse"] {
        let mut config = presets::find(name).unwrap().config;
        config.units = 8;
        let task = Task::new(&config);
        let mut trainer = Trainer::new(&config, device::host()).unwrap();
        let mut steps = |count: u64| {
            for epoch in 0..count {
                let data = task.epoch(&config.seeds(), Purpose::Training, epoch);
                trainer.learn(&data.batch(0..config.batch_size as usize)).unwrap();
            }
            resident()
        };
        let (Some(before), Some(after)) = (steps(300), steps(3000)) else {
            println!("skipped: this system does not tell a process its memory");
            return;
        };
        // A single id batch kept per step would be some hundred kilobytes.
        assert!(
            after - before < 300_000,
            "{name}: {} bytes more after 3,000 steps",
            after - before
        );
    }
}

/// The most memory that a training was resident with, in GiB, where the system tells.
fn peak(lab: &Lab, arguments: &str) -> Option<f64> {
    let mut command = Command::new(PROGRAM);
    let words = arguments.split(' ').chain(["--quiet", "--force", "--out", "run"]);
    command.arg("train").args(words).current_dir(lab.path(".")).stdout(Stdio::null());
    let mut child = command.env("CUDA_VISIBLE_DEVICES", "-1").spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    let ended = loop {
        let told = std::fs::read_to_string(&status).unwrap_or_default();
        let line = told.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        peak = kib.or(peak);
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{arguments}");
    peak.map(|kib| kib / f64::from(1 << 20))
}

/// Each of these is large for another reason: activations in blocks and in a graph, weights, logits,
/// evaluation, ids of many steps, threads, a graph of many operations.
#[test]
fn a_training_takes_about_as_much_as_estimated() {
    let lab = Lab::new();
    let batch = "reverse --batch-size 8192 --samples 8192 --evaluation-samples 64";
    for arguments in [
        batch.to_owned(),
        format!("{batch} --engine libtorch"),
        format!("{batch} --engine libtorch --gate-activation sigmoid"),
        "reverse --batch-size 2048 --samples 2048 --vocab 3000 --evaluation-samples 64".to_owned(),
        "reverse --vocab 40000 --samples 64 --evaluation-samples 64".to_owned(),
        "reverse --n-in 60 --units 512 --vocab 60 --samples 32 --evaluation-samples 4096"
            .to_owned(),
        "echo --replicas 512 --units 64 --epochs 1 --evaluation-samples 40".to_owned(),
        "reverse --replicas 100 --units 2 --n-in 20 --batch-size 1000 --samples 4000 \
         --evaluation-samples 10"
            .to_owned(),
        "reverse --units 4 --threads 1024 --samples 64 --evaluation-samples 10".to_owned(),
        "partial-echo-4 --replicas 16 --units 100 --epochs 2 --validate-every 2".to_owned(),
        "reverse --n-in 3000 --units 8 --samples 32 --evaluation-samples 64 --engine libtorch"
            .to_owned(),
        "reverse --n-in 500 --n-out 1 --units 8 --layers 24 --bidirectional true --batch-size 1 \
         --samples 2 --evaluation-samples 1000"
            .to_owned(),
        "reverse --attention additive --n-in 200 --n-out 40 --units 32 --batch-size 64 \
         --samples 128 --evaluation-samples 256 --engine libtorch"
            .to_owned(),
        "reverse --attention general --n-in 400 --n-out 40 --units 64 --batch-size 256 \
         --samples 512 --evaluation-samples 1000"
            .to_owned(),
        "reverse --embedding 512 --n-in 60 --batch-size 512 --samples 512 --evaluation-samples 600"
            .to_owned(),
    ] {
        let summary = lab.run(&format!("summary {arguments}"));
        let (_, estimate) = summary.rsplit_once("memory to train: about ").unwrap();
        let estimate: f64 = estimate.trim_end_matches(" GiB\n").parse().unwrap();
        let Some(peak) = peak(&lab, &arguments) else {
            println!("skipped: this system does not tell a process's memory");
            return;
        };
        let ratio = estimate / peak;
        println!("{arguments}: estimated {estimate:.2} GiB, took {peak:.2} GiB: {ratio:.2}");
        assert!((1.0 / 1.3..2.0).contains(&ratio), "{arguments}: {estimate} GiB, took {peak}");
    }
}
