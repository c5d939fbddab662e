//! Independent measurements of the published experiments: the same mathematics in JAX, with Keras's
//! initialisers and hard sigmoid gates, seed by seed.

use serde::Deserialize;

/// What one seed came to.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Seed {
    /// Mean loss of the last 20 epochs, or of the only one.
    pub loss: f64,
    /// Mean token accuracy, likewise.
    pub accuracy: f64,
    /// Token accuracy on fresh sequences.
    pub token_accuracy: f64,
    /// Share of fresh sequences that are right as a whole.
    pub sequence_accuracy: f64,
}

/// The seeds of the preset called `name`; `None` if it was not measured.
pub fn find(name: &str) -> Option<Vec<Seed>> {
    let text = match name {
        "echo" => include_str!("echo.json"),
        "partial-echo-2" => include_str!("partial-echo-2.json"),
        "partial-echo-4" => include_str!("partial-echo-4.json"),
        "reverse" => include_str!("reverse.json"),
        _ => return None,
    };
    Some(parse(name, text))
}

/// The seeds of the preset called `name` in a second implementation, which `scripts/reference.py` has the source
/// of; `None` if there is none.
pub fn again(name: &str) -> Option<Vec<Seed>> {
    (name == "reverse").then(|| parse(name, include_str!("reverse-again.json")))
}

fn parse(name: &str, text: &str) -> Vec<Seed> {
    serde_json::from_str(text)
        .unwrap_or_else(|e| unreachable!("the reference of {name}, which the tests read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_whole() {
        let seeds = |name| find(name).unwrap().len();
        let names = ["echo", "partial-echo-2", "partial-echo-4", "reverse"];
        assert_eq!(names.map(seeds), [20, 10, 6, 10]);
        assert_eq!(find("echo-lag"), None);
        assert_eq!(again("reverse").map(|seeds| seeds.len()), Some(20));
        assert_eq!(again("echo"), None);
    }
}
