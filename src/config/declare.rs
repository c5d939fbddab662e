//! What a field of the configuration is, and what follows from its line in `fields.rs`.

use std::fmt;

use toml::{Table, Value};

use super::{CheckpointEvery, DeviceChoice, Invalid, field};
use crate::base::input::quoted;

/// The largest size of anything that is counted in memory: keeps products of sizes within `i64`.
pub const MANY: i64 = 1_000_000;
/// The largest number of anything that is only counted.
pub(super) const COUNT: i64 = 1_000_000_000_000;

/// A field and everything that is declared of it.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name in `config.toml`; its flag has hyphens for underscores.
    pub name: &'static str,
    /// The heading of its section in help.
    pub section: &'static str,
    /// The text above its declaration.
    pub(super) documentation: &'static str,
    /// What it takes, whatever the others are.
    pub takes: Takes,
    /// Whether it may have no value.
    pub optional: bool,
    /// What help calls its value.
    pub value: &'static str,
    /// A shorter name of its flag.
    pub alias: Option<&'static str>,
    /// What it is where nothing says, if help cannot tell from the presets.
    pub left_out: Option<&'static str>,
    /// Whom it is for, if not all.
    pub scope: Option<Scope>,
    /// Whether they cannot do without a value.
    pub needed: bool,
    /// Whether other fields decide what it may be, more closely than `takes` says.
    pub depends: bool,
    /// What is another with another value.
    pub alters: Alters,
    /// Whether it is left out of files where it is at its default, as runs before it were written.
    pub silent: bool,
}

/// What a field takes, whatever the others are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A whole number from the first to the second.
    Whole(i64, i64),
    /// A finite number above 0.
    Positive,
    /// A number from 0 to below 1.
    Fraction,
    /// True or false.
    TrueOrFalse,
    /// One of these words.
    Word(&'static [&'static str]),
    /// Any text but none: a file's name, a column's.
    Text,
    /// A [`DeviceChoice`].
    Device,
    /// A [`CheckpointEvery`].
    CheckpointEvery,
}

/// Whom a field is for: where another field, which takes words, has one of these.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// The other field, as sentences call it.
    noun: &'static str,
    /// Its name.
    pub selector: &'static str,
    /// Its words.
    pub words: &'static [&'static str],
}

/// Where `selector` is one of `words`, and nowhere else.
pub(super) const fn only_for(
    noun: &'static str,
    selector: &'static str,
    words: &'static [&'static str],
) -> Option<Scope> {
    Some(Scope { noun, selector, words })
}

impl fmt::Display for Scope {
    /// Whom the field is for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.noun, listed(self.words, "and"))
    }
}

/// What is another with another value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alters {
    /// No number: where a run is computed, and when it is saved.
    Nothing,
    /// The run, but not the experiment: its seeds, what is measured of it, rounding.
    Run,
    /// The experiment: which model is trained, on what, and how.
    Experiment,
}

/// A type of fields' values.
pub(super) trait FieldKind {
    /// What a field of it takes if its line says nothing else.
    const TAKES: Takes;
    /// Whether it has a value for none.
    const OPTIONAL: bool = false;
}

impl FieldKind for i64 {
    const TAKES: Takes = Takes::Whole(1, MANY);
}
impl FieldKind for f64 {
    const TAKES: Takes = Takes::Positive;
}
impl FieldKind for bool {
    const TAKES: Takes = Takes::TrueOrFalse;
}
impl FieldKind for String {
    const TAKES: Takes = Takes::Text;
}
impl FieldKind for DeviceChoice {
    const TAKES: Takes = Takes::Device;
}
impl FieldKind for CheckpointEvery {
    const TAKES: Takes = Takes::CheckpointEvery;
}
impl<T: FieldKind> FieldKind for Option<T> {
    const TAKES: Takes = T::TAKES;
    const OPTIONAL: bool = true;
}

impl Field {
    /// A field of which only the type is known.
    pub(super) const fn of<T: FieldKind>() -> Self {
        Self {
            name: "",
            section: "",
            documentation: "",
            takes: T::TAKES,
            optional: T::OPTIONAL,
            value: match T::TAKES {
                Takes::Whole(..) => "N",
                Takes::Positive | Takes::Fraction => "X",
                Takes::TrueOrFalse => "BOOL",
                Takes::Word(_) => "WORD",
                Takes::Text => "TEXT",
                Takes::Device => "DEVICE",
                Takes::CheckpointEvery => "STEPS|TIME",
            },
            alias: None,
            left_out: None,
            scope: None,
            needed: false,
            depends: false,
            alters: Alters::Experiment,
            silent: false,
        }
    }

    /// Its flag.
    pub fn flag(self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// What it means, as a line of help.
    pub fn help(self) -> &'static str {
        self.documentation.trim().trim_end_matches('.')
    }

    /// Whether it is for the task, family or whatever it goes by in `values`; one that is not there
    /// is the first that there is, or none where there may be none.
    pub fn applies(self, values: &Table) -> bool {
        let Some(Scope { selector, words, .. }) = self.scope else { return true };
        let left_out = match field(selector).map(|field| (field.takes, field.optional)) {
            Some((Takes::Word([first, ..]), optional)) => (!optional).then_some(*first),
            _ => unreachable!("{selector} takes words"),
        };
        let word = values.get(selector).and_then(Value::as_str).or(left_out);
        word.is_some_and(|word| words.contains(&word))
    }

