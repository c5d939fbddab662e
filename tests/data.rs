//! The data: what each task asks for, and that a batch is a function of seed, purpose and position
//! alone.

use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;
use seqlab::base::rng::{Purpose, Stream};
use seqlab::config::presets;
use seqlab::config::{Config, Family, TaskKind};
use seqlab::data::batch::{Batch, Sequences};
use seqlab::data::task::Task;

/// So many ids that one from a wrong place is not the right one by chance.
const VOCAB: i64 = 1_000_000;

fn preset(name: &str) -> Config {
    presets::find(name).unwrap().config
}

fn echo(length: usize, n_in: usize, n_out: usize) -> Config {
    valid(Config {
        family: Family::RepeatVector,
        return_sequences: None,
        length: Some(length as i64),
        n_in: n_in as i64,
        n_out: n_out as i64,
        ..preset("echo")
    })
}

fn lag(length: usize, n_in: usize, lag: usize) -> Config {
    let (length, lag) = (Some(length as i64), Some(lag as i64));
    valid(Config { length, n_in: n_in as i64, lag, ..preset("echo-lag") })
}

fn reverse(samples: usize, n_in: usize, n_out: usize) -> Config {
    let (n_in, n_out) = (n_in as i64, n_out as i64);
    valid(Config { samples: Some(samples as i64), n_in, n_out, ..preset("reverse") })
}

/// Sums of numbers of up to `digits` digits: so many to train on, so many held out.
fn addition(digits: usize, samples: usize, held_out: usize) -> Config {
    let config = Config {
        n_in: 2 * digits as i64 + 1,
        n_out: digits as i64 + 1,
        samples: Some(samples as i64),
        evaluation_samples: held_out as i64,
        ..preset("addition-2")
    };
    assert_eq!(config.validate(), Ok(()));
    config
}

fn valid(config: Config) -> Config {
    let config = Config { vocab: VOCAB, id_max: VOCAB - 1, batch_size: 1, ..config };
    assert_eq!(config.validate(), Ok(()));
    config
}

/// A configuration of each task.
fn one_of_each() -> [Config; 4] {
    [echo(25, 6, 4), lag(25, 5, 2), reverse(20, 6, 3), addition(2, 20, 10)]
}

/// One of the tasks that draw fresh data for every epoch: those before the addition.
const FRESH: std::ops::Range<usize> = 0..3;

/// The whole epoch of every replica.
fn epoch(config: &Config, purpose: Purpose, epoch: u64) -> Batch {
    let task = Task::new(config);
    task.epoch(&config.seeds(), purpose, epoch).batch(0..task.samples_per_epoch())
}

fn training(config: &Config, seed: u64, number: u64) -> Batch {
    epoch(&Config { seed: seed as i64, ..config.clone() }, Purpose::Training, number)
}

/// The first `count` ids of a position of the training stream, drawn without the task's help.
fn drawn(config: &Config, seed: u64, position: u64, count: i64) -> Vec<i64> {
    let mut generator = Stream::new(seed, Purpose::Training).at(position);
    (0..count).map(|_| generator.random_range(config.id_min..=config.id_max)).collect()
}

fn rows(ids: &[i64], width: i64) -> Vec<&[i64]> {
    ids.chunks_exact(width as usize).collect()
}

/// Replica `k` of a batch as a batch of its own.
fn replica(batch: &Batch, k: usize) -> Batch {
    let part = |of: &Sequences| -> Sequences {
        let ids = of.ids();
        let size = ids.len() / batch.replicas;
        ids[k * size..(k + 1) * size].to_vec().into()
    };
    Batch {
        replicas: 1,
        size: batch.size,
        source: part(&batch.source),
        decoder_input: batch.decoder_input.as_ref().map(part),
        target: part(&batch.target),
        lengths: None,
    }
}

