//! How people write sequences.

/// A way to write the sequences of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Ids separated by spaces.
    Ids,
    /// For people: in task addition `12+3`, and `15` for its answer.
    Own,
}

/// Ids as the CSV files hold them.
pub fn spaced(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}
