//! A series of numbers read from a file: its columns as a model has them, and its windows.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::gaps::fill;
use super::scaling::{Scale, Scaling, scaled};
use super::table::{self, Table, TableFormat, columns_of_numbers};
use super::windows::{Lacking, Parts, Windows};
use crate::base::error::UserError;
use crate::base::input::{quoted, shown};
use crate::config::{Config, Decimal, Missing};
use crate::files::checksum::Checksum;

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SeriesFile {
    /// The field that names it.
    pub field: &'static str,
    /// As the field names it.
    pub path: PathBuf,
    /// Of its bytes.
    #[serde(flatten)]
    pub checksum: Checksum,
    /// Time steps in it.
    pub rows: usize,
    /// Values of the columns that are used that were missing.
    pub missing: usize,
}

/// A series as a model has it.
#[derive(Debug)]
pub struct Series {
    /// How its numbers came from those of the file.
    pub scaling: Scaling,
    /// The file.
    pub file: SeriesFile,
    /// Its windows.
    pub windows: Windows,
    /// `(rows, inputs)`.
    inputs: Vec<f64>,
    /// `(rows, targets)`.
    targets: Vec<f64>,
    /// Columns that are constant in the training part.
    constant: Vec<String>,
}

impl Series {
    /// The series of `config`, scaled by its training part.
    ///
    /// # Errors
    /// A file that cannot be read, see [`Table::read`]; a value that is missing and has none before it;
    /// a part without a window.
    pub fn read(config: &Config) -> Result<Self, UserError> {
        let path = Path::new(config.series.as_deref().unwrap_or_default());
        let (inputs, targets) = columns(config, path)?;
        let columns = Columns::read(config, "series", path, &inputs, &targets)?;
        let parts = Parts::by(config, columns.file.rows);
        let columns = columns.filled(&parts.all(), config.missing.unwrap_or_default())?;
        let scale = |name: &String| Scale::of(name, &columns.of(name)[parts.training.clone()]);
        let scaling = Scaling {
            inputs: inputs.iter().map(scale).collect(),
            targets: targets.iter().map(scale).collect(),
        };
        let constant = columns.table.names.iter().filter(|name| {
            let values = columns.of(name)[parts.training.clone()].iter();
            let mut values = values.filter(|value| !value.is_nan());
            values.next().is_some_and(|first| values.all(|value| value == first))
        });
        let constant = constant.cloned().collect();
        Ok(Self { constant, ..Self::cut(config, &columns, scaling, parts.used())? })
    }

    /// The series in the file `path`, scaled by `scaling`: all of it is evaluated on.
    ///
    /// # Errors
    /// As [`Series::read`].
    pub fn of_test(config: &Config, scaling: Scaling, path: &Path) -> Result<Self, UserError> {
        let [inputs, targets] = [&scaling.inputs, &scaling.targets].map(|scales| names(scales));
        let columns = Columns::read(config, "test", path, &inputs, &targets)?;
        let all = 0..columns.file.rows;
        let columns =
            columns.filled(std::slice::from_ref(&all), config.missing.unwrap_or_default())?;
        Self::cut(config, &columns, scaling, [None, None, Some(all)])
    }

    /// The windows of `columns` in each of `parts` that is asked for.
    fn cut(
        config: &Config,
        columns: &Columns,
        scaling: Scaling,
        parts: [Option<Range<usize>>; 3],
    ) -> Result<Self, UserError> {
        let [inputs, targets] = [&scaling.inputs, &scaling.targets].map(|of| columns.rows(of));
        let [inputs, targets] = [inputs?, targets?];
        let read = Lacking::of(&inputs, scaling.inputs.len());
        let said = Lacking::of(&targets, scaling.targets.len());
        let windows = Windows::cut(config, parts, |width, first| {
            read.is_whole(width.source(first)) && said.is_whole(width.target(first))
        });
        let (file, constant) = (columns.file.clone(), Vec::new());
        let windows = windows.map_err(|none| none.in_file(&columns.name, file.rows, "rows"))?;
        Ok(Self { scaling, file, windows, inputs, targets, constant })
    }

    /// The columns that are constant in the training part.
    pub fn constant(&self) -> &[String] {
        &self.constant
    }

    /// What the model reads of the window that begins with row `first`: `(n_in, inputs)`.
    pub fn source(&self, first: u32) -> &[f64] {
        rows(&self.inputs, self.windows.width.source(first as usize), self.scaling.inputs.len())
    }

