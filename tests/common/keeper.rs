//! What keeps a training's rows and checkpoints, and cuts it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use seqlab::files::checksum::Checksum;
use seqlab::files::directory::Directory;
use seqlab::files::disk::parent;
use seqlab::run::curves::CurveRow;
use seqlab::train::checkpoint;
use seqlab::train::trainer::{Observer, Trainer};

/// Keeps what a run keeps, and stops it after so many steps.
pub struct Keeper<'a> {
    /// Where checkpoints go.
    pub folder: &'a Path,
    /// Set after so many steps.
    pub stop: &'a AtomicBool,
    /// How many are left.
    pub left: i64,
    /// All that were handed on.
    pub rows: Vec<CurveRow>,
}

impl Observer for Keeper<'_> {
    fn step(&mut self) {
        self.left -= 1;
        self.stop.store(self.left == 0, Ordering::Relaxed);
    }

    fn rows(&mut self, rows: Vec<CurveRow>) -> Result<()> {
        self.rows.extend(rows);
        Ok(())
    }

    fn checkpoint(&mut self, trainer: &mut Trainer) -> Result<()> {
        let run = Directory::open(parent(self.folder))?;
        // Rows instead of bytes.
        let curves = Checksum { bytes: self.rows.len() as u64, crc32: 0 };
        checkpoint::save(&run, self.folder, trainer, curves)
    }
}