fn seeds() -> impl Strategy<Value = u64> {
    0..u64::MAX / 4
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn echo_windows_are_stride_one_and_ask_for_their_first_ids(
        seed in seeds(), number in 0..1u64 << 40, n_out in 1..5usize, more_in in 0..4usize,
        more in 1..20usize,
    ) {
        let n_in = n_out + more_in;
        let config = echo(n_in + more, n_in, n_out);
        let sequence = drawn(&config, seed, number, (n_in + more) as i64);
        let batch = training(&config, seed, number);
        prop_assert_eq!(batch.size, more + 1);
        prop_assert_eq!(batch.decoder_input, None);
        let sources: Vec<_> = sequence.windows(n_in).collect();
        prop_assert_eq!(rows(batch.source.ids(), config.n_in), sources.clone());
        let targets: Vec<_> = sources.iter().map(|source| &source[..n_out]).collect();
        prop_assert_eq!(rows(batch.target.ids(), config.n_out), targets);
    }

    #[test]
    fn lag_asks_for_the_id_so_many_steps_before_the_last(
        seed in seeds(), number in 0..1u64 << 40, n_in in 1..7usize, back in 1..9usize,
        more in 1..20usize,
    ) {
        let first = n_in.max(back);
        let length = first + more;
        let config = lag(length, n_in, back);
        let sequence = drawn(&config, seed, number, length as i64);
        let batch = training(&config, seed, number);
        prop_assert_eq!(batch.size, length - first);
        let sources: Vec<_> = (first..length).map(|t| &sequence[t + 1 - n_in..=t]).collect();
        prop_assert_eq!(rows(batch.source.ids(), config.n_in), sources);
        let targets: Vec<_> = (first..length).map(|t| sequence[t - back]).collect();
        prop_assert_eq!(batch.target, targets.into());
    }

    #[test]
    fn reverse_asks_for_the_first_ids_backwards_and_shifts_them_for_the_decoder(
        seed in seeds(), number in 0..1u64 << 40, n_out in 1..6usize, more_in in 0..4usize,
        samples in 1..20usize,
    ) {
        let n_in = n_out + more_in;
        let config = reverse(samples, n_in, n_out);
        let batch = training(&config, seed, number);
        prop_assert_eq!(batch.size, samples);
        let decoder_input = batch.decoder_input.unwrap();
        for (i, source) in rows(batch.source.ids(), config.n_in).into_iter().enumerate() {
            let position = number * samples as u64 + i as u64;
            prop_assert_eq!(source, drawn(&config, seed, position, config.n_in));
            let target: Vec<i64> = (0..n_out).map(|t| source[n_out - 1 - t]).collect();
            prop_assert_eq!(rows(batch.target.ids(), config.n_out)[i], &target);
            let fed = [&[0], &target[..n_out - 1]].concat();
            prop_assert_eq!(rows(decoder_input.ids(), config.n_out)[i], fed);
        }
    }

    #[test]
    fn where_an_epoch_is_cut_changes_nothing(
        seed in seeds(), number in 0..1000u64, which in 0..4usize, size in 1..25usize,
    ) {
        let config = Config { replicas: 3, ..one_of_each()[which].clone() };
        let task = Task::new(&config);
        let seeds = [seed, seed + 1, seed + 2];
        let epoch = task.epoch(&seeds, Purpose::Training, number);
        let samples = task.samples_per_epoch();
        // Last batch first: nothing has to be drawn in order.
        let cut = |first| epoch.batch(first..samples.min(first + size));
        let mut cuts: Vec<Batch> = (0..samples).step_by(size).rev().map(cut).collect();
        cuts.reverse();
        prop_assert_eq!(Batch::concat(&cuts), epoch.batch(0..samples));
    }

    #[test]
    fn data_repeats_and_differs_by_seed_purpose_and_epoch(
        seed in seeds(), number in 0..1u64 << 40, which in FRESH,
    ) {
        use Purpose::{Evaluation, Training, Validation};
        let of = |seed: u64| Config { seed: seed as i64, ..one_of_each()[which].clone() };
        let here = epoch(&of(seed), Training, number);
        prop_assert_eq!(&here, &epoch(&of(seed), Training, number));
        prop_assert_ne!(&here.source, &epoch(&of(seed), Training, number + 1).source);
        prop_assert_ne!(&here.source, &epoch(&of(seed + 1), Training, number).source);
        let validation = epoch(&of(seed), Validation, number).source;
        let evaluation = epoch(&of(seed), Evaluation, number).source;
        prop_assert_ne!(&here.source, &validation);
        prop_assert_ne!(&here.source, &evaluation);
        prop_assert_ne!(&validation, &evaluation);
    }

    #[test]
    fn a_replica_gets_the_data_of_its_own_seed(
        seed in 0..i64::MAX / 4, number in 0..1000u64, which in 0..4usize, replicas in 1..6usize,
    ) {
        let config = Config { seed, replicas: replicas as i64, ..one_of_each()[which].clone() };
        let together = epoch(&config, Purpose::Training, number);
        prop_assert_eq!(together.replicas, replicas);
        for k in 0..replicas {
            let solo = Config { replicas: 1, ..config.clone() };
            let solo = training(&solo, (seed + k as i64) as u64, number);
            prop_assert_eq!(replica(&together, k), solo);
        }
    }

    #[test]
    fn a_reversed_sample_depends_on_no_other(
        seed in seeds(), number in 0..1000u64, i in 0..20usize, more in 0..1000usize,
    ) {
        let config = reverse(20, 6, 3);
        let task = Task::new(&config);
        let seeds = [seed];
        let epoch = task.epoch(&seeds, Purpose::Training, number);
        let (alone, all) = (epoch.batch(i..i + 1), epoch.batch(0..20));
        prop_assert_eq!(alone.source.ids(), rows(all.source.ids(), 6)[i]);
        // Nor, in the first epoch, on how many there are: an evaluation's samples are a prefix of
        // a longer one's.
        let first = training(&config, seed, 0);
        let longer = training(&reverse(20 + more, 6, 3), seed, 0);
        prop_assert_eq!(first.source.ids(), &longer.source.ids()[..20 * 6]);
    }

    #[test]
    fn a_fresh_set_has_at_least_the_samples_asked_for(which in FRESH, samples in 1..500usize) {
        let task = Task::new(&one_of_each()[which]);
        let (epochs, each) = task.fresh_set(Purpose::Evaluation, samples);
        prop_assert!(epochs as usize * each >= samples);
        if which == 2 {
            prop_assert_eq!((epochs, each), (1, samples));
        } else {
            prop_assert_eq!(each, task.samples_per_epoch());
            prop_assert!((epochs as usize - 1) * each < samples);
        }
    }
}

