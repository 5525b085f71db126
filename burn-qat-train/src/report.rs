//! What a run shows at its end: a table, a plot, and a page with both.

mod html;
mod plot;
mod table;

pub use html::HtmlReport;
pub use plot::{Curve, loss_plot};
pub use table::{ResultRow, ResultTable};
