//! Trains to the end and keeps the rows.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use seqlab::config::Config;
use seqlab::run::curves::CurveRow;
use seqlab::train::trainer::{Observer, Outcome, Trainer};
use tch::Device;

#[derive(Default)]
struct Rows(Vec<CurveRow>);

impl Observer for Rows {
    fn step(&mut self) {}
    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.0.extend(rows);
        Ok(())
    }
}

/// Trains to the end. Returns every row that was logged.
pub fn run(trainer: &mut Trainer) -> Vec<CurveRow> {
    let mut rows = Rows::default();
    let outcome = trainer.run(&mut rows, &AtomicBool::new(false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    assert_eq!(trainer.engine_failure(), None);
    rows.0
}

/// The trained models and every row that they logged.
#[allow(dead_code)]
pub fn train(config: &Config, device: Device) -> (Trainer, Vec<CurveRow>) {
    let mut trainer = Trainer::new(config, device).unwrap();
    let rows = run(&mut trainer);
    (trainer, rows)
}
