//! What tells whether bytes are those that were written.

use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::input;

/// What a file, or the beginning of one, has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checksum {
    /// Its length.
    pub bytes: u64,
    /// CRC-32 (IEEE 802.3) of its content.
    pub crc32: u32,
}

impl Checksum {
    /// That of a file with this content.
    pub fn of(content: &[u8]) -> Self {
        Self { bytes: content.len() as u64, crc32: crc32fast::hash(content) }
    }
}

impl Checksum {
    /// That of the regular file `path`.
    ///
    /// # Errors
    /// If it cannot be read, or is something else.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut running = Running::default();
        io::copy(&mut input::open(path, u64::MAX)?, &mut running)?;
        Ok(running.so_far())
    }
}

/// The checksum of a file that grows: of all that is written to this.
#[derive(Debug, Clone, Default)]
pub struct Running {
    bytes: u64,
    hasher: crc32fast::Hasher,
}

impl Running {
    /// That of what was written so far.
    pub fn so_far(&self) -> Checksum {
        Checksum { bytes: self.bytes, crc32: self.hasher.clone().finalize() }
    }
}

impl Write for Running {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        self.bytes += content.len() as u64;
        self.hasher.update(content);
        Ok(content.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
