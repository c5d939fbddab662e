//! A long training leaves nothing behind: neither memory nor open files. Run by `scripts/soak`.

#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Csv, Lab, PROGRAM};

const STEPS: i64 = 200_000;

/// Resident memory in KiB and open files of a process; nothing once it has ended.
fn usage(process: u32) -> Option<(f64, usize)> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let resident = resident.trim().strip_suffix(" kB")?.parse().ok()?;
    Some((resident, fs::read_dir(format!("/proc/{process}/fd")).ok()?.count()))
}

/// The slope of a line through the points: the median of those of all pairs, which a point that falls
/// into the writing of a checkpoint does not turn.
fn slope(points: &[(f64, f64)]) -> f64 {
    let later = |i: usize| points[i + 1..].iter().map(move |b| (points[i], *b));
    let pairs = (0..points.len()).flat_map(later);
    let mut slopes: Vec<f64> = pairs.map(|(a, b)| (b.1 - a.1) / (b.0 - a.0)).collect();
    slopes.sort_by(f64::total_cmp);
    slopes[slopes.len() / 2]
}

#[test]
#[ignore = "takes minutes: scripts/soak"]
fn memory_and_open_files_do_not_grow_in_200_000_steps() {
    let lab = Lab::new();
    let steps = std::env::var("SOAK_STEPS").map_or(STEPS, |steps| steps.parse().unwrap());
    let training = format!(
        "train echo --replicas 8 --epochs {} --log-every 100 --checkpoint-every 1000 --quiet \
         --device cpu --out run",
        steps / 4
    );
    let mut command = Command::new(PROGRAM);
    command.args(training.split_whitespace()).current_dir(lab.path("."));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let mut table = String::from("seconds,step,resident_kib,open_files\n");
    let mut points = Vec::new();
    let mut files = Vec::new();
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(500));
        let curves = fs::read_to_string(lab.path("run/curves.csv")).unwrap_or_default();
        let step = curves.lines().last().and_then(|row| row.split(',').nth(3)?.parse::<f64>().ok());
        let (Some(step), Some((resident, open))) = (step, usage(child.id())) else { continue };
        let seconds = begin.elapsed().as_secs_f64();
        table += &format!("{seconds:.1},{step},{resident},{open}\n");
        // The first steps fill caches.
        if step > steps as f64 / 10.0 && step < steps as f64 {
            points.push((step, resident));
            files.push(open);
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(Csv::curves(&lab, "run").numbers("step").pop(), Some(steps as f64));
    if let Some(path) = std::env::var_os("SOAK_CSV") {
        fs::write(path, &table).unwrap();
    }
    let slope = slope(&points);
    let (least, most) = (files.iter().min().unwrap(), files.iter().max().unwrap());
    println!(
        "{steps} steps of echo, R = 8, in {:.0} s: {} samples, resident memory {:.0} to {:.0} KiB, \
         slope {:.3} KiB in 1,000 steps; {least} to {most} open files",
        begin.elapsed().as_secs_f64(),
        points.len(),
        points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min),
        points.iter().map(|p| p.1).fold(0.0, f64::max),
        1000.0 * slope,
    );
    // A leak of one byte a step, in KiB.
    assert!(slope * steps as f64 <= steps as f64 / 1024.0 + 64.0, "{slope} KiB a step");
    // A checkpoint that is being written may be open.
    assert!(most - least <= 2, "{least} to {most} open files");
}
