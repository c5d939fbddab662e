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
use std::path::Path;

use anyhow::{Context, Result, ensure};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::device;
use crate::parameters::Parameters;
use crate::train::Trainer;

/// The layout that this version writes and reads.
const FORMAT: u32 = 1;

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

/// Loads the weights of the checkpoint in the directory `path` into `parameters`: those of
/// every replica or, where `parameters` are one replica's, of replica `replica` alone.
///
/// # Errors
/// If a file is missing or damaged or does not fit `parameters`.
pub fn load_weights(path: &Path, parameters: &Parameters, replica: i64) -> Result<()> {
    let manifest = path.join("manifest.json");
    let text = fs::read_to_string(&manifest)
        .with_context(|| format!("cannot read {}: no whole checkpoint", manifest.display()))?;
    let found: Manifest = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged", manifest.display()))?;
    ensure!(
        found.format == FORMAT,
        "{} has format {}; this version reads format {FORMAT}",
        manifest.display(),
        found.format
    );

    let file = path.join("weights.safetensors");
    let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let load = || -> Result<()> {
        let stored = SafeTensors::deserialize(&bytes)?;
        for (spec, mut place) in parameters.specs().iter().zip(parameters.split(parameters.flat())?)
        {
            let value = tensor(&stored.tensor(&spec.name).with_context(|| spec.name.clone())?)?;
            let (stored, expected) = (value.size(), place.size());
            let fits = stored.get(1..) == expected.get(1..) && replica + expected[0] <= stored[0];
            ensure!(fits, "{}: shape {stored:?}, expected {expected:?}", spec.name);
            device::fill(&mut place, &value.f_narrow(0, replica, expected[0])?)?;
        }
        Ok(())
    };
    load().with_context(|| format!("{} is damaged or of another run", file.display()))
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
