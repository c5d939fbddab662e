//! NumPy's file of one array, format 1.0: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::config::Dtype;
use crate::files::directory::Directory;

/// Where the numbers begin is a multiple of it.
const ALIGNMENT: usize = 64;

/// A file of one array of floats, little-endian and row-major, whose first axis is written place by
/// place.
#[derive(Debug)]
pub(super) struct NpyFile {
    path: PathBuf,
    file: BufWriter<File>,
    dtype: Dtype,
    /// The lines at a place, and the numbers of a line.
    lines: usize,
    width: usize,
}

impl NpyFile {
    /// An array of `shape`, of one to three axes, at `path` in `directory`, with no numbers yet.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn create(
        directory: &Directory,
        path: &Path,
        dtype: Dtype,
        shape: &[usize],
    ) -> Result<Self> {
        let created = directory.open_or_create(path).and_then(|file| {
            file.set_len(0)?;
            let mut file = BufWriter::new(file);
            file.write_all(&header(dtype, shape))?;
            Ok(file)
        });
        let file = created.with_context(|| format!("cannot write {}", path.display()))?;
        let width = shape.last().copied().unwrap_or(1);
        let lines = if shape.len() == 3 { shape[1] } else { 1 };
        Ok(Self { path: path.to_owned(), file, dtype, lines, width })
    }

    /// Writes the next place of the first axis; NaN for lines, and ends of lines, that are not there.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, lines: &[&[f64]]) -> Result<()> {
        let none: &[f64] = &[];
        for line in lines.iter().copied().chain(std::iter::repeat(none)).take(self.lines) {
            let numbers = line.iter().copied().chain(std::iter::repeat(f64::NAN));
            for number in numbers.take(self.width) {
                let written = match self.dtype {
                    Dtype::Float32 => self.file.write_all(&(number as f32).to_le_bytes()),
                    Dtype::Float64 => self.file.write_all(&number.to_le_bytes()),
                };
                written.with_context(|| format!("cannot write {}", self.path.display()))?;
            }
        }
        Ok(())
    }

    /// Brings all of it to the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// What comes before the numbers.
fn header(dtype: Dtype, shape: &[usize]) -> Vec<u8> {
    let kind = match dtype {
        Dtype::Float32 => "<f4",
        Dtype::Float64 => "<f8",
    };
    // A tuple, of one number too, ends with a comma.
    let shape: String = shape.iter().map(|size| format!("{size}, ")).collect();
    let mut text =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
    let begin = b"\x93NUMPY\x01\x00";
    let before = begin.len() + size_of::<u16>();
    let length = (before + text.len() + 1).next_multiple_of(ALIGNMENT) - before;
    text += &" ".repeat(length - 1 - text.len());
    text.push('\n');
    [&begin[..], &(length as u16).to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_written_exactly_so() {
        let folder = tempfile::tempdir().unwrap();
        let (directory, path) =
            (Directory::open(folder.path()).unwrap(), folder.path().join("a.npy"));
        let mut file = NpyFile::create(&directory, &path, Dtype::Float32, &[2, 2, 2]).unwrap();
        file.add(&[&[1.0, 2.0], &[3.0, 4.0]]).unwrap();
        file.add(&[&[5.0]]).unwrap();
        file.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let text = b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, \
                     'shape': (2, 2, 2,), }";
        assert_eq!(bytes[..text.len()], text[..]);
        assert!(bytes[text.len()..127].iter().all(|byte| *byte == b' ') && bytes[127] == b'\n');
        let numbers: Vec<f32> = bytes[128..]
            .chunks_exact(4)
            .map(|four| f32::from_le_bytes(four.try_into().unwrap()))
            .collect();
        assert_eq!(numbers[..5], [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert!(numbers.len() == 8 && numbers[5..].iter().all(|number| number.is_nan()));
    }

    #[test]
    fn a_header_of_any_length_ends_at_a_multiple_of_64() {
        for digits in 1..19 {
            let size = 10_usize.pow(digits);
            for shape in [vec![size], vec![size; 2], vec![size; 3]] {
                let header = header(Dtype::Float64, &shape);
                assert_eq!(header.len() % ALIGNMENT, 0);
                let length = u16::from_le_bytes([header[8], header[9]]) as usize;
                assert_eq!((header.len(), header.last()), (10 + length, Some(&b'\n')));
            }
        }
    }
}
