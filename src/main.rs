//! `seqlab`: parse, run, print the error, exit.

use std::io::Write;
use std::process::ExitCode;

use seqlab::base::error;
use seqlab::base::output::StandardOutput;
use seqlab::cli;
use seqlab::run::progress::say;
use seqlab::tensor::device::TF32_SWITCH;

fn main() -> ExitCode {
    switch_off_tf32();
    keep_memory();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" ({place})")).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let what = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no details");
        say(format!("error: a defect of seqlab{place}: {what}"));
        say("hint: please report it with the command that led here");
    }));
    let done = std::panic::catch_unwind(|| {
        let mut out = StandardOutput::lock();
        let status = cli::run(&mut out)?;
        // What is left unwritten at the exit is lost without an error.
        out.flush()?;
        anyhow::Ok(status)
    });
    match done {
        Ok(Ok(status)) => status,
        Ok(Err(error)) if error::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            error::describe(&error).lines().for_each(say);
            ExitCode::from(error::status(&error))
        }
        Err(_) => ExitCode::from(error::FAILURE),
    }
}

/// Has NVIDIA's libraries multiply float32 numbers in full, unless the user decided about that.
fn switch_off_tf32() {
    if std::env::var_os(TF32_SWITCH).is_none() {
        // SAFETY: this comes first in `main`, when no other thread can be reading the environment.
        unsafe { std::env::set_var(TF32_SWITCH, "0") };
    }
}

/// Has the allocator keep what a step of libtorch's operations frees, up to 256 MiB, for the next step. glibc would
/// give it back to the system and take it again in every step, page by page.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_memory() {
    // SAFETY: no other thread allocates yet.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, 256 << 20);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_memory() {}
