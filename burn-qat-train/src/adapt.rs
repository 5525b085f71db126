//! Low-rank adapters: which weights get one, and what their sums are rounded to.

mod config;
mod insert;
mod logit_difference;
mod merge_report;
mod table;

pub use config::LoraConfig;
pub use insert::{AdaptedWeight, insert_adapters, round_adapters, unround_adapters};
pub(crate) use insert::{factor_group, has_factors, is_factor};
pub use logit_difference::LogitDifference;
pub use merge_report::{MergeReport, MergedMatrix};
pub use table::AdapterTable;
