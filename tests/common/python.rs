//! Pythons that tests may ask, where the scripts or the system have some.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The environments that the scripts made, whose names begin with `name`.
fn environments(name: &str) -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let under = |name: &str, folder: &str| Some(Path::new(&variable(name)?).join(folder));
    let cache = variable("SEQLAB_CACHE").map(PathBuf::from);
    let cache = cache.or(under("XDG_CACHE_HOME", "seqlab")).or(under("HOME", ".cache/seqlab"));
    let cache = cache.unwrap_or_default();
    let folders = fs::read_dir(cache).into_iter().flatten().flatten().map(|entry| entry.path());
    let of_name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(name);
    let mut found: Vec<PathBuf> =
        folders.filter(|path| of_name(path) && path.join("complete").exists()).collect();
    found.sort();
    found
}

/// A Python that imports `modules`: of an environment of the scripts, or the system's.
pub fn python(modules: &str) -> Option<Command> {
    let export = environments("export-");
    // The benchmark's has torch, but no safetensors.
    let more: Vec<PathBuf> = export.iter().filter_map(|path| packages(path)).collect();
    let more = std::env::join_paths(more).unwrap();
    let own = export
        .iter()
        .chain(&environments("bench-"))
        .map(|path| path.join("bin/python"))
        .collect::<Vec<_>>();
    own.into_iter().chain([PathBuf::from("python3")]).find_map(|program| {
        let command = || {
            let mut command = Command::new(&program);
            command.arg("-B").env("PYTHONPATH", &more).env("KERAS_BACKEND", "jax");
            command
        };
        let import = command().args(["-c", &format!("import {modules}")]).output();
        import.is_ok_and(|output| output.status.success()).then(command)
    })
}

/// The `site-packages` of an environment.
fn packages(environment: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(environment.join("lib")).ok()?.flatten();
    let found = versions.map(|version| version.path().join("site-packages"));
    found.into_iter().find(|path| path.is_dir())
}
