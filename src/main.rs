//! `seqlab`: parse, run, print the error, exit.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use seqlab::cli::Cli;
use seqlab::error;
use seqlab::progress::say;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" ({place})")).unwrap_or_default();
        let payload = panic.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let what = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("no details");
        say(format!("error: a defect of seqlab{place}: {what}"));
        say("hint: please report it with the command that led here");
    }));
    let done = std::panic::catch_unwind(|| Cli::parse().run(&mut io::stdout().lock()));
    match done {
        Ok(Ok(status)) => status,
        Ok(Err(error)) if error::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            say(error::describe(&error));
            ExitCode::from(error::status(&error))
        }
        Err(_) => ExitCode::from(error::FAILURE),
    }
}
