//! What Linux tells about this process; zeros elsewhere.
#![allow(dead_code)] // Every bench uses a part of it.

use std::fs::read_to_string;

/// Bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process {
    /// Most memory that was ever resident, mapped files included (`VmHWM`).
    pub peak_resident: u64,
    /// Resident memory that belongs to no file (`RssAnon`).
    pub anonymous: u64,
    /// Read from disks so far.
    pub read: u64,
}

impl Process {
    pub fn now() -> Self {
        let status = read_to_string("/proc/self/status").unwrap_or_default();
        let io = read_to_string("/proc/self/io").unwrap_or_default();
        Self {
            peak_resident: 1024 * field(&status, "VmHWM:"),
            anonymous: 1024 * field(&status, "RssAnon:"),
            read: field(&io, "read_bytes:"),
        }
    }
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.split_whitespace().next());
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
