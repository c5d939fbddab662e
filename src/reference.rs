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
        "echo" => include_str!("../reference/echo.json"),
        "partial-echo-2" => include_str!("../reference/partial-echo-2.json"),
        "partial-echo-4" => include_str!("../reference/partial-echo-4.json"),
        "reverse" => include_str!("../reference/reverse.json"),
        _ => return None,
    };
    match serde_json::from_str(text) {
        Ok(seeds) => Some(seeds),
        Err(e) => unreachable!("the reference of {name}, which the tests read: {e}"),
    }
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
    }
}
