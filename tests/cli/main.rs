//! The examples as users meet them: errors, Ctrl-C and short runs, through their binaries.

mod answers;
mod convert;
mod example;
#[path = "../support/files.rs"]
mod files;
mod generate;
#[path = "../support/golden.rs"]
mod golden;
mod interruptions;
mod lost_runs;
mod recipe;
mod recipes;
mod refusals;
mod resumed;
mod rows;
mod runs;
