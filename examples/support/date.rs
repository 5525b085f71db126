//! The date in the system block: the same when a model is trained and when it is used.

/// The day gpt-oss was published, unless the user gives another one.
pub const PUBLISHED_DATE: &str = "2025-08-05";