/// The numbers and the answer that `batch`, of one replica, asks for, each question decoded.
fn sums(config: &Config, batch: &Batch) -> Vec<[usize; 3]> {
    let text = |ids: &mut dyn Iterator<Item = &i64>| {
        ids.map(|&id| char::from(b"0123456789+ "[id as usize])).collect::<String>()
    };
    // Spaces stand behind, and nowhere else; a number has no zero in front.
    let number = |digits: &str| {
        let number: usize = digits.parse().unwrap();
        assert_eq!(number.to_string(), digits);
        number
    };
    let decode = |(source, target): (&[i64], &[i64])| {
        let question = text(&mut source.iter().rev());
        let (a, b) = question.trim_end_matches(' ').split_once('+').unwrap();
        let answer = text(&mut target.iter());
        [a, b, answer.trim_end_matches(' ')].map(number)
    };
    let pairs = rows(batch.source.ids(), config.n_in)
        .into_iter()
        .zip(rows(batch.target.ids(), config.n_out));
    pairs.map(decode).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    #[test]
    fn an_addition_asks_for_sums_and_for_no_pair_of_numbers_twice(
        seed in seeds(), digits in 1..6usize, samples in 1..36usize, held_out in 1..20usize,
    ) {
        let config = Config { seed: seed as i64, ..addition(digits, samples, held_out) };
        let all = [
            epoch(&config, Purpose::Training, 0),
            held_out_of(&config, Purpose::Evaluation, held_out),
        ];
        let mut pairs = BTreeSet::new();
        for [a, b, sum] in all.iter().flat_map(|batch| sums(&config, batch)) {
            prop_assert_eq!(a + b, sum);
            prop_assert!(a.max(b) < 10usize.pow(digits as u32));
            prop_assert!(pairs.insert([a.min(b), a.max(b)]), "{} and {} again", a, b);
        }
        prop_assert_eq!(pairs.len(), samples + held_out);
    }

    #[test]
    fn every_epoch_of_an_addition_has_the_same_questions_in_another_order(
        seed in seeds(), number in 0..1u64 << 40,
    ) {
        let config = addition(3, 100, 5);
        let [now, next] = [number, number + 1].map(|n| sums(&config, &training(&config, seed, n)));
        prop_assert_ne!(&now, &next);
        let sorted = |sums: Vec<[usize; 3]>| sums.into_iter().collect::<BTreeSet<_>>();
        prop_assert_eq!(sorted(now.clone()), sorted(next));
        prop_assert_ne!(sorted(now), sorted(sums(&config, &training(&config, seed + 1, number))));
    }

    #[test]
    fn the_questions_held_out_are_the_same_for_every_purpose_and_asked_for_in_part(
        seed in seeds(), few in 1..30usize, epoch in 0..5u64,
    ) {
        let config = Config { seed: seed as i64, ..addition(2, 40, 30) };
        let all = held_out_of(&config, Purpose::Evaluation, 1000);
        prop_assert_eq!(all.size, 30);
        prop_assert_eq!(&all, &held_out_of(&config, Purpose::Validation, 1000));
        let some = held_out_of(&config, Purpose::Validation, few);
        prop_assert_eq!(some.source.ids(), &all.source.ids()[..few * 5]);
        let task = Task::new(&config);
        let other = task.epoch(&[seed], Purpose::Evaluation, epoch).batch(0..30);
        prop_assert_eq!(all, other);
    }
}

