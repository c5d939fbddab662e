//! Standard output.

use std::io::{self, StdoutLock, Write};

/// Standard output, locked; its errors name it.
pub struct StandardOutput(StdoutLock<'static>);

impl StandardOutput {
    /// Locks standard output.
    pub fn lock() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for StandardOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(named)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(named)
    }
}

fn named(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write standard output: {error}"))
}
