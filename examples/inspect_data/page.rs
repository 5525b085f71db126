//! The same as a page that needs nothing else: no network, no script.

use std::fmt::Write;

use burn_gpt_oss::Tokenizer;

use crate::Inspected;
use crate::figures::{BARS, table};
use crate::spans::{self, Span};

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --bar: #0072b2; --trained: #009e7333; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; } td { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; }
.talk { white-space: pre-wrap; overflow-wrap: anywhere; background: #8881; border-radius: 4px; padding: .8rem; }
.trained { background: var(--trained); border-bottom: 2px solid #009e73; } .special { opacity: .55; font-size: .85em; }
h2 { margin-top: 2rem; } h3 { font-size: 1rem; margin-bottom: .3rem; }
.bar { background: var(--bar); height: .8rem; border-radius: 2px; }
";

/// The page with the first `shown` conversations.
pub fn of(inspected: &Inspected, title: &str, shown: usize, tokenizer: &Tokenizer) -> String {
    let mut page = String::new();
    let title = escaped(title);
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title}</title>\n<style>{STYLE}</style></head>\n<body>\n\
         <h1>{title}</h1>\n<table>\n"
    );
    for (name, value) in table(&inspected.statistics, &inspected.settings) {
        let _ = writeln!(page, "<tr><td>{name}</td><td>{}</td></tr>", escaped(&value));
    }
    page.push_str("</table>\n<h2>Lengths in tokens</h2>\n<table>\n");
    let histogram = inspected.statistics.histogram(BARS);
    let most = histogram
        .iter()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1)
        .max(1);
    for (range, count) in histogram {
        let width = 30.0 * count as f64 / most as f64;
        let _ = writeln!(
            page,
            "<tr><td>{} to {}</td><td><div class=\"bar\" style=\"width:{width:.2}rem\"></div></td>\
             <td>{count}</td></tr>",
            range.start(),
            range.end()
        );
    }
    page.push_str("</table>\n<h2>Conversations</h2>\n<p>What is <span class=\"trained\">marked</span> is trained.</p>\n");
    for index in 0..shown {
        let example = &inspected.examples[index];
        let heading = spans::heading(index, &inspected.records[index], example);
        let heading = heading.trim_start_matches("=== ");
        let _ = writeln!(page, "<h3>{}</h3>", escaped(heading));
        page.push_str("<div class=\"talk\">");
        for span in spans::of(example, tokenizer) {
            push(&mut page, &span);
        }
        page.push_str("</div>\n");
    }
    page.push_str("</body></html>\n");
    page
}

fn push(page: &mut String, span: &Span) {
    let classes: Vec<&str> = [("trained", span.trained), ("special", span.special)]
        .into_iter()
        .filter_map(|(name, set)| set.then_some(name))
        .collect();
    let _ = write!(
        page,
        "<span class=\"{}\">{}</span>",
        classes.join(" "),
        escaped(&span.text)
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
