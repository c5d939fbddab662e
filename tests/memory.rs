//! Memory does not grow with the number of steps.

use seqlab::device;
use seqlab::presets;
use seqlab::rng::Purpose;
use seqlab::task::Task;
use seqlab::train::Trainer;

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
