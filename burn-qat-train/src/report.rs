//! What a run shows at its end: a table and a plot.

mod plot;
mod table;

pub use plot::{Curve, loss_plot};
pub use table::{ResultRow, ResultTable};
