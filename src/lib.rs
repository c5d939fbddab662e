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
//! Where sequences are numbers in place of ids, a time step has so many *features*.
//!
//! Shapes are written `(R, B, T)`; "id" is an int64 below V. Nothing is ever one-hot encoded.
//!
//! # Reading order
//!
//! `ARCHITECTURE.md` beside the sources tells more, and how to add a layer, a task or a field.
//!
//! From a command to a row of `curves.csv`: [`cli`] → [`resolve`] → [`config`] →
//! [`train::trainer`]: [`data::task`] → [`data::loader`] → [`engine`] → [`train::meter`] →
//! [`run::curves`].
//!
//! A [`model`] is described once. Two engines train it: [`engine::fused`], explicit equations on a CPU,
//! and libtorch's operations, [`model::network`] on [`model::layers`] with [`model::losses`] and
//! [`tensor::parameters`]. Both end in [`optim`], and both answer in inference: [`engine::Inference`].
//!
//! # Rooms
//!
//! Every folder says at the head of its `mod.rs` what lives there and what it may use. They are listed
//! from top to bottom, and so are the files of each: imports point downwards.

pub mod cli;

pub mod commands;

pub mod reports;

pub mod export;

pub mod train;

pub mod run;

pub mod resolve;

pub mod engine;

pub mod model;
pub mod optim;

pub mod data;

pub mod tensor;

pub mod kernels;

pub mod config;

pub mod files;

pub mod base;
