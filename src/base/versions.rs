//! What this program is and what it is built on.

use std::collections::BTreeMap;

/// The commit that the program was built from; `unknown` outside a checkout.
pub const GIT_COMMIT: &str = env!("SEQLAB_GIT_COMMIT");
/// The libtorch that the program was built with.
pub const LIBTORCH: &str = env!("SEQLAB_LIBTORCH_VERSION");

/// What `--version` prints behind the name.
pub const LONG: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("SEQLAB_GIT_COMMIT"),
    ", libtorch ",
    env!("SEQLAB_LIBTORCH_VERSION"),
    ", ",
    env!("SEQLAB_RUSTC_VERSION"),
    ", ",
    env!("SEQLAB_TARGET"),
    ")"
);

/// Name and version of everything that numbers may depend on.
pub fn all() -> BTreeMap<String, String> {
    let mut versions = BTreeMap::from([
        ("seqlab".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("libtorch".to_owned(), LIBTORCH.to_owned()),
        ("rustc".to_owned(), env!("SEQLAB_RUSTC_VERSION").to_owned()),
    ]);
    if tch::Cuda::is_available() {
        versions.insert("cuda".to_owned(), cuda());
        versions.insert("cudnn".to_owned(), cudnn());
    }
    versions
}

/// The CUDA runtime's version, `13.0` for its number 13000.
pub fn cuda() -> String {
    let number = tch::utils::version_cudart();
    format!("{}.{}", number / 1000, number % 1000 / 10)
}

/// cuDNN's version, `9.20.0` for its number 92000.
pub fn cudnn() -> String {
    let number = tch::utils::version_cudnn();
    format!("{}.{}.{}", number / 10_000, number / 100 % 100, number % 100)
}
