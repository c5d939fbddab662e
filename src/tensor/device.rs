//! Where tensors live: the only module that names a device, and the only way between it and the
//! host.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tch::{Cuda, Device, Kind, TchError, Tensor};

use crate::base::error::UserError;
use crate::config::{Config, DeviceChoice, Dtype};
use crate::kernels::thread_pool::startable;
use crate::tensor::slices;

/// A device, with the reason if `auto` passed over a GPU.
#[derive(Debug)]
pub struct Chosen {
    /// The device.
    pub device: Device,
    /// Why `auto` took the CPU, for a user who has a GPU.
    pub note: Option<String>,
}

/// GPUs that can be used.
pub fn gpus() -> usize {
    if Cuda::is_available() { Cuda::device_count() as usize } else { 0 }
}

/// The device that `choice` asks for. Only `auto` falls back.
///
/// # Errors
/// If the GPU asked for cannot be used, with the way to get it.
pub fn choose(choice: DeviceChoice) -> Result<Chosen, UserError> {
    let gpus = gpus();
    match choice {
        DeviceChoice::Cpu => Ok(Chosen { device: Device::Cpu, note: None }),
        DeviceChoice::Auto if gpus > 0 => Ok(Chosen { device: Device::Cuda(0), note: None }),
        DeviceChoice::Auto => {
            let note = driver_present().then(|| format!("running on the CPU: {}", cuda_problem()));
            Ok(Chosen { device: Device::Cpu, note })
        }
        DeviceChoice::Cuda(index) if index < gpus => {
            Ok(Chosen { device: Device::Cuda(index), note: None })
        }
        DeviceChoice::Cuda(_) if gpus == 0 => {
            let error = UserError::usage(format!("--device {choice}: {}", cuda_problem()));
            Err(error.hint(format!("{}, or give --device cpu", cuda_fix())))
        }
        DeviceChoice::Cuda(_) => {
            let found = format!("--device {choice}: this machine has {gpus} GPU(s)");
            Err(UserError::usage(found).hint(format!("give cuda:0 to cuda:{}", gpus - 1)))
        }
    }
}

/// Why no GPU can be used, where none can.
pub fn cuda_problem() -> &'static str {
    diagnosis(has_cuda(), driver_present()).0
}

/// How to solve [`cuda_problem`].
pub fn cuda_fix() -> &'static str {
    diagnosis(has_cuda(), driver_present()).1
}

/// The problem where no GPU can be used, and its solution.
fn diagnosis(cuda: bool, driver: bool) -> (&'static str, &'static str) {
    let without_cuda = "this build has a libtorch without CUDA";
    match (cuda, driver) {
        (false, _) if !cfg!(target_os = "linux") => {
            (without_cuda, "use a Linux machine with an NVIDIA GPU")
        }
        (false, false) => (
            without_cuda,
            "install an NVIDIA driver (nvidia-smi shows it), then SEQLAB_LIBTORCH=cuda scripts/seqlab doctor",
        ),
        (false, true) => (
            without_cuda,
            "build with the CUDA libtorch: SEQLAB_LIBTORCH=cuda scripts/seqlab doctor",
        ),
        (true, false) => (
            "no NVIDIA driver is running",
            "install an NVIDIA driver for CUDA 13 (nvidia-smi shows it)",
        ),
        (true, true) => (
            "libtorch finds no usable GPU behind the NVIDIA driver",
            "update the driver (this libtorch wants one for CUDA 13) and check CUDA_VISIBLE_DEVICES",
        ),
    }
}

/// Whether libtorch was built with CUDA. (`tch::utils::has_cuda` asks whether it finds a GPU.)
pub fn has_cuda() -> bool {
    tch::utils::has_cudart()
}

/// The environment variable that turns TF32 off in NVIDIA's libraries, if it is 0 before their
/// first use.
///
/// From Ampere on cuDNN would otherwise round the factors of float32 products to 10 bits of mantissa,
/// and tch has no access to libtorch's own switch for that.
pub const TF32_SWITCH: &str = "NVIDIA_TF32_OVERRIDE";

/// Whether float32 products may be computed as TF32 on a GPU.
pub fn tf32() -> bool {
    std::env::var_os(TF32_SWITCH).is_none_or(|value| value != "0")
}

/// Whether an NVIDIA kernel driver is loaded.
pub fn driver_present() -> bool {
    ["/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg"]
        .iter()
        .any(|path| std::path::Path::new(path).exists())
}

