//! Words that a misspelt one may stand for.

/// The first of `names` that `word` is as good as spelled like, if there is one: few letters differ,
/// or it is the beginning or the end of the name.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = plain(word);
    let distance = |name: &'a str| {
        let whole = plain(name);
        let part = word.len() > 2 && (whole.starts_with(&word) || whole.ends_with(&word));
        let letters = strsim::osa_distance(&word, &whole);
        (part || letters * LETTERS <= word.len()).then_some((letters, name))
    };
    let near = names.into_iter().filter_map(distance);
    near.min_by_key(|(letters, _)| *letters).map(|(_, name)| name)
}

/// One letter in so many may differ.
const LETTERS: usize = 4;

/// `word` with neither hyphens nor capitals.
fn plain(word: &str) -> String {
    word.to_lowercase().replace(['-', '_'], "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_suggested() {
        let names = ["units", "beta-1", "batch-size", "learning-rate", "global-clipnorm", "out"];
        for (word, near) in [
            ("unit", Some("units")),
            ("untis", Some("units")),
            ("batchsize", Some("batch-size")),
            ("Batch_Size", Some("batch-size")),
            ("learnign-rate", Some("learning-rate")),
            ("clipnorm", Some("global-clipnorm")),
            ("beta", Some("beta-1")),
            ("beam", None),
            ("o", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names), near, "{word}");
        }
    }
}
