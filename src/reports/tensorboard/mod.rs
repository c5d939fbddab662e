//! Curves as TensorBoard reads them: event files of scalars.
//!
//! A file is a sequence of records (TensorFlow's TFRecord): the length of the data as 8 bytes, its checksum, the data,
//! and their checksum, little-endian; the data are an `Event` of TensorFlow's event.proto. A checksum is the CRC-32C,
//! rotated right by 15 bits, plus 0xa282ead8.
//!
//! What a file has is a function of the rows alone, point by point: made while they are written it has the bytes that it
//! has when it is made of all of them afterwards.

mod files;

use std::collections::BTreeMap;

use prost::Message;

use crate::base::statistics::mean_and_sd;
use crate::run::curves::CurveRow;
pub use files::EventFiles;

/// A point of a run.
#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    /// Of the first one alone.
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(string, tag = "1")]
    tag: String,
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A column of `curves.csv`.
type Column = (&'static str, fn(&CurveRow) -> Option<f64>);

/// Those that are shown, under names that TensorBoard groups by what stands before the slash.
const COLUMNS: [Column; 7] = [
    ("loss/training", |row| Some(row.loss)),
    ("loss/validation", |row| row.val_loss),
    ("accuracy/training", |row| row.accuracy),
    ("accuracy/validation", |row| row.val_accuracy),
    ("accuracy/validation sequences", |row| row.val_sequence_accuracy),
    ("optimizer/learning rate", |row| Some(row.learning_rate)),
    ("optimizer/gradient norm", |row| row.grad_norm),
];

/// What is shown of several replicas together: the name of its run in TensorBoard, and how many standard deviations it
/// lies above the mean.
const TOGETHER: [(&str, f64); 3] = [("mean", 0.0), ("mean plus sd", 1.0), ("mean minus sd", -1.0)];

/// The names in TensorBoard of the runs of so many replicas: their own and, where there are several, that of their mean
/// and of one standard deviation on either side of it.
fn names(replicas: usize) -> Vec<String> {
    let own = (0..replicas).map(|replica| format!("replica-{replica}"));
    let together = TOGETHER.iter().filter(|_| replicas > 1).map(|(name, _)| (*name).to_owned());
    own.chain(together).collect()
}

/// The records of `rows`, by [`names`]. Times are seconds in the training loop.
fn records(rows: &[CurveRow], replicas: usize) -> Vec<(String, Vec<u8>)> {
    let mut own: Vec<Vec<Point>> = vec![Vec::new(); replicas];
    for row in rows {
        if let Some(points) = own.get_mut(row.replica) {
            points.push((row.step, row.seconds, values(row)));
        }
    }
    let together = TOGETHER.iter().filter(|_| replicas > 1);
    let together = together.map(|(_, deviations)| together_at(rows, *deviations));
    names(replicas).into_iter().zip(own.into_iter().chain(together).map(points)).collect()
}

/// The values of a row, by their names.
fn values(row: &CurveRow) -> Vec<(&'static str, f64)> {
    COLUMNS.iter().filter_map(|(name, value)| Some((*name, value(row)?))).collect()
}

/// A step, its time, and its values by their names.
type Point = (i64, f64, Vec<(&'static str, f64)>);

/// The mean over the replicas at each step, and so many standard deviations above it. What is not finite in a
/// replica is left out.
fn together_at(rows: &[CurveRow], deviations: f64) -> Vec<Point> {
    let mut steps: BTreeMap<i64, Vec<&CurveRow>> = BTreeMap::new();
    rows.iter().for_each(|row| steps.entry(row.step).or_default().push(row));
    let point = |(step, rows): (i64, Vec<&CurveRow>)| {
        let value = |(name, value): &Column| {
            let of_replicas = rows.iter().filter_map(|row| value(row));
            let finite: Vec<f64> = of_replicas.filter(|x| x.is_finite()).collect();
            let (mean, sd) = mean_and_sd(&finite)?;
            Some((*name, mean + deviations * sd.unwrap_or(0.0)))
        };
        let seconds = rows.iter().map(|row| row.seconds).fold(0.0, f64::max);
        (step, seconds, COLUMNS.iter().filter_map(value).collect())
    };
    steps.into_iter().map(point).collect()
}

/// What an event file begins with.
fn head() -> Vec<u8> {
    record(&Event { file_version: Some("brain.Event:2".to_owned()), ..Event::default() })
}

/// The records of `points`.
fn points(points: impl IntoIterator<Item = Point>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (step, wall_time, values) in points {
        let scalar = |(tag, value): (&str, f64)| Scalar {
            tag: tag.to_owned(),
            simple_value: Some(value as f32),
        };
        let summary = Some(Summary { value: values.into_iter().map(scalar).collect() });
        bytes.extend(record(&Event { wall_time, step, summary, file_version: None }));
    }
    bytes
}

fn record(event: &Event) -> Vec<u8> {
    let data = event.encode_to_vec();
    let length = (data.len() as u64).to_le_bytes();
    let checksum =
        |of: &[u8]| crc32c::crc32c(of).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes();
    [&length[..], &checksum(&length), &data, &checksum(&data)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(replica: usize, step: i64, loss: f64) -> CurveRow {
        CurveRow {
            seed: replica as u64 + 1,
            accuracy: Some(0.0),
            learning_rate: 0.5,
            seconds: 2.0 * step as f64,
            ..CurveRow::of_loss(replica, step, loss)
        }
    }

    /// The events of a file, whose checksums are right.
    fn events(mut bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let event = Event::decode(&bytes[12..12 + length]).unwrap();
            assert!(record(&event) == bytes[..length + 16]);
            events.push(event);
            bytes = &bytes[length + 16..];
        }
        events
    }

    fn values_of(event: &Event) -> Vec<(String, f32)> {
        let scalars = event.summary.iter().flat_map(|summary| &summary.value);
        scalars.map(|scalar| (scalar.tag.clone(), scalar.simple_value.unwrap())).collect()
    }

    #[test]
    fn a_replica_has_what_its_rows_have_and_zeros_are_written() {
        let files = records(&[row(0, 1, 3.0), row(0, 2, 2.0)], 1);
        assert_eq!(files.len(), 1);
        let found = events(&[head(), files[0].1.clone()].concat());
        assert_eq!((files[0].0.as_str(), found.len()), ("replica-0", 3));
        assert_eq!(found[0].file_version.as_deref(), Some("brain.Event:2"));
        assert_eq!((found[2].step, found[2].wall_time), (2, 4.0));
        let expected =
            [("loss/training", 2.0), ("accuracy/training", 0.0), ("optimizer/learning rate", 0.5)];
        assert_eq!(values_of(&found[2]), expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn several_replicas_have_a_mean_and_a_deviation_and_what_diverged_is_left_out() {
        let rows = [row(0, 1, 1.0), row(1, 1, 3.0), row(0, 2, 5.0), row(1, 2, f64::NAN)];
        let files = records(&rows, 2);
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["replica-0", "replica-1", "mean", "mean plus sd", "mean minus sd"]);
        let losses = |file: usize| -> Vec<f32> {
            events(&files[file].1).iter().map(|event| values_of(event)[0].1).collect()
        };
        assert_eq!((losses(2), losses(3)[0]), (vec![2.0, 5.0], 2.0 + 2f32.sqrt()));
        assert!(losses(1)[1].is_nan());
    }

    /// As TensorFlow's own implementation has it, of 32 zeros.
    #[test]
    fn the_checksum_is_crc_32c() {
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }
}
