//! The examples as users meet them: errors, Ctrl-C and short runs, through their binaries.

#[path = "cli/answers.rs"]
mod answers;
#[path = "cli/example.rs"]
mod example;
#[path = "support/files.rs"]
mod files;
#[path = "cli/generate.rs"]
mod generate;
#[path = "support/golden.rs"]
mod golden;
#[path = "cli/lost_runs.rs"]
mod lost_runs;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/rows.rs"]
mod rows;
#[path = "cli/runs.rs"]
mod runs;
