//! What examples print. Nothing here panics: a reader that is gone (`| head`), a closed terminal and a
//! full disk behind a redirection are no reason to lose a run.
#![allow(dead_code)] // Every example uses a part of it.

use std::fmt::Display;
use std::io::{ErrorKind, Write};
use std::sync::Mutex;

/// The first failure of standard output that is not a reader's leave.
static FAILURE: Mutex<Option<ErrorKind>> = Mutex::new(None);

/// Prints a line on standard output.
pub fn say(line: impl Display) {
    let mut out = std::io::stdout().lock();
    let written = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && let Ok(mut failure) = FAILURE.lock()
    {
        failure.get_or_insert(error.kind());
    }
}

/// Prints a line on standard error.
pub fn warn(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Prints the error that ends a program, in one piece.
pub fn fail(error: &anyhow::Error) {
    warn(format_args!("error: {}", visible(&format!("{error:#}"))));
}

/// Why standard output lacks lines, if it does.
pub fn stdout_failure() -> Option<ErrorKind> {
    FAILURE.lock().ok().and_then(|failure| *failure)
}

/// A JSON document on one line, in which all control characters are escaped, not only those that JSON
/// asks for.
pub fn json_line(json: &serde_json::Value) -> String {
    let mut line = String::new();
    // Control characters stand in strings alone, where the escape means the same.
    for c in json.to_string().chars() {
        match c.is_control() {
            true => line.push_str(&format!("\\u{:04x}", c as u32)),
            false => line.push(c),
        }
    }
    line.push('\n');
    line
}

/// The text with its control characters made visible, newline and tab excepted: names in files and
/// answers of models must not move the cursor, change colours or set the title of a terminal.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            // Unicode has a picture of each of them.
            '\0'..='\x1f' => shown.extend(char::from_u32(0x2400 + c as u32)),
            '\x7f' => shown.push('\u{2421}'),
            _ if c.is_control() => shown.push_str(&format!("<U+{:04X}>", c as u32)),
            _ => shown.push(c),
        }
    }
    shown
}