/// The fresh set of `samples` for `purpose`.
fn held_out_of(config: &Config, purpose: Purpose, samples: usize) -> Batch {
    let task = Task::new(config);
    let (epochs, each) = task.fresh_set(Purpose::Evaluation, samples);
    assert_eq!(epochs, 1);
    task.epoch(&config.seeds(), purpose, 0).batch(0..each)
}

#[test]
fn numbers_to_add_have_each_number_of_digits_as_often() {
    // So few of each seed that hardly a pair of numbers is left out because it was there before.
    let config = addition(5, 10, 1);
    let (mut lengths, mut last, mut count) = ([0.0; 5], [0.0; 10], 0.0);
    for seed in 0..2000 {
        for [a, b, _] in sums(&config, &training(&config, seed, 0)) {
            for number in [a, b] {
                lengths[number.to_string().len() - 1] += 1.0;
                last[number % 10] += 1.0;
                count += 1.0;
            }
        }
    }
    check_even(&last, "last digits");
    // One in ten of the numbers of a length has a zero in front, which makes it shorter.
    let shares = [0.2222_f64, 0.2, 0.1998, 0.198, 0.18];
    for (length, share) in lengths.into_iter().zip(shares) {
        let off = (length - count * share) / (count * share * (1.0 - share)).sqrt();
        assert!(off.abs() < 6.0, "{lengths:?} of {count}");
    }
}

#[test]
fn no_reversed_sample_occurs_in_two_epochs() {
    let config = reverse(50, 6, 3);
    let mut seen = BTreeSet::new();
    for number in 0..10 {
        let batch = training(&config, 0, number);
        seen.extend(rows(batch.source.ids(), 6).into_iter().map(<[i64]>::to_vec));
    }
    assert_eq!(seen.len(), 500);
}

#[test]
fn presets_have_the_designs_samples_and_id_ranges() {
    // Name, samples of an epoch, n_in, n_out, smallest and largest id.
    let table = [
        ("echo", 20, 6, 6, 0, 98),
        ("partial-echo-2", 21, 5, 2, 0, 98),
        ("partial-echo-4", 21, 5, 4, 0, 98),
        ("partial-echo-4-tuned", 21, 5, 4, 0, 98),
        ("reverse", 100_000, 6, 3, 1, 50),
        ("echo-tutorial", 21, 5, 5, 0, 99),
        ("echo-current", 25, 1, 1, 0, 99),
        ("echo-lag", 20, 5, 1, 0, 99),
        ("echo-lag-no-context", 24, 1, 1, 0, 99),
        ("padded-echo", 1, 5, 5, 0, 49),
        // 0 follows what is echoed.
        ("padded-echo-attention", 1, 5, 5, 0, 50),
        ("reverse-400-40", 3_200, 400, 40, 1, 50),
        ("addition-2", 4_500, 5, 3, 0, 11),
        ("addition-3", 45_000, 7, 4, 0, 11),
    ];
    assert_eq!(presets::names(), table.map(|row| row.0), "a preset without a line in this table");
    for (name, samples, n_in, n_out, id_min, id_max) in table {
        let config = preset(name);
        let task = Task::new(&config);
        assert_eq!(task.samples_per_epoch(), samples, "{name}");
        let mut ids = BTreeSet::new();
        for number in 0..300 {
            let batch = task.epoch(&[9], Purpose::Training, number).batch(0..samples.min(20));
            assert_eq!(batch.source.len(), batch.size * n_in, "{name}");
            assert_eq!(batch.target.len(), batch.size * n_out, "{name}");
            assert_eq!(batch.decoder_input.is_some(), config.family == Family::TeacherForced);
            ids.extend(batch.source.ids().iter().chain(batch.target.ids()).copied());
        }
        assert_eq!(ids, (id_min..=id_max).collect(), "{name}");
    }
}