/// Processor, cores and system, as far as they are known.
pub fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let processor = model.map(|(_, model)| format!("{model}, ")).unwrap_or_default();
    let (system, architecture) = (std::env::consts::OS, std::env::consts::ARCH);
    format!("{processor}{} core(s), {system} {architecture}", own_cores())
}

/// The choice that names `device`.
pub fn choice(device: Device) -> DeviceChoice {
    match device {
        Device::Cuda(index) => DeviceChoice::Cuda(index),
        _ => DeviceChoice::Cpu,
    }
}

/// `device` as `--device` and `summary.json` spell it.
pub fn name(device: Device) -> String {
    choice(device).to_string()
}

/// The CPU.
pub fn host() -> Device {
    Device::Cpu
}

/// The number of the GPU that `device` is; `None`: it is the CPU.
pub fn gpu(device: Device) -> Option<usize> {
    match device {
        Device::Cuda(index) => Some(index),
        _ => None,
    }
}

/// Whether `device` is the CPU.
pub fn is_host(device: Device) -> bool {
    device == Device::Cpu
}

/// Sets the number of threads of libtorch's CPU operations to `threads`, or to as many as the
/// process can still start: OpenMP ends the process where it cannot start one. Returns the number.
pub fn set_threads(threads: usize) -> usize {
    // OpenMP may start new threads before its old ones have ended: there can be twice as many.
    let threads = startable(2 * threads - 1).div_ceil(2);
    tch::set_num_threads(threads as i32);
    threads
}

/// The most of them that are used.
static MOST_CORES: AtomicUsize = AtomicUsize::new(usize::MAX);

/// Leaves the cores beyond so many to other processes.
pub fn use_cores(most: usize) {
    MOST_CORES.store(most.max(1), Ordering::Relaxed);
}

/// CPU cores to use: those that the process may, or fewer after [`use_cores`].
pub fn cores() -> usize {
    own_cores().min(MOST_CORES.load(Ordering::Relaxed))
}

/// CPU cores that the process may use.
fn own_cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// R · B · H²: a quarter of the multiplications with the recurrent kernel in one time step.
pub fn work(config: &Config) -> i64 {
    let sizes = [config.batch_size, config.units, config.units];
    sizes.into_iter().fold(config.replicas, i64::saturating_mul)
}

/// The most threads of any job: what `config` says, or one for each core.
pub fn most_threads(config: &Config) -> usize {
    config.threads.map_or_else(cores, |threads| threads as usize)
}

/// How many threads libtorch's CPU operations use: what `config` says, or all cores if its sizes
/// make that worthwhile.
pub fn threads(config: &Config) -> usize {
    // Below some tens of thousands of multiplications a time step, threads cost more than they
    // gain.
    let worthwhile = work(config) >= 1 << 16;
    config.threads.map_or(if worthwhile { cores() } else { 1 }, |threads| threads as usize)
}

/// Transfers between host and device, by every thread since the program started. They are counted
/// on a CPU too, so that a test can find needless waits without a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfers {
    /// Those that wait until the device has done all queued work.
    pub blocking: u64,
    /// Those that are queued on the device, while the thread goes on.
    pub queued: u64,
}

static BLOCKING: AtomicU64 = AtomicU64::new(0);
static QUEUED: AtomicU64 = AtomicU64::new(0);

/// The transfers so far.
pub fn transfers() -> Transfers {
    let [blocking, queued] = [&BLOCKING, &QUEUED].map(|count| count.load(Ordering::Relaxed));
    Transfers { blocking, queued }
}

/// Ids from the host, as an int64 tensor of `shape` on `device`. Waits for the device.
///
/// # Errors
/// If `shape` does not fit the number of ids, or `device` is short of memory.
pub fn upload(ids: &[i64], shape: &[i64], device: Device) -> Result<Tensor, TchError> {
    BLOCKING.fetch_add(1, Ordering::Relaxed);
    Tensor::f_from_slice(ids)?.f_view(shape)?.f_to_device(device)
}

/// Ids from the host, as a flat int64 tensor on `device`. The transfer is queued: work queued after
/// it, by any thread, finds the ids there. Does not wait for the device.
///
/// # Errors
/// If `device` or the host's pinned memory is short.
pub fn upload_ahead(ids: &[i64], device: Device) -> Result<Tensor, TchError> {
    QUEUED.fetch_add(1, Ordering::Relaxed);
    let ids = Tensor::f_from_slice(ids)?;
    if is_host(device) {
        return Ok(ids);
    }
    // From memory that is not pinned, CUDA would copy before the call returns. libtorch keeps
    // pinned memory until the transfer is done, and reuses it. Its public `pin_memory` does the
    // same, but warns that its `device` argument, which tch always gives, is deprecated.
    let (kind, non_blocking, copy) = (Kind::Int64, true, false);
    let _queue = not_recording();
    ids.f_internal_pin_memory(device)?.f_to_device_(device, kind, non_blocking, copy)
}