    /// What it is to say: `(n_out, targets)`.
    pub fn target(&self, first: u32) -> &[f64] {
        rows(&self.targets, self.windows.width.target(first as usize), self.scaling.targets.len())
    }

    /// Every target's last value before the window's target, `(targets)`; 0, its mean, if it has none.
    pub fn last_known(&self, first: u32) -> Vec<f64> {
        let width = self.scaling.targets.len();
        let before = &self.targets[..(first as usize + self.windows.width.n_in) * width];
        let last = |target: usize| {
            let values = before.iter().skip(target).step_by(width).rev();
            values.copied().find(|value| !value.is_nan()).unwrap_or(0.0)
        };
        (0..width).map(last).collect()
    }
}

/// The last `n_in` rows of the file `path`, `(n_in, inputs)`, as the model of a run of `config` with
/// this scaling reads them.
///
/// # Errors
/// As [`Series::read`], and if the file has fewer rows.
pub fn last_source(config: &Config, scaling: &Scaling, path: &Path) -> Result<Vec<f64>, UserError> {
    let inputs = names(&scaling.inputs);
    let columns = Columns::read(config, "source_file", path, &inputs, &[])?;
    let (length, n_in) = (columns.file.rows, config.n_in as usize);
    let columns =
        columns.filled(std::slice::from_ref(&(0..length)), config.missing.unwrap_or_default())?;
    if length < n_in {
        let error = format!("{}: {length} rows: the model reads {n_in}", columns.name);
        return Err(UserError::usage(error));
    }
    let all = columns.rows(&scaling.inputs)?;
    let source = rows(&all, length - n_in..length, inputs.len());
    if source.iter().any(|number| number.is_nan()) {
        let error = format!("{}: a value is missing in its last {n_in} rows", columns.name);
        return Err(UserError::usage(error).hint("the run leaves out windows that lack a value"));
    }
    Ok(source.to_vec())
}

/// How the file `path` of a series of `config` is read.
pub fn format(config: &Config, path: &Path) -> TableFormat {
    TableFormat {
        separator: config.separator_of(path),
        decimal: config.decimal.unwrap_or(Decimal::Point),
        missing: config.missing.unwrap_or(Missing::Refuse),
    }
}

/// The columns of the file `path` that are read and those that are forecast, in `config`, or where it
/// does not say: all that hold numbers are read, and all that are read are forecast.
///
/// # Errors
/// A list of names that is none, and a file that cannot be read.
pub fn columns(config: &Config, path: &Path) -> Result<(Vec<String>, Vec<String>), UserError> {
    let given = |flag: &str, list: &Option<String>| {
        let read = |list: &String| {
            table::names(list)
                .map_err(|e| UserError::usage(format!("{flag} {}: {e}", quoted(list))))
        };
        list.as_ref().map(read).transpose()
    };
    let targets = given("--targets", &config.targets)?;
    let inputs = match given("--inputs", &config.inputs)? {
        Some(inputs) => inputs,
        None => columns_of_numbers(path, format(config, path))?,
    };
    Ok((inputs.clone(), targets.unwrap_or(inputs)))
}

fn names(scales: &[Scale]) -> Vec<String> {
    scales.iter().map(|scale| scale.column.clone()).collect()
}

fn rows(numbers: &[f64], rows: Range<usize>, width: usize) -> &[f64] {
    &numbers[rows.start * width..rows.end * width]
}

/// The columns of a file that are used, in its own units.
struct Columns {
    /// The file, as messages call it.
    name: String,
    file: SeriesFile,
    table: Table,
}

impl Columns {
    /// Those called `inputs` and `targets` of the file `path`, which `field` names.
    fn read(
        config: &Config,
        field: &'static str,
        path: &Path,
        inputs: &[String],
        targets: &[String],
    ) -> Result<Self, UserError> {
        let others = targets.iter().filter(|target| !inputs.contains(target));
        let names: Vec<String> = inputs.iter().chain(others).cloned().collect();
        let table = Table::read(path, &names, format(config, path))?;
        let missing = table.columns.iter().flatten().filter(|value| value.is_nan()).count();
        let (path, checksum) = (path.to_owned(), table.file);
        let name = shown(&path);
        let file = SeriesFile { field, path, checksum, rows: table.rows(), missing };
        Ok(Self { name, file, table })
    }

    /// The same with what stands in for missing values.
    fn filled(mut self, parts: &[Range<usize>], how: Missing) -> Result<Self, UserError> {
        for (name, values) in self.table.names.iter().zip(&mut self.table.columns) {
            fill(values, parts, how).map_err(|row| {
                // The header comes before, and every row is a line.
                let (line, column) = (row + 2, quoted(name));
                let file = &self.name;
                let error = format!(
                    "{file}, line {line}, column '{column}': expected a number, found no value, and \
                     none stands before it"
                );
                UserError::usage(error).hint("begin the file where the column has its first value")
            })?;
        }
        Ok(self)
    }

