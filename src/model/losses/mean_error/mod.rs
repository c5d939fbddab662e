//! The mean of squared or absolute errors, of numbers.

pub mod fused;
pub mod torch;

/// What is made of the difference between a number and what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Its square.
    Squared,
    /// Its absolute value.
    Absolute,
}
