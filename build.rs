//! Link flags that libtorch needs, and what the program tells about its own build.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    // torch-sys hands over the folder it links from; it has none when built for its docs alone.
    println!("cargo:rerun-if-env-changed=DEP_TCH_LIBTORCH_LIB");
    let lib_dir = env::var_os("DEP_TCH_LIBTORCH_LIB").map(PathBuf::from);
    println!("cargo:rustc-check-cfg=cfg(seqlab_cuda)");
    if let Some(lib_dir) = &lib_dir {
        link(lib_dir, &env::var("CARGO_CFG_TARGET_OS")?);
        build_cpp(lib_dir);
    }
    let unknown = || "unknown".to_owned();
    let libtorch = lib_dir.and_then(|dir| libtorch_version(&dir));

    set("SEQLAB_LIBTORCH_VERSION", &libtorch.unwrap_or_else(unknown));
    set("SEQLAB_GIT_COMMIT", &git_commit().unwrap_or_else(unknown));
    set("SEQLAB_TARGET", &env::var("TARGET")?);
    set("SEQLAB_RUSTC_VERSION", &rustc_version()?);
    watch_sources();
    Ok(())
}

/// Makes `name` readable with `env!` in the crate.
fn set(name: &str, value: &str) {
    println!("cargo:rustc-env={name}={value}");
}

fn link(lib_dir: &Path, os: &str) {
    let dir = &lib_dir.display().to_string();
    match os {
        "linux" => {
            // An RPATH, not a RUNPATH: it also serves the libraries that libtorch loads in turn,
            // and another libtorch in LD_LIBRARY_PATH does not get in its way.
            pass_to_linker(&["--disable-new-dtags", "-rpath", dir]);
            // No symbol of libtorch_cuda is referred to: it registers its kernels when it is
            // loaded. Unless told otherwise the linker drops it, and CUDA is never available.
            if lib_dir.join("libtorch_cuda.so").exists() {
                println!(
                    "cargo:rustc-link-arg=-Wl,--push-state,--no-as-needed,-ltorch_cuda,-lc10_cuda,--pop-state"
                );
            }
        }
        "macos" => pass_to_linker(&["-rpath", dir]),
        _ => {}
    }
}

/// Builds the C++ of src/tensor/cpp; what is for CUDA alone, where libtorch has CUDA and the headers of
/// CUDA's runtime are found.
fn build_cpp(lib_dir: &Path) {
    println!("cargo:rerun-if-env-changed=CUDA_HOME");
    let Some(libtorch) = include_root(lib_dir).map(|root| root.join("include")) else { return };
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").warnings(false);
    build.files(["adam", "lstm", "operations"].map(|name| format!("src/tensor/cpp/{name}.cpp")));
    build.includes([&libtorch, &libtorch.join("torch/csrc/api/include")]);
    if lib_dir.join("libtorch_cuda.so").exists() {
        match cuda_headers(lib_dir) {
            Some(headers) => {
                build.include(headers).file("src/tensor/cpp/cuda.cpp");
                println!("cargo:rustc-cfg=seqlab_cuda");
            }
            None => println!(
                "cargo:warning=no cuda_runtime_api.h in $CUDA_HOME/include, beside libtorch or in \
                 /usr/local/cuda/include: training on a GPU has neither kernels of its own nor CUDA graphs"
            ),
        }
    }
    build.compile("seqlab_cpp");
}

/// The folder of CUDA's headers: what the user names, what Python's packages have beside PyTorch, or the
/// system's.
fn cuda_headers(lib_dir: &Path) -> Option<PathBuf> {
    let home = env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("include"));
    let packages = lib_dir.parent().and_then(Path::parent).map(|root| root.join("nvidia"));
    let packages = packages.and_then(|root| fs::read_dir(root).ok()).into_iter().flatten();
    let packages = packages.filter_map(|entry| Some(entry.ok()?.path().join("include")));
    let system = PathBuf::from("/usr/local/cuda/include");
    let mut folders = home.into_iter().chain(packages).chain([system]);
    folders.find(|folder| folder.join("cuda_runtime_api.h").exists())
}

/// Not by `-Wl`, for which a comma in a path ends an argument.
fn pass_to_linker(arguments: &[&str]) {
    for argument in arguments {
        println!("cargo:rustc-link-arg=-Xlinker");
        println!("cargo:rustc-link-arg={argument}");
    }
}

/// The folder that libtorch's `include` lies in.
fn include_root(lib_dir: &Path) -> Option<PathBuf> {
    println!("cargo:rerun-if-env-changed=LIBTORCH_INCLUDE");
    let root = env::var_os("LIBTORCH_INCLUDE").map(PathBuf::from);
    root.or_else(|| lib_dir.parent().map(Path::to_path_buf))
}

/// libtorch's version as its headers tell it.
fn libtorch_version(lib_dir: &Path) -> Option<String> {
    let header = include_root(lib_dir)?.join("include/torch/headeronly/version.h");
    let text = fs::read_to_string(&header).ok()?;
    println!("cargo:rerun-if-changed={}", header.display());
    let (_, definition) = text.split_once("#define TORCH_VERSION ")?;
    definition.split('"').nth(1).map(str::to_owned)
}

/// The short hash of the commit, with `-dirty` where tracked files differ from it.
fn git_commit() -> Option<String> {
    // A copy of the sources inside some other project's repository is not a commit of that one.
    if !git(&["rev-parse", "--show-cdup"])?.is_empty() {
        return None;
    }
    watch_git();
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    let changes = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let mark = if changes.is_empty() { "" } else { "-dirty" };
    Some(hash + mark)
}

/// Reruns this script when HEAD moves. HEAD's log grows with every move, in worktrees and with
/// packed refs too; only where none is kept are the refs themselves looked at. The index is left
/// out: a mere `git status` may rewrite it.
fn watch_git() {
    if !watch_git_path("logs/HEAD") {
        watch_git_path("refs");
        watch_git_path("packed-refs");
    }
    watch_git_path("HEAD");
}

/// A missing file would count as changed every time: it is left out, and the answer is false.
fn watch_git_path(name: &str) -> bool {
    let path = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists());
    if let Some(path) = &path {
        println!("cargo:rerun-if-changed={path}");
    }
    path.is_some()
}

/// With any file named, cargo watches the named ones alone; `-dirty` can change with these.
fn watch_sources() {
    for path in ["build.rs", "Cargo.toml", "Cargo.lock", "src"] {
        println!("cargo:rerun-if-changed={path}");
    }
}

/// What git prints, without the line's end; none when there is no git or it fails.
fn git(args: &[&str]) -> Option<String> {
    // Without optional locks `git status` does not write the index behind the user's back.
    let output = Command::new("git").arg("--no-optional-locks").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

fn rustc_version() -> Result<String, Box<dyn Error>> {
    let rustc = env::var("RUSTC")?;
    let output = Command::new(&rustc)
        .arg("--version")
        .output()
        .map_err(|error| format!("cannot run {rustc} --version: {error}"))?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