/// Numbers from the host, as a flat float64 tensor on `device`, as [`upload_ahead`] has it.
///
/// # Errors
/// If `device` or the host's pinned memory is short.
pub fn upload_ahead_numbers(numbers: &[f64], device: Device) -> Result<Tensor, TchError> {
    let words: Vec<i64> = numbers.iter().map(|number| number.to_bits().cast_signed()).collect();
    upload_ahead(&words, device)?.f_view_dtype(Kind::Double)
}

/// Held while a GPU's work is recorded, and while another thread queues transfers to the same stream, which
/// would be recorded too.
static QUEUE: Mutex<()> = Mutex::new(());

/// Keeps other threads from recording for so long; a thread that records must not call it again.
pub fn not_recording() -> MutexGuard<'static, ()> {
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies the numbers of `from` to the memory of `to`, on the same device, unless they are there. Does not
/// wait for it.
///
/// # Errors
/// If `from` cannot be broadcast to the shape of `to`.
pub fn copy(from: &Tensor, to: &Tensor) -> Result<(), TchError> {
    if !slices::same_memory(from, to) {
        to.shallow_clone().f_copy_(from)?;
    }
    Ok(())
}

/// Copies `values`, a tensor on the host, into `target`, of the same shape. Waits for the device.
///
/// # Errors
/// If `values` cannot be broadcast to the shape of `target`.
pub fn fill(target: &mut Tensor, values: &Tensor) -> Result<(), TchError> {
    BLOCKING.fetch_add(1, Ordering::Relaxed);
    target.f_copy_(values)
}

/// `tensor`, contiguous and detached, on the host. Waits for the device.
pub fn to_host(tensor: &Tensor) -> Result<Tensor, TchError> {
    BLOCKING.fetch_add(1, Ordering::Relaxed);
    tensor.f_detach()?.f_to_device(host())?.f_contiguous()
}

/// The numbers of `tensor`, row-major, on the host. Waits for the device.
pub fn download(tensor: &Tensor) -> Result<Vec<f64>, TchError> {
    Vec::try_from(to_host(tensor)?.f_to_kind(Kind::Double)?.f_view([-1])?)
}

/// The ids of `tensor`, row-major, on the host. Waits for the device.
///
/// # Errors
/// If `tensor` is not int64.
pub fn download_ids(tensor: &Tensor) -> Result<Vec<i64>, TchError> {
    Vec::try_from(to_host(tensor)?.f_view([-1])?)
}

/// The element type that `dtype` names.
pub fn kind(dtype: Dtype) -> Kind {
    match dtype {
        Dtype::Float32 => Kind::Float,
        Dtype::Float64 => Kind::Double,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::presets;

    #[test]
    fn threads_are_what_was_asked_for_or_one_for_little_work() {
        let small = presets::all().swap_remove(0).config;
        let asked = Config { threads: Some(2), ..small.clone() };
        for (config, expected) in [(&asked, 2), (&small, 1)] {
            assert_eq!(set_threads(threads(config)), expected);
            assert_eq!(tch::get_num_threads() as usize, expected);
        }
    }
    #[cfg(target_os = "linux")]
    #[test]
    fn each_reason_for_no_gpu_has_a_fix_of_its_own() {
        let all = [(false, false), (false, true), (true, false), (true, true)];
        let [no_card, cpu_build, no_driver, no_gpu] =
            all.map(|(cuda, driver)| diagnosis(cuda, driver));
        for (problem, _) in [no_card, cpu_build] {
            assert_eq!(problem, "this build has a libtorch without CUDA");
        }
        assert_eq!(no_driver.0, "no NVIDIA driver is running");
        assert_eq!(no_gpu.0, "libtorch finds no usable GPU behind the NVIDIA driver");
        let install = "install an NVIDIA driver";
        assert!(no_card.1.starts_with(install) && no_card.1.contains("SEQLAB_LIBTORCH=cuda"));
        assert!(no_driver.1.starts_with(install) && !no_driver.1.contains("SEQLAB_LIBTORCH"));
        assert!(cpu_build.1.starts_with("build with the CUDA libtorch"));
        assert!(no_gpu.1.contains("CUDA_VISIBLE_DEVICES"));
    }
}
