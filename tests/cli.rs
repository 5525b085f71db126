//! The example as a user meets it: errors, Ctrl-C and a short run, through its binary.

#[path = "cli/example.rs"]
mod example;
#[path = "cli/refusals.rs"]
mod refusals;
#[path = "cli/runs.rs"]
mod runs;
