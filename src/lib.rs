//! LSTM sequence-to-sequence experiments on libtorch, with Keras's numbers.
//!
//! # Words
//!
//! | symbol | meaning |
//! | --- | --- |
//! | R | replicas: independent models trained side by side, each with its own seed, initial weights and data; 1 in the ordinary case |
//! | B | batch size |
//! | T | time steps; Tin of a source, Tout of a target |
//! | V | vocabulary: ids are below it |
//! | H | LSTM units |
//! | P | trainable numbers of one replica |
//! | step | one optimiser update |
//! | epoch | one fresh sequence (tasks echo and lag) or one pass over n fresh samples (reverse) or over the same n in a new order (addition) |
//!
//! Shapes are written `(R, B, T)`; "id" is an int64 below V. Nothing is ever one-hot encoded.
//!
//! # Reading order
//!
//! From a command to a row of `curves.csv`: [`cli`] → [`resolve`] → [`config`] → [`train`]:
//! [`task`] → [`feed`] → [`engine`] → [`meter`] → [`curves`].
//!
//! A [`model`] is described once. Two engines train it: [`fused`], explicit equations on a CPU, and
//! libtorch's operations, [`network`] on [`layers`] with [`loss`] and [`parameters`], which inference uses
//! too. Both end in [`optim`], whose learning rate [`schedule`] knows. Beside the loop are
//! [`evaluate`] and [`checkpoint`] with its [`manifest`]; around it, [`commands`], [`run_dir`] with its
//! [`lock`], [`progress`] and [`report`]. [`disk`] makes changes to files that a crash cannot halve, in a
//! [`directory`] that is known by what it is.
//! [`reproduction`] sets many runs beside what was published, with [`statistics`] and an independent
//! [`mod@reference`]. Imports point downwards.

pub mod cli;
pub mod commands;

pub mod reproduction;

pub mod progress;
pub mod report;

pub mod placement;

pub mod memory;

pub mod checkpoint;
pub mod train;

pub mod evaluate;
pub mod manifest;
pub mod meter;
pub mod run_dir;
pub mod summary;
pub mod weights;

pub mod fused;

pub mod engine;

pub mod loss;
pub mod network;
pub mod optim;
pub mod pace;

pub mod model;

pub mod layers;

pub mod parameters;

pub mod feed;
pub mod host;
pub mod sources;

pub mod writing;

pub mod curves;
pub mod device;
pub mod orthogonal;
pub mod product;
pub mod real;
pub mod schedule;
pub mod simd;
pub mod task;
pub mod team;
pub mod transpose;

pub mod statistics;

pub mod lock;

pub mod directory;

pub mod disk;

pub mod config;
pub mod presets;
pub mod reference;
pub mod resolve;
pub mod rng;

pub mod checksum;
pub mod error;
pub mod input;
pub mod output;
pub mod shell;
pub mod spelling;
pub mod versions;
