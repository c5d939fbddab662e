//! Trains to the end and keeps the rows.

use std::sync::atomic::AtomicBool;

use anyhow::Result;
use seqlab::config::Config;
use seqlab::curves::CurveRow;
use seqlab::train::{Observer, Outcome, Trainer};
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

/// The trained models and every row that they logged.
pub fn train(config: &Config, device: Device) -> (Trainer, Vec<CurveRow>) {
    let (mut trainer, mut rows) = (Trainer::new(config, device).unwrap(), Rows::default());
    let outcome = trainer.run(&mut rows, &AtomicBool::new(false)).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    (trainer, rows.0)
}