    /// The value that `text` is on the command line.
    ///
    /// # Errors
    /// If it is none that the field takes.
    pub fn read(self, text: &str) -> Result<Value, Invalid> {
        let value = match self.takes {
            Takes::Whole(..) => text.parse().ok().map(Value::Integer),
            Takes::Positive | Takes::Fraction => text.parse().ok().map(Value::Float),
            Takes::TrueOrFalse => text.parse().ok().map(Value::Boolean),
            Takes::Word(_) | Takes::Text | Takes::Device | Takes::CheckpointEvery => {
                Some(Value::String(text.to_owned()))
            }
        };
        value.filter(|value| self.reads(value)).ok_or_else(|| self.invalid(text))
    }

    /// Finds out whether `value` is of the kind that the field takes; in which range a number is to
    /// be, other fields may tell.
    ///
    /// # Errors
    /// If it is not.
    pub fn check(self, value: &Value) -> Result<(), Invalid> {
        if self.reads(value) {
            return Ok(());
        }
        Err(self.invalid(value.as_str().unwrap_or(&value.to_string())))
    }

    fn reads(self, value: &Value) -> bool {
        match (self.takes, value) {
            (Takes::Whole(..) | Takes::Positive | Takes::Fraction, Value::Integer(_)) => true,
            (Takes::Positive | Takes::Fraction, Value::Float(_)) => true,
            (Takes::TrueOrFalse, Value::Boolean(_)) => true,
            (Takes::Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Takes::Text, Value::String(text)) => !text.is_empty(),
            (Takes::Device, value) => value.clone().try_into::<DeviceChoice>().is_ok(),
            (Takes::CheckpointEvery, value) => value.clone().try_into::<CheckpointEvery>().is_ok(),
            _ => false,
        }
    }

    fn invalid(self, found: &str) -> Invalid {
        Invalid::new(self.name, quoted(found), self.takes.to_string())
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(low, high) => write!(f, "a whole number from {low} to {high}"),
            Self::Positive => f.write_str("a finite number above 0"),
            Self::Fraction => f.write_str("a number from 0 to below 1"),
            Self::TrueOrFalse => f.write_str("true or false"),
            Self::Word(words) => f.write_str(&alternatives(words)),
            Self::Text => f.write_str("a text"),
            Self::Device => f.write_str(DeviceChoice::EXPECTED),
            Self::CheckpointEvery => f.write_str(CheckpointEvery::EXPECTED),
        }
    }
}

/// `words` in a row, the last after "or".
pub fn alternatives(words: &[&str]) -> String {
    listed(words, "or")
}

fn listed(words: &[&str], between: &str) -> String {
    match words {
        [others @ .., last] if !others.is_empty() => {
            format!("{} {between} {last}", others.join(", "))
        }
        _ => words.join(""),
    }
}

/// Whether the field called `name` is left out of files where it is at its default.
pub(super) fn is_silent(name: &str) -> bool {
    field(name).is_some_and(|field| field.silent)
}

/// A value as one writes it, without quotes.
pub fn written(value: &Value) -> String {
    match value {
        Value::Float(number) => format!("{number:?}"),
        Value::String(word) => word.clone(),
        other => other.to_string(),
    }
}

/// Makes [`Config`](super::Config) and [`FIELDS`](super::FIELDS) of the sections of `fields.rs`.
macro_rules! configuration {
    ($($section:literal {
        $(
            $(#[doc = $line:literal])+
            $name:ident: $type:ty $(= $default:expr)?
            $(=> $($says:ident: $what:expr),+)?;
        )+
    })+) => {
        /// Everything that determines a run. `None` means that the field does not apply to the task
        /// or family, or that the option is off.
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(try_from = "Parts")]
        pub struct Config {
            /// The preset that the run started from, or `custom`.
            pub preset: String,
            $($(
                $(#[doc = $line])+
                pub $name: $type,
            )+)+
        }

        /// Every field but `preset`, in the order of [`Config`].
        pub const FIELDS: &[Field] = &[$($(
            Field {
                name: stringify!($name),
                section: $section,
                documentation: concat!($($line),+),
                $($($says: $what,)+)?
                ..Field::of::<$type>()
            },
        )+)+];

        impl Serialize for Config {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                let default = Self::blank();
                // A default that is another than the preset's is read back only if it is written.
                let preset = presets::find(&self.preset).map(|preset| preset.config);
                let preset = preset.unwrap_or_else(Self::blank);
                let mut to = to.serialize_struct("Config", 1 + FIELDS.len())?;
                to.serialize_field("preset", &self.preset)?;
                $($(
                    let name = stringify!($name);
                    let silent = declare::is_silent(name) && preset.$name == default.$name;
                    if self.$name != default.$name || !silent {
                        to.serialize_field(name, &self.$name)?;
                    }
                )+)+
                to.end()
            }
        }

        /// What a file says of a configuration: `None` where it says nothing.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "struct Config")]
        struct Parts {
            #[serde(default, deserialize_with = "said")]
            preset: Option<String>,
            $($(
                #[serde(default, deserialize_with = "said")]
                $name: Option<$type>,
            )+)+
        }

        impl TryFrom<Parts> for Config {
            type Error = String;
            fn try_from(parts: Parts) -> Result<Self, String> {
                let missing = |name: &str| format!("missing field `{name}`");
                Ok(Self {
                    preset: parts.preset.unwrap_or(CUSTOM.to_owned()),
                    $($(
                        $name: parts.$name
                            $(.or(Some($default)))?
                            .ok_or_else(|| missing(stringify!($name)))?,
                    )+)+
                })
            }
        }

        impl Config {
            /// Every field at its default, to start a literal from; what has none is nothing that a
            /// run can have.
            pub(super) fn blank() -> Self {
                Self {
                    preset: CUSTOM.to_owned(),
                    $($($name: declare::or_blank!($($default)?),)+)+
                }
            }
        }
    };
}

/// The default, or what a type has for none.
macro_rules! or_blank {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

pub(super) use {configuration, or_blank};
