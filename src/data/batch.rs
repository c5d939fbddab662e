//! The samples of one optimiser step.

/// What every sample has at each of T time steps, replica-major, padded at the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Sequences {
    /// `(R, B, T)`: ids.
    Ids(Vec<i64>),
    /// Numbers.
    Numbers {
        /// `(R, B, T, features)`.
        values: Vec<f64>,
        /// How many numbers a time step has.
        features: usize,
    },
}

impl Sequences {
    /// The ids; none of numbers.
    pub fn ids(&self) -> &[i64] {
        match self {
            Self::Ids(ids) => ids,
            Self::Numbers { .. } => &[],
        }
    }

    /// The numbers; none of ids.
    pub fn numbers(&self) -> &[f64] {
        match self {
            Self::Ids(_) => &[],
            Self::Numbers { values, .. } => values,
        }
    }

    /// Row `row` of `rows`, without the padding behind `steps` time steps; `None`: it has none.
    pub fn row(&self, row: usize, rows: usize, steps: Option<usize>) -> Steps<'_> {
        match self {
            Self::Ids(ids) => Steps::Ids(part(ids, row, rows, steps)),
            Self::Numbers { values, features } => {
                Steps::Numbers(part(values, row, rows, steps.map(|steps| steps * features)))
            }
        }
    }

    /// How many ids or numbers.
    pub fn len(&self) -> usize {
        self.ids().len() + self.numbers().len()
    }

    /// How many of them a time step has.
    pub fn features(&self) -> usize {
        match *self {
            Self::Ids(_) => 1,
            Self::Numbers { features, .. } => features,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those of several batches of `replicas` replicas side by side.
    fn concat(all: &[&Self], replicas: usize) -> Self {
        if let Some(&&Self::Numbers { features, .. }) = all.first() {
            let values: Vec<&[f64]> = all.iter().map(|part| part.numbers()).collect();
            return Self::Numbers { values: side_by_side(&values, replicas), features };
        }
        let ids: Vec<&[i64]> = all.iter().map(|part| part.ids()).collect();
        Self::Ids(side_by_side(&ids, replicas))
    }
}

/// The first `most` of row `row` of `rows`, or all.
fn part<T>(all: &[T], row: usize, rows: usize, most: Option<usize>) -> &[T] {
    let width = all.len() / rows;
    &all[row * width..][..most.unwrap_or(width)]
}

/// What one sample has at its time steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Steps<'a> {
    /// `(T)`: ids.
    Ids(&'a [i64]),
    /// `(T, features)`: numbers.
    Numbers(&'a [f64]),
}

impl<'a> Steps<'a> {
    /// The ids; none of numbers.
    pub fn ids(self) -> &'a [i64] {
        match self {
            Self::Ids(ids) => ids,
            Self::Numbers(_) => &[],
        }
    }
}

impl From<Vec<i64>> for Sequences {
    fn from(ids: Vec<i64>) -> Self {
        Self::Ids(ids)
    }
}

/// How many time steps each sample has; the rest is padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lengths {
    /// `(R, B)`: of the sources, from 1 to Tin.
    pub source: Vec<i64>,
    /// `(R, B)`: of the targets, from 1 to Tout.
    pub target: Vec<i64>,
}

/// Sources and targets of R replicas × B samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// R.
    pub replicas: usize,
    /// B.
    pub size: usize,
    /// Tin steps each.
    pub source: Sequences,
    /// Tout steps each: what a teacher-forced decoder is fed, the target shifted right behind
    /// [its start](crate::config::Config::start_id) or zeros; `None` for models without such a decoder.
    pub decoder_input: Option<Sequences>,
    /// Tout steps each.
    pub target: Sequences,
    /// `None` where all have Tin and Tout steps.
    pub lengths: Option<Lengths>,
}

impl Batch {
    /// The samples of `batches` side by side: `(R, B₁ + B₂ + …, T)`. All have the same R and T.
    pub fn concat(batches: &[Self]) -> Self {
        let replicas = batches.first().map_or(0, |batch| batch.replicas);
        let join = |field: fn(&Self) -> &Sequences| {
            Sequences::concat(&batches.iter().map(field).collect::<Vec<_>>(), replicas)
        };
        let fed: Option<Vec<&Sequences>> =
            batches.iter().map(|batch| batch.decoder_input.as_ref()).collect();
        let lengths: Option<Vec<&Lengths>> =
            batches.iter().map(|batch| batch.lengths.as_ref()).collect();
        Self {
            replicas,
            size: batches.iter().map(|batch| batch.size).sum(),
            source: join(|batch| &batch.source),
            decoder_input: fed.map(|fed| Sequences::concat(&fed, replicas)),
            target: join(|batch| &batch.target),
            lengths: lengths.map(|all| Lengths {
                source: side_by_side(&of_each(&all, |lengths| &lengths.source), replicas),
                target: side_by_side(&of_each(&all, |lengths| &lengths.target), replicas),
            }),
        }
    }

    /// T of `part`, one of its parts; 0 where it has no rows.
    pub fn steps(&self, part: &Sequences) -> usize {
        let rows = self.replicas * self.size;
        part.len().checked_div(rows * part.features()).unwrap_or(0)
    }

    /// How many time steps replica `replica`'s targets have in all.
    pub fn target_steps(&self, replica: usize, steps: usize) -> usize {
        match &self.lengths {
            Some(lengths) => {
                let own = &lengths.target[replica * self.size..][..self.size];
                own.iter().sum::<i64>() as usize
            }
            None => self.size * steps,
        }
    }
}

fn of_each<'a>(all: &[&'a Lengths], field: fn(&Lengths) -> &Vec<i64>) -> Vec<&'a [i64]> {
    all.iter().map(|lengths| field(lengths).as_slice()).collect()
}

/// Replica by replica, its share of each part.
fn side_by_side<T: Copy>(parts: &[&[T]], replicas: usize) -> Vec<T> {
    let share = |replica: usize| {
        parts.iter().flat_map(move |part| {
            let own = part.len() / replicas;
            &part[replica * own..(replica + 1) * own]
        })
    };
    (0..replicas).flat_map(share).copied().collect()
}
