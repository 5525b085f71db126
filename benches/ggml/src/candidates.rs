//! What is measured.

use burn_fp4::{ProductRows, packed_product};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::ggml;
use crate::weights::{D_INPUT, D_OUTPUT, N_EXPERTS, Weights, activations};

/// Outputs of a task: the tasks of a matrix are far more than threads, so that none waits for another.
const TASK: usize = 240;

/// Products of the same rows with all matrices, or something to compare with.
pub struct Candidate<'a> {
    pub name: String,
    /// Bytes of weights that are read.
    pub n_bytes: usize,
    pub run: Box<dyn FnMut() + 'a>,
}

/// burn-fp4.
pub fn ours<'a>(
    format: &str,
    weights: &'a Weights,
    pool: &'a ThreadPool,
    n_rows: usize,
) -> Candidate<'a> {
    let values = activations(n_rows);
    let mut out = vec![0.0; n_rows * D_OUTPUT];
    Candidate {
        name: format!("burn-fp4 {format}"),
        n_bytes: weights.n_bytes(),
        run: Box::new(move || {
            pool.install(|| {
                for expert in 0..N_EXPERTS {
                    // As ggml does: rows are prepared for every product.
                    let rows = ProductRows::new(&values, D_INPUT);
                    multiply(weights, expert, &rows, &mut out);
                }
            });
        }),
    }
}

/// One product; `out` is in tasks, `[n, TASK]` each.
fn multiply(weights: &Weights, expert: usize, rows: &ProductRows, out: &mut [f32]) {
    let matrix = weights.matrix(expert);
    let tasks = out.par_chunks_mut(TASK * rows.n_rows()).enumerate();
    tasks.for_each(|(i, out)| packed_product(rows, &matrix, i * TASK..(i + 1) * TASK, out));
}

/// ggml, which quantizes rows to Q8_0 for every product.
pub fn peer<'a>(matrices: &'a ggml::Matrices, n_rows: usize) -> Candidate<'a> {
    let mut graph = matrices.graph(&activations(n_rows), n_rows);
    Candidate {
        name: matrices.name().into(),
        n_bytes: matrices.n_bytes(),
        run: Box::new(move || graph.compute()),
    }
}

/// Fails unless ggml and burn-fp4 compute the same, up to the rounding of rows to integers.
pub fn check(weights: &Weights, matrices: &ggml::Matrices, pool: &ThreadPool) {
    let (n_rows, expert) = (3, N_EXPERTS - 1);
    let values = activations(n_rows);
    let mut graph = matrices.graph(&values, n_rows);
    graph.compute();
    let rows = ProductRows::new(&values, D_INPUT);
    let mut out = vec![0.0; n_rows * D_OUTPUT];
    pool.install(|| multiply(weights, expert, &rows, &mut out));
    let peer = graph.output(expert);
    let size = peer.iter().map(|x| x * x).sum::<f32>();
    let index = |i: usize| {
        let (row, output) = (i / D_OUTPUT, i % D_OUTPUT);
        output / TASK * TASK * n_rows + row * TASK + output % TASK
    };
    let differences = peer.iter().enumerate().map(|(i, x)| x - out[index(i)]);
    let error = differences.map(|x| x * x).sum::<f32>();
    let relative = (error / size).sqrt();
    assert!(relative < 0.02, "ggml differs by {relative}");
}
