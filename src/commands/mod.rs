//! What the commands do, once their arguments are known.
//!
//! Uses everything below, `reports` among it; knows no flag.

mod data;
mod decoding;
mod doctor;
mod evaluate;
mod experiments;
mod export;
mod html;
mod import;
mod initial;
mod inspect;
mod place;
mod predict;
mod report;
mod reproduce;
mod resume;
mod session;
mod signals;
mod study;
mod sweep;
mod train;
mod trained;
mod workers;

pub use data::data;
pub use decoding::{Decoding, WIDEST};
pub use doctor::{doctor, doctor_json};
pub use evaluate::{Evaluate, evaluate};
pub use export::{Export, ExportFormat, ModelFormat, export};
pub use html::{Html, html};
pub use import::{Import, ModelOf, WeightsFormat, import};
pub use initial::Initial;
pub use inspect::{Format, Inspect, inspect};
pub use predict::{Predict, predict};
pub use report::{Report, report};
pub use reproduce::{REPLICAS, Reproduce, reproduce};
pub use resume::{Resume, resume};
pub use study::{Study, study};
pub use sweep::{
    MOST_JOBS, SweepPlan, SweepRun, Tasks, sweep_plan, sweep_report, sweep_run, sweep_slurm,
};
pub use train::{Train, train};
