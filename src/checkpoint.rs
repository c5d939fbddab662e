//! Weights, optimiser and recurrent state on disk.
//!
//! A checkpoint is a directory:
//!
//! | file | content |
//! | --- | --- |
//! | `weights.safetensors` | every parameter `(R, …Keras's shape)` under its name |
//! | `training.safetensors` | Adam's `adam.m` and `adam.v` `(R · P)`; the carried state `state.N.h` and `state.N.c` `(R, B, H)`, if any |
//! | `manifest.json` | [`Manifest`]; a checkpoint is whole once it is there |

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::input::{self, clipped};
use crate::parameters::{ParameterSpec, Parameters};
use crate::train::Trainer;
use crate::weights::Layout;
use crate::{config, device};

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

/// How many times as much memory as all weights writing a checkpoint takes: a copy of both moments.
pub const COPIES: usize = 2;

/// Where a training stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the directory's layout.
    pub format: u32,
    /// Epochs finished.
    pub epoch: i64,
    /// Optimiser steps done.
    pub step: i64,
    /// Samples seen by each replica.
    pub samples: i64,
}

impl Manifest {
    /// The manifest in `bytes`.
    ///
    /// # Errors
    /// If it is no JSON or lacks something, has another format, or numbers that no training has.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |e: String| format!("is damaged: {e}");
        let read = |e: serde_json::Error| damaged(clipped(&e.to_string()));
        let manifest: Self = serde_json::from_slice(bytes).map_err(read)?;
        let &Self { format, epoch, step, samples } = &manifest;
        if format != FORMAT {
            return Err(format!("has format {format}; this version reads format {FORMAT}"));
        }
        if epoch < 0 || step < 0 || samples < 0 {
            return Err(damaged("epoch, step and samples: expected numbers from 0".to_owned()));
        }
        Ok(manifest)
    }
}

/// Writes a checkpoint of `trainer` into the directory `path`, in place of any that is there only
/// once it is whole.
///
/// # Errors
/// If a file cannot be written.
pub fn save(path: &Path, trainer: &Trainer) -> Result<()> {
    let context = || format!("cannot write the checkpoint {}", path.display());
    let fresh = path.with_extension("partial");
    fs::create_dir_all(&fresh).with_context(context)?;
    let parameters = &trainer.parameters;
    let names = parameters.specs().iter().map(|spec| spec.name.clone());
    let weights = names.zip(parameters.split(parameters.flat())?).collect();
    write(&fresh.join("weights.safetensors"), weights).with_context(context)?;

    let mut training = vec![
        ("adam.m".to_owned(), trainer.adam.m.shallow_clone()),
        ("adam.v".to_owned(), trainer.adam.v.shallow_clone()),
    ];
    for (i, state) in trainer.carried.iter().flat_map(|state| &state.0).enumerate() {
        training.push((format!("state.{i}.h"), state.h.shallow_clone()));
        training.push((format!("state.{i}.c"), state.c.shallow_clone()));
    }
    write(&fresh.join("training.safetensors"), training).with_context(context)?;

    let &Trainer { epoch, step, samples, .. } = trainer;
    let manifest = Manifest { format: FORMAT, epoch, step, samples };
    let text = serde_json::to_string_pretty(&manifest)? + "\n";
    fs::write(fresh.join("manifest.json"), text).with_context(context)?;

    if path.exists() {
        fs::remove_dir_all(path).with_context(context)?;
    }
    fs::rename(fresh, path).with_context(context)
}

/// The weights of a checkpoint, whole and of the right shapes.
#[derive(Debug)]
pub struct Weights {
    file: PathBuf,
    bytes: Vec<u8>,
    layout: Layout,
}

impl Weights {
    /// Those of the checkpoint in the directory `path` of a run, which has `replicas` replicas of a
    /// model with these parameters. No more is read than they take.
    ///
    /// # Errors
    /// If a file is missing or damaged, of another model, or lies outside the run.
    pub fn read(
        path: &Path,
        specs: &[ParameterSpec],
        replicas: i64,
        dtype: config::Dtype,
    ) -> Result<Self> {
        let run = path.parent().unwrap_or(path);
        let manifest = path.join("manifest.json");
        let bytes = input::read_inside(run, &manifest, input::MANIFEST)
            .with_context(|| format!("cannot read {}: no whole checkpoint", manifest.display()))?;
        Manifest::parse(&bytes).map_err(|e| anyhow!("{} {e}", manifest.display()))?;

        let layout = Layout::new(specs, replicas, dtype);
        let file = path.join("weights.safetensors");
        let bytes = input::read_inside(run, &file, layout.most_bytes())
            .with_context(|| format!("cannot read {}", file.display()))?;
        let weights = Self { file, bytes, layout };
        weights.tensors()?;
        Ok(weights)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        let file = self.file.display();
        let damaged = |e| anyhow!("{file} is damaged or of another run: {e}");
        self.layout.read(&self.bytes).map_err(damaged)
    }

    /// Puts them into `parameters`: those of every replica or, where `parameters` are one replica's,
    /// of replica `replica` alone.
    ///
    /// # Errors
    /// If `parameters` are of another model, and libtorch's.
    pub fn load(&self, parameters: &Parameters, replica: i64) -> Result<()> {
        let stored = self.tensors()?;
        for (spec, mut place) in parameters.specs().iter().zip(parameters.split(parameters.flat())?)
        {
            let value = tensor(&stored.tensor(&spec.name).with_context(|| spec.name.clone())?)?;
            device::fill(&mut place, &value.f_narrow(0, replica, parameters.replicas())?)?;
        }
        Ok(())
    }
}

/// Writes `tensors` to the safetensors file `path`.
fn write(path: &Path, tensors: Vec<(String, Tensor)>) -> Result<()> {
    let stored = tensors.into_iter().map(|(name, tensor)| Ok((name, Stored::new(&tensor)?)));
    let stored = stored.collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize_to_file(stored, None, path)?)
}

/// A tensor's bytes on the host.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(tensor: &Tensor) -> Result<Self> {
        let (dtype, width) = match tensor.kind() {
            Kind::Double => (Dtype::F64, 8),
            _ => (Dtype::F32, 4),
        };
        let shape = tensor.size().iter().map(|&n| n as usize).collect();
        let mut bytes = vec![0; tensor.numel() * width];
        device::to_host(tensor)?.f_copy_data_u8(&mut bytes, tensor.numel())?;
        Ok(Self { dtype, shape, bytes })
    }
}

impl View for Stored {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// A stored tensor, on the host.
fn tensor(view: &TensorView<'_>) -> Result<Tensor> {
    let kind = match view.dtype() {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        other => anyhow::bail!("dtype {other:?}, expected F32 or F64"),
    };
    let shape: Vec<i64> = view.shape().iter().map(|&n| n as i64).collect();
    Ok(Tensor::f_from_data_size(view.data(), &shape, kind)?)
}