    /// The column called `name`.
    fn of(&self, name: &str) -> &[f64] {
        let place = self.table.names.iter().position(|column| column == name);
        place.map_or(&[], |place| &self.table.columns[place])
    }

    /// The columns of `scales` as a model has them, `(rows, columns)`.
    ///
    /// # Errors
    /// A number that is then out of the range of float32.
    fn rows(&self, scales: &[Scale]) -> Result<Vec<f64>, UserError> {
        let columns: Vec<&[f64]> = scales.iter().map(|scale| self.of(&scale.column)).collect();
        let numbers =
            (0..self.file.rows).flat_map(|row| columns.iter().map(move |column| column[row]));
        let numbers = scaled(&numbers.collect::<Vec<f64>>(), scales, Scale::to_model);
        let wide = numbers.iter().position(|number| number.abs() > f64::from(f32::MAX));
        match wide {
            None => Ok(numbers),
            Some(place) => {
                let (row, scale) = (place / scales.len(), &scales[place % scales.len()]);
                let Scale { column, deviation, .. } = scale;
                let (line, column) = (row + 2, quoted(column));
                Err(UserError::usage(format!(
                    "{}, line {line}, column '{column}': too far from the others: divided by their \
                     deviation, {deviation:e}, it is out of the range of float32",
                    self.name
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;

    use super::*;
    use crate::base::error::describe;
    use crate::base::rng::Purpose;
    use crate::config::{LossKind, TaskKind, presets};

    /// A folder with a file of `rows` lines, each by `line` of its number, and its configuration.
    fn series(rows: usize, line: impl Fn(usize) -> String) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let mut text = "a,b\n".to_owned();
        (0..rows).for_each(|row| writeln!(text, "{}", line(row)).unwrap());
        fs::write(&path, text).unwrap();
        let config = Config {
            task: TaskKind::Series,
            loss: LossKind::Mse,
            series: Some(path.to_str().unwrap().to_owned()),
            inputs: Some("a,b".to_owned()),
            targets: Some("b".to_owned()),
            validation_fraction: Some(0.2),
            test_fraction: Some(0.2),
            n_in: 3,
            n_out: 2,
            ..presets::find("reverse").unwrap().config
        };
        (folder, config)
    }

    fn told(config: &Config) -> String {
        describe(&Series::read(config).unwrap_err().into())
    }

    /// The values of a window in the file's units: its source's and its target's.
    fn window(series: &Series, first: u32) -> [Vec<f64>; 2] {
        let Scaling { inputs, targets } = &series.scaling;
        let values = |numbers, scales| scaled(numbers, scales, Scale::to_file);
        let values = [values(series.source(first), inputs), values(series.target(first), targets)];
        values.map(|values| values.iter().map(|value| value.round()).collect())
    }

    #[test]
    fn a_window_has_the_inputs_and_then_the_targets() {
        let (_folder, config) = series(20, |row| format!("{row},{}", 100 + row * row));
        let series = Series::read(&config).unwrap();
        let of = |purpose| series.windows.of(purpose).to_vec();
        assert_eq!(of(Purpose::Training), (0..=7).collect::<Vec<u32>>());
        // Rows 12 to 15 and 16 to 19, as targets.
        assert_eq!(of(Purpose::Validation), [9, 10, 11]);
        assert_eq!(of(Purpose::Evaluation), [13, 14, 15]);
        let [source, target] = window(&series, 13);
        assert_eq!(source, [13.0, 269.0, 14.0, 296.0, 15.0, 325.0]);
        assert_eq!(target, [356.0, 389.0]);
        let last = scaled(&series.last_known(13), &series.scaling.targets, Scale::to_file);
        assert_eq!(last[0].round(), 325.0);
        assert_eq!(series.file.rows, 20);
    }

    #[test]
    fn nothing_but_the_training_part_is_scaled_by() {
        let value = |row: usize| ((row * 7) % 5) as f64;
        let (_folder, config) = series(20, |row| format!("{0},{0}", value(row)));
        let training: Vec<f64> = (0..12).map(value).collect();
        let scaling = Series::read(&config).unwrap().scaling;
        assert_eq!(scaling.inputs[0], Scale::of("a", &training));
        // Whatever comes later.
        let later = |row: usize| if row < 12 { value(row) } else { 1e6 * row as f64 };
        let (_folder, config) = series(20, |row| format!("{0},{0}", later(row)));
        assert_eq!(Series::read(&config).unwrap().scaling, scaling);
        // Nor is what is missing at its end drawn to what comes later.
        let gap = |row: usize| if row == 11 { "NA".to_owned() } else { later(row).to_string() };
        let (_folder, config) = series(20, |row| format!("{0},{0}", gap(row)));
        let config = Config { missing: Some(Missing::Interpolate), ..config };
        let read = Series::read(&config).unwrap();
        let repeated = [&training[..11], &training[10..11]].concat();
        assert_eq!(read.scaling.inputs[0], Scale::of("a", &repeated));
        assert_eq!(read.file.missing, 2);
    }

    #[test]
    fn windows_that_lack_a_value_are_left_out() {
        let line = |row: usize| match row {
            2 => ",2".to_owned(),
            8 => "8,".to_owned(),
            _ => format!("{row},{row}"),
        };
        let (_folder, config) = series(20, line);
        let skipping = Config { missing: Some(Missing::SkipWindows), ..config.clone() };
        let read = Series::read(&skipping).unwrap();
        // Row 2 is a source's in windows 0 to 2; row 8 in 6 and 7, and a target's in 4 and 5.
        assert_eq!(read.windows.of(Purpose::Training), [3]);
        assert_eq!(read.windows.of(Purpose::Validation), [9, 10, 11]);
        let known = scaled(&read.last_known(6), &read.scaling.targets, Scale::to_file);
        assert_eq!(known[0].round(), 7.0, "the last value that there is");
        assert!(told(&config).contains("line 4, column 'a': expected a number, found no value"));
    }

    #[test]
    fn what_cannot_be_cut_or_filled_is_refused() {
        let (_folder, config) = series(20, |row| format!("{row},{row}"));
        let wide = Config { n_in: 11, ..config.clone() };
        assert!(
            told(&wide).contains("no window of 11 + 2 rows (--n-in, --n-out) is in the training")
        );
        let ahead = Config { n_out: 5, ..config.clone() };
        assert!(told(&ahead).contains("is in the validation part, 4 of its 20 rows\nhint: lower"));
        let wrong = Config { targets: Some("c".to_owned()), ..config };
        assert!(told(&wrong).contains("line 1: no column 'c'"));
        let (_folder, config) = series(20, |row| if row == 0 { ",0".into() } else { "1,1".into() });
        let previous = Config { missing: Some(Missing::Previous), ..config.clone() };
        assert!(
            told(&previous).contains("line 2, column 'a': expected a number, found no value, and")
        );
        let line = Config { missing: Some(Missing::Interpolate), ..config };
        assert!(Series::read(&line).is_ok());
        let far = |row: usize| if row < 12 { (row % 2) as f64 * 1e-30 } else { 1e30 };
        let (_folder, config) = series(20, |row| format!("{},1", far(row)));
        assert!(told(&config).contains("line 14, column 'a': too far from the others"));
    }

    #[test]
    fn a_constant_series_is_scaled_by_one() {
        let (_folder, config) = series(20, |_| "0.1,3".to_owned());
        let read = Series::read(&config).unwrap();
        assert_eq!(read.constant(), ["a", "b"]);
        assert!(read.source(0).iter().chain(read.target(0)).all(|number| *number == 0.0));
    }

    #[test]
    fn another_file_is_scaled_as_the_run_was() {
        let (_folder, config) = series(20, |row| format!("{row},{row}"));
        let scaling = Series::read(&config).unwrap().scaling;
        let (folder, _) = series(6, |row| format!("{},{}", row + 100, row + 200));
        let path = folder.path().join("t.csv");
        let test = Series::of_test(&config, scaling.clone(), &path).unwrap();
        assert_eq!(test.windows.of(Purpose::Evaluation), [0, 1]);
        assert_eq!(window(&test, 1)[1], [204.0, 205.0]);
        let source = last_source(&config, &scaling, &path).unwrap();
        let source = scaled(&source, &scaling.inputs, Scale::to_file);
        let source: Vec<f64> = source.iter().map(|value| value.round()).collect();
        assert_eq!(source, [103.0, 203.0, 104.0, 204.0, 105.0, 205.0]);
        let long = Config { n_in: 7, ..config };
        let error = last_source(&long, &scaling, &path).unwrap_err();
        assert!(error.to_string().ends_with("t.csv: 6 rows: the model reads 7"), "{error}");
    }
}
