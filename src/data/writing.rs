//! How people write the sequences of a task.

use crate::config::TaskKind;
use crate::data::task::addition;

/// A way to write sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writing {
    /// Ids separated by spaces.
    Ids,
    /// Characters: `12+3`, and `15` for its answer.
    Characters,
}

impl Writing {
    /// The way that says most to people.
    pub fn of(task: TaskKind) -> Self {
        if task == TaskKind::Addition { Self::Characters } else { Self::Ids }
    }

    /// A source's ids, written so.
    pub fn source(self, ids: &[i64]) -> String {
        match self {
            Self::Ids => spaced(ids),
            Self::Characters => addition::question_text(ids),
        }
    }

    /// A target's ids, written so.
    pub fn target(self, ids: &[i64]) -> String {
        match self {
            Self::Ids => spaced(ids),
            Self::Characters => addition::answer_text(ids),
        }
    }
}

/// Ids as the CSV files hold them.
pub fn spaced(ids: &[i64]) -> String {
    ids.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}
