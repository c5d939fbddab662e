//! Standard output.

use std::io::{self, StdoutLock, Write};

/// Standard output, whose errors say that they are its.
pub struct Output(StdoutLock<'static>);

impl Output {
    /// That of this process.
    pub fn standard() -> Self {
        Self(io::stdout().lock())
    }
}

impl Write for Output {
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