#[test]
fn the_lag_presets_have_the_designs_samples() {
    let config = preset("echo-lag");
    let sequence = drawn(&config, 3, 8, 25);
    let batch = training(&config, 3, 8);
    for (i, t) in (5..25).enumerate() {
        assert_eq!(rows(batch.source.ids(), 5)[i], &sequence[t - 4..=t]);
        assert_eq!(batch.target.ids()[i], sequence[t - 1]);
    }
    let batch = training(&preset("echo-lag-no-context"), 3, 8);
    assert_eq!((batch.source.ids(), batch.target.ids()), (&sequence[1..], &sequence[..24]));
}

#[test]
fn a_padded_echo_is_the_head_of_its_source_and_zeros() {
    for (n_in, n_out, echoed) in [(5, 5, 2), (3, 7, 3), (6, 1, 1)] {
        let (echoed, samples) = (Some(echoed), Some(30));
        let config = Config { n_in, n_out, echoed, samples, ..preset("padded-echo-attention") };
        let task = Task::new(&valid(config));
        let [first, second] = [0, 1].map(|epoch| {
            let batch = task.epoch(&[9], Purpose::Training, epoch).batch(0..30);
            let sources = rows(batch.source.ids(), n_in);
            let targets = rows(batch.target.ids(), n_out);
            for (source, target) in sources.iter().zip(targets) {
                let head = echoed.unwrap() as usize;
                assert!(target[..head] == source[..head] && !source.contains(&0));
                assert!(target[head..].iter().all(|id| *id == 0));
            }
            batch.source.ids().to_vec()
        });
        assert_ne!(first, second);
    }
}

/// Bound of a χ² statistic: its mean and six standard deviations to either side. Far too even is
/// as wrong as uneven.
fn check_even(counts: &[f64], what: &str) {
    let expected = counts.iter().sum::<f64>() / counts.len() as f64;
    let statistic: f64 = counts.iter().map(|n| (n - expected).powi(2) / expected).sum();
    let freedom = counts.len() as f64 - 1.0;
    let off = (statistic - freedom) / (2.0 * freedom).sqrt();
    assert!(off.abs() < 6.0, "{what}: χ² {statistic:.1} with {freedom} degrees of freedom");
}

#[test]
fn ids_are_uniform_and_independent() {
    for config in [echo(8, 8, 1), lag(9, 8, 1), reverse(2, 4, 1)] {
        let (ids, mut single, mut pairs) = (12i64, vec![0.0; 12], vec![vec![0.0; 144]; 3]);
        let id_min = config.id_min;
        let config = Config { id_max: id_min + ids - 1, replicas: 2, ..config };
        let id = |x: i64| (x - id_min) as usize;
        for number in 0..8000 {
            let [now, next] =
                [2 * number, 2 * number + 1].map(|n| training(&config, 5, n).source.ids().to_vec());
            let other = &now[now.len() / 2..];
            for (i, &x) in now[..now.len() / 2].iter().enumerate() {
                single[id(x)] += 1.0;
                pairs[0][id(x) * 12 + id(now[i + 1])] += f64::from(u8::from(i % 2 == 0));
                pairs[1][id(x) * 12 + id(next[i])] += 1.0;
                pairs[2][id(x) * 12 + id(other[i])] += 1.0;
            }
        }
        let task = config.task;
        check_even(&single, &format!("{task}"));
        for (pairs, of) in pairs.iter().zip(["neighbours", "successive epochs", "two replicas"]) {
            check_even(pairs, &format!("{task}, pairs of {of}"));
        }
    }
}

