//! Products of few rows with packed FP4 matrices: burn-fp4 and ggml, measured by turns in one process.
//!
//! See `README.md`.

mod candidates;
mod ggml;
mod measure;
mod read;
mod weights;

use candidates::{Candidate, check, ours, peer};
use measure::{Measurement, by_turns};
use weights::{N_EXPERTS, Weights};

/// Numbers of rows that are multiplied at a time.
const ROWS: [usize; 5] = [1, 2, 4, 8, 16];

fn main() {
    let threads = argument("--threads", 2);
    let rounds = argument("--rounds", 9);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.expect("threads start");
    let nvfp4 = Weights::nvfp4();
    let mxfp4 = Weights::mxfp4();
    let buffers = [ggml::Buffer::Plain, ggml::Buffer::Repacked].into_iter();
    let peers: Vec<_> = buffers
        .filter_map(|buffer| ggml::Matrices::new(&mxfp4, buffer, threads))
        .collect();
    for matrices in &peers {
        check(&mxfp4, matrices, &pool);
    }
    println!(
        "{N_EXPERTS} matrices of {} x {}, {threads} threads, {rounds} rounds; ggml has {}\n",
        weights::D_OUTPUT,
        weights::D_INPUT,
        ggml::instructions()
    );
    println!("| kernel | rows | GB/s packed | spread | of read bandwidth | to ggml's best |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for n_rows in ROWS {
        let mut candidates: Vec<Candidate<'_>> = vec![read::candidate(&mxfp4, &pool)];
        candidates.extend(peers.iter().map(|matrices| peer(matrices, n_rows)));
        candidates.push(ours("MXFP4", &mxfp4, &pool, n_rows));
        candidates.push(ours("NVFP4", &nvfp4, &pool, n_rows));
        print(n_rows, &by_turns(&mut candidates, rounds));
    }
}

/// Rows of the table. The first measurement is of reading, those of ggml follow.
fn print(n_rows: usize, measurements: &[Measurement]) {
    let read = measurements[0].median();
    let is_peer = |it: &&Measurement| it.name.starts_with("ggml");
    let peers = measurements.iter().filter(is_peer);
    let peer = peers.map(Measurement::median).fold(0.0, f64::max);
    for it in measurements {
        let [low, high] = it.spread();
        let median = it.median();
        println!(
            "| {} | {n_rows} | {median:.1} | {low:.1}..{high:.1} | {:.0} % | {:.2} |",
            it.name,
            100.0 * median / read,
            median / peer
        );
    }
}

/// The number after a flag.
fn argument(flag: &str, default: usize) -> usize {
    let mut arguments = std::env::args().skip_while(|argument| argument != flag);
    let number = arguments.nth(1).map(|number| number.parse());
    number.map_or(default, |number| number.expect("a number after the flag"))
}
