//! What `scripts/plot` makes of `curves.csv`, as far as it needs no matplotlib.

mod common;

use common::python;

#[test]
fn plots_show_what_the_curves_say() {
    python(&["-m", "unittest", "discover", "--start-directory", "scripts"]);
}
