//! Files that a crash cannot halve, in a directory that is known by what it is.
//!
//! Uses `base` alone.

pub mod directory;
pub mod disk;

pub mod checksum;