#[test]
fn concat_joins_samples_within_each_replica() {
    let batch = |size, source: &[i64], fed: &[i64], target: &[i64]| Batch {
        replicas: 2,
        size,
        source: source.to_vec().into(),
        decoder_input: Some(fed.to_vec().into()),
        target: target.to_vec().into(),
        lengths: None,
    };
    let one = batch(1, &[1, 2, 51, 52], &[0, 50], &[3, 53]);
    let two = batch(2, &[4, 5, 6, 7, 54, 55, 56, 57], &[1, 2, 51, 52], &[8, 9, 58, 59]);
    let sources = [1, 2, 4, 5, 6, 7, 51, 52, 54, 55, 56, 57];
    let joined = batch(3, &sources, &[0, 1, 2, 50, 51, 52], &[3, 8, 9, 53, 58, 59]);
    assert_eq!(Batch::concat(&[one.clone(), two.clone()]), joined);
    let unforced = |batch: Batch| Batch { decoder_input: None, ..batch };
    assert_eq!(Batch::concat(&[unforced(one), unforced(two)]), unforced(joined));
}

#[test]
fn only_a_teacher_forced_family_gets_decoder_inputs() {
    let config = Config { family: Family::RepeatVector, feedback: None, ..reverse(4, 6, 3) };
    assert_eq!(config.task, TaskKind::Reverse);
    assert_eq!(training(&config, 0, 0).decoder_input, None);
    let config = Config { family: Family::TeacherForced, id_min: 1, ..echo(25, 6, 4) };
    let batch = training(&config, 0, 0);
    let decoder_input = batch.decoder_input.unwrap();
    for (fed, target) in rows(decoder_input.ids(), 4).into_iter().zip(rows(batch.target.ids(), 4)) {
        assert_eq!(fed, [0, target[0], target[1], target[2]]);
    }
}

/// A task whose samples have lengths of their own.
fn ragged() -> Config {
    Config {
        n_in: 9,
        n_in_min: Some(3),
        n_out: 6,
        n_out_min: Some(2),
        samples: Some(500),
        seed: 5,
        ..presets::find("reverse").unwrap().config
    }
}

#[test]
fn targets_with_lengths_are_the_first_ids_of_their_source_reversed_and_the_end() {
    let config = ragged();
    let batch = training(&config, 5, 0);
    let lengths = batch.lengths.as_ref().unwrap();
    let sources = rows(batch.source.ids(), config.n_in);
    let targets = rows(batch.target.ids(), config.n_out);
    let mut seen = [[0; 10]; 2];
    for (row, (source, target)) in sources.into_iter().zip(targets).enumerate() {
        let [n_in, n_out] = [lengths.source[row], lengths.target[row]].map(|n| n as usize);
        seen[0][n_in] += 1;
        seen[1][n_out] += 1;
        assert!(source[..n_in].iter().all(|id| (1..=50).contains(id)), "{source:?}");
        assert!(source[n_in..].iter().chain(&target[n_out - 1..]).all(|&id| id == 0));
        let said: Vec<i64> = source[..n_out - 1].iter().rev().copied().collect();
        assert_eq!(target[..n_out - 1], said);
    }
    // Seven lengths of sources, two for each of five lengths of targets but for the longest ones.
    assert!(seen[0][3..].iter().all(|&times| times > 40), "{seen:?}");
    assert!(seen[1][2..7].iter().all(|&times| times > 40), "{seen:?}");
    assert_eq!(seen[0][..3], [0; 3]);
}

#[test]
fn lengths_go_with_their_rows_when_batches_are_put_side_by_side() {
    let config = Config { replicas: 2, ..ragged() };
    let task = Task::new(&config);
    let epoch = task.epoch(&config.seeds(), Purpose::Training, 3);
    let parts = [epoch.batch(0..4), epoch.batch(4..9)];
    assert_eq!(Batch::concat(&parts), epoch.batch(0..9));
}
