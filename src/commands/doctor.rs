//! `seqlab doctor`.

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Result, bail, ensure};
use serde_json::json;
use tch::{Cuda, Tensor};

use crate::base::error::FAILURE;
use crate::base::versions;
use crate::config::{DeviceChoice, GateActivation};
use crate::kernels::two_threads::TwoThreads;
use crate::model::layers::dropout::Dropout;
use crate::model::layers::lstm::{InputKind, Lstm};
use crate::model::layers::twin::Input;
use crate::model::layers::{Layer, Spec};
use crate::tensor::cpp::graph;
use crate::tensor::device;
use crate::tensor::parameters::Parameters;

/// Prints what seqlab runs on to `out`, and every failure with its fix.
///
/// # Errors
/// If `out` cannot be written.
pub fn doctor(out: &mut dyn Write) -> Result<ExitCode> {
    writeln!(out, "seqlab    {}", versions::LONG)?;
    writeln!(
        out,
        "libtorch  {}, MKL {}, oneDNN {}, OpenMP {}, CUDA {}, TF32 {}",
        versions::LIBTORCH,
        yes(tch::utils::has_mkl()),
        yes(tch::utils::has_mkldnn()),
        yes(tch::utils::has_openmp()),
        yes(device::has_cuda()),
        yes(device::tf32()),
    )?;
    let cores = device::cores();
    writeln!(out, "threads   {cores} usable, {} by libtorch's default", tch::get_num_threads())?;
    writeln!(out, "cores     {}", told(TwoThreads::measure()))?;

    let mut healthy = true;
    let reference = lstm_gradient(DeviceChoice::Cpu);
    match &reference {
        Ok(_) => writeln!(out, "cpu       ok: an LSTM step with its gradient")?,
        Err(error) => {
            healthy = false;
            writeln!(out, "cpu       FAILED: {error:#}")?;
            writeln!(
                out,
                "          fix: this libtorch is damaged; remove its directory and set up again"
            )?;
        }
    }
    if !Cuda::is_available() {
        // Without a GPU there is nothing to mend; with one, its owner wants to know.
        healthy &= !device::driver_present();
        writeln!(out, "cuda      not available: {}", device::cuda_problem())?;
        writeln!(out, "          fix: {}", device::cuda_fix())?;
        return Ok(status(healthy));
    }
    let cudnn = if Cuda::cudnn_is_available() { versions::cudnn() } else { "missing".to_owned() };
    writeln!(
        out,
        "cuda      runtime {}, cuDNN {cudnn}, {} GPU(s), kernels of our own and CUDA graphs: {}",
        versions::cuda(),
        Cuda::device_count(),
        yes(graph::BUILT)
    )?;
    for index in 0..Cuda::device_count() as usize {
        match lstm_agrees(DeviceChoice::Cuda(index), &reference) {
            Ok(()) => writeln!(
                out,
                "cuda:{index}    ok: an LSTM step with its gradient, equal to the CPU's"
            )?,
            Err(error) => {
                healthy = false;
                writeln!(out, "cuda:{index}    FAILED: {error:#}")?;
                writeln!(out, "          fix: {}", device::cuda_fix())?;
            }
        }
    }
    Ok(status(healthy))
}

/// Prints what two threads get of the processor to `out`, as JSON: `null` where there is one core.
///
/// # Errors
/// If `out` cannot be written.
pub fn doctor_json(out: &mut dyn Write) -> Result<()> {
    let two_threads = TwoThreads::measure().map(|found| {
        let TwoThreads { slowdown, cache_line_ns, job_ns } = found;
        json!({"slowdown": slowdown, "cache_line_ns": cache_line_ns, "job_ns": job_ns})
    });
    let found = json!({"cores": device::cores(), "two_threads": two_threads});
    writeln!(out, "{found:#}")?;
    Ok(())
}

/// What two threads get of the processor, in words.
fn told(found: Option<TwoThreads>) -> String {
    let Some(TwoThreads { slowdown, cache_line_ns, job_ns }) = found else {
        return "one, or no second thread allowed: nothing to measure between two".to_owned();
    };
    format!(
        "two loops at once take {slowdown:.2} of the time of one (1: a core each, 2: one core for both)\n\
         {:10}a cache line passes in {cache_line_ns:.0} ns (above 80 with a core each: probably no common cache), \
         a job of an item each takes {job_ns:.0} ns",
        ""
    )
}

fn status(healthy: bool) -> ExitCode {
    if healthy { ExitCode::SUCCESS } else { ExitCode::from(FAILURE) }
}

fn yes(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

/// Computes the gradient of an LSTM on the device and compares it with the CPU's.
fn lstm_agrees(choice: DeviceChoice, reference: &Result<Vec<f64>>) -> Result<()> {
    let here = lstm_gradient(choice)?;
    let Ok(reference) = reference else { bail!("the CPU has no result to compare with") };
    let error = here.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    ensure!(error < 1e-4, "its gradient differs from the CPU's by {error:e}");
    Ok(())
}

/// The gradient of a small LSTM, computed on the device; in float64, which no TF32 can touch.
fn lstm_gradient(choice: DeviceChoice) -> Result<Vec<f64>> {
    let device = device::choose(choice)?.device;
    let gate_activation = GateActivation::Sigmoid;
    let (reads, dropout) = (InputKind::Ids, Dropout::default());
    let lstm = Lstm { inputs: 5, reads, backwards: false, units: 4, gate_activation, dropout };
    let specs = lstm.parameters("lstm");
    let mut parameters = Parameters::zeros(specs, 1, tch::Kind::Double, device)?;
    parameters.initialise(&[0], 1, &|_| Ok(()))?;
    let lstm = Layer::from(lstm).twin(&parameters, "lstm")?;
    let ids = device::upload(&[0, 1, 2, 3, 4, 0], &[1, 2, 3], device)?;
    let output = lstm.run(&[Input::Ids(&ids, None)], lstm.zero_state(2)?.as_ref())?;
    let loss: Tensor = output.outputs.f_square()?.f_sum(tch::Kind::Double)?;
    parameters.backward(&loss)?;
    finite(device::download(parameters.gradient())?)
}

/// `gradient`, unless a number in it is none: comparisons would not notice.
fn finite(gradient: Vec<f64>) -> Result<Vec<f64>> {
    ensure!(gradient.iter().all(|x| x.is_finite()), "its gradient is not finite");
    Ok(gradient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_get_is_told_with_its_numbers() {
        let found = TwoThreads { slowdown: 1.234, cache_line_ns: 61.7, job_ns: 852.4 };
        let lines = told(Some(found));
        for part in [" take 1.23 of the time of one ", " passes in 62 ns ", " each takes 852 ns"] {
            assert!(lines.contains(part), "{lines}");
        }
        assert_eq!(lines.lines().count(), 2);
        assert!(told(None).starts_with("one, "));
    }

    #[test]
    fn a_gradient_that_is_no_number_is_no_good_health() {
        assert!(finite(vec![0.0, -1.0]).is_ok());
        assert!(finite(vec![0.0, f64::NAN]).is_err());
        assert!(finite(vec![f64::INFINITY]).is_err());
    }
}
