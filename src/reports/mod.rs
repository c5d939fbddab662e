//! What people read of runs: tables, the report of a reproduction, and the statistics behind them.
//!
//! Uses finished runs (`run`), and what is below; trains nothing.

pub mod reproduction;

pub mod tables;

pub mod reference;
