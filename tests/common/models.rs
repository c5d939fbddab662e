//! Models with every kind of layer, for tests that walk them.

use seqlab::config::{Attention, Config, Family, TaskKind};

/// `config` as it is, and with the layers that its family may have besides.
pub fn with_more_layers(config: &Config) -> Vec<Config> {
    let config = || config.clone();
    // Of a state of zeros nothing can be dropped.
    let recurrent_dropout = if config().n_in > 1 { 0.3 } else { 0.0 };
    let mut all = vec![
        config(),
        Config { embedding: 3, ..config() },
        Config { layers: 2, ..config() },
        Config { layers: 3, embedding: 2, ..config() },
        Config { dropout: 0.4, recurrent_dropout, ..config() },
    ];
    let both_ways = config().family != Family::Lstm && !config().stateful;
    if both_ways {
        all.push(Config { bidirectional: true, ..config() });
        let dropped = Config { dropout: 0.3, recurrent_dropout: 0.2, ..config() };
        all.push(Config { bidirectional: true, layers: 2, embedding: 3, ..dropped });
        all.push(Config { bidirectional: true, layers: 2, embedding: 4, ..config() });
    }
    if config().family == Family::TeacherForced {
        let with = |attention| Config { attention, ..config() };
        all.push(with(Attention::Dot));
        all.push(with(Attention::General));
        let both_ways = Config { bidirectional: true, layers: 2, embedding: 3, ..config() };
        all.push(Config { attention: Attention::Additive, ..both_ways });
    }
    // Rows with lengths of their own.
    if config().task == TaskKind::Reverse && !config().stateful {
        let n_in_min = Some(config().n_out.min(config().n_in));
        let widest = all[all.len() - 1].clone();
        all.push(Config { n_in_min, ..config() });
        all.push(Config { n_in_min, ..widest });
    }
    all
}

/// What tells such a model from others.
#[allow(dead_code)]
pub fn layers_of(config: &Config) -> String {
    let Config { family, layers, bidirectional, embedding, n_in_min, attention, .. } = config;
    let Config { dropout, recurrent_dropout, .. } = config;
    format!(
        "{family}, {layers} layers, bidirectional {bidirectional}, embedding {embedding}, \
         attention {attention}, dropout {dropout} and {recurrent_dropout}, lengths {}",
        n_in_min.is_some()
    )
}
