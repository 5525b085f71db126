//! Time of both passes.

use std::time::{Duration, Instant};

use burn::tensor::{DType, TensorData};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use burn_gpt_oss::{AttentionBackend, AttentionInputs, AttentionOptions, KeySegments};

use crate::runtimes::TestRuntime;

const HEADS: usize = 64;
const KV_HEADS: usize = 8;
const DIM: usize = 64;
const TURNS: u32 = 20;

/// Prints milliseconds and what they are in 10^12 operations per second.
pub fn of(runtime: &TestRuntime, len: usize, window: Option<usize>) {
    let tensor = |shape: &[usize]| {
        let count = shape.iter().product::<usize>();
        let values = (0..count).map(|i| (i * 7919 % 1009) as f32 / 504.0 - 1.0);
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape.to_vec());
        runtime.tensor(data.convert_dtype(DType::BF16))
    };
    let (wide, narrow) = ([1, len, HEADS, DIM], [1, len, KV_HEADS, DIM]);
    let inputs = AttentionInputs::<CubeBackend> {
        query: tensor(&wide),
        key: tensor(&narrow),
        value: tensor(&narrow),
        sinks: tensor(&[HEADS]),
    };
    let grad = tensor(&wide);
    let options = AttentionOptions {
        scale: 0.125,
        window,
        first_query: 0,
    };
    let forward = || CubeBackend::sink_attention(inputs.clone(), KeySegments::One, options);
    let backward = || {
        CubeBackend::sink_attention_backward(
            grad.clone(),
            inputs.clone(),
            forward(),
            KeySegments::One,
            options,
        )
    };
    let first = time(&|| forward().output);
    let both = time(&|| backward().query);
    let window = window.unwrap_or(len).min(len);
    let pairs = window * (2 * len - window + 1) / 2;
    let operations = 4.0 * (pairs * HEADS * DIM) as f64;
    let rate = |factor: f64, time: Duration| factor * operations / time.as_secs_f64() / 1e12;
    println!(
        "{len} window {window}: forward {:.3} ms {:.0} TFLOP/s, with backward {:.3} ms {:.0} TFLOP/s",
        first.as_secs_f64() * 1e3,
        rate(1.0, first),
        both.as_secs_f64() * 1e3,
        rate(3.5, both),
    );
}

/// Of one turn.
fn time(run: &dyn Fn() -> CubeTensor) -> Duration {
    let wait = || {
        let tensor = run();
        let client = tensor.client.clone();
        drop(tensor);
        // Whatever was launched before is done when this arrives.
        let small = client.create_from_slice(&[0; 4]);
        client.read_one_unchecked(small);
    };
    wait();
    let start = Instant::now();
    for _ in 0..TURNS {
        drop(run());
    }
    wait();
    start.elapsed() / (TURNS + 1)
}
