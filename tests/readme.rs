//! What README says of one's own data, run as it stands.

mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use common::{Lab, PROGRAM};

/// The shell blocks of the section `heading` of README.
fn blocks(heading: &str) -> Vec<String> {
    let readme = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md"));
    let section = readme.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let blocks = section.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn the_examples_of_own_data_run_as_they_stand() {
    let lab = Lab::new();
    std::fs::create_dir(lab.path("bin")).unwrap();
    symlink(PROGRAM, lab.path("bin/seqlab")).unwrap();
    let path = format!("{}:{}", lab.path("bin").display(), std::env::var("PATH").unwrap());
    let blocks = blocks("Your own data");
    assert_eq!(blocks.len(), 4);
    let mut printed = Vec::new();
    for block in blocks {
        let mut shell = Command::new("bash");
        shell.args(["-euc", &block]).current_dir(lab.path("."));
        shell.env("PATH", &path).env("CUDA_VISIBLE_DEVICES", "-1");
        let output = shell.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{block}\n{said}");
        printed.push(String::from_utf8(output.stdout).unwrap());
    }
    // A word that was never trained on.
    assert!(printed[0].ends_with("\ne f a c d a b\n"), "{}", printed[0]);
    // Six hours of temperatures, under the column's name.
    let forecast: Vec<&str> = printed[1].lines().rev().take(7).collect();
    assert_eq!(forecast[6], "temperature", "{}", printed[1]);
    for hour in &forecast[..6] {
        assert!((0.0..30.0).contains(&hour.parse::<f64>().unwrap()), "{}", printed[1]);
    }
    assert!(printed[2].contains("100"), "{}", printed[2]);
    // Six ids behind the end of the file.
    let said: Vec<&str> = printed[3].lines().last().unwrap().split(' ').collect();
    assert!(said.len() == 6 && said.iter().all(|id| "1234567".contains(id)), "{}", printed[3]);
    for run in ["words", "weather", "sorted", "numbers"] {
        assert!(lab.path(&format!("runs/{run}/summary.json")).exists());
    }
}
