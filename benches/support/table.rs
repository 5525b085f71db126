//! Measuring in turns with the copy, and the table of results.

use std::time::{Duration, Instant};

/// Rounds of a measurement; the median counts.
const ROUNDS: usize = 7;

/// Work and the number of bytes that it has to read and to write.
pub struct Work<'a> {
    pub bytes: usize,
    pub run: &'a mut dyn FnMut(),
}

/// A markdown table on standard output whose last column is the share of the copy rate.
pub struct Table {
    filter: Option<String>,
}

impl Table {
    /// Begins a table. An argument on the command line selects the rows that contain it.
    pub fn new(title: &str, floor: &str) -> Self {
        println!("# {title}\n\n{floor}\n");
        println!(
            "{} threads, median of {ROUNDS} rounds, each beside a copy.\n",
            rayon::current_num_threads()
        );
        println!(
            "| operation | format | type | shape | ms | Gelements/s | GB/s | copy GB/s | share of copy |"
        );
        println!("|---|---|---|---|--:|--:|--:|--:|--:|");
        let mut arguments = std::env::args().skip(1);
        Self {
            filter: arguments.find(|argument| !argument.starts_with('-')),
        }
    }

    /// Measures a row, unless it is filtered out. `name` is `operation | format | type | shape`.
    pub fn row(&self, name: &str, n_elements: usize, copy: Work<'_>, work: Work<'_>) {
        if self
            .filter
            .as_ref()
            .is_some_and(|filter| !name.contains(filter))
        {
            return;
        }
        (copy.run)();
        (work.run)();
        let mut times: [Vec<Duration>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            times[0].push(time(copy.run));
            times[1].push(time(work.run));
        }
        let [copy_time, work_time] = times.map(median);
        let rate = |bytes: usize, seconds: f64| bytes as f64 / seconds / 1e9;
        let (copy_rate, work_rate) = (rate(copy.bytes, copy_time), rate(work.bytes, work_time));
        println!(
            "| {name} | {:.1} | {:.2} | {work_rate:.1} | {copy_rate:.1} | {:.0} % |",
            work_time * 1e3,
            n_elements as f64 / work_time / 1e9,
            100.0 * work_rate / copy_rate,
        );
    }
}

fn time(run: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64()
}
