//! What decoding cannot be faster than.

use std::time::Instant;

use anyhow::Result;
use burn::tensor::{Device, Tensor};
use burn_gpt_oss::CheckpointReader;
use rayon::prelude::*;

/// GB/s at which all threads read the experts of the first layers, which are in memory by now.
pub fn read_rate(reader: &CheckpointReader) -> f64 {
    let names: Vec<&str> = reader
        .tensor_names()
        .filter(|name| name.ends_with("_blocks"))
        .collect();
    let tensors = names.iter().take(8);
    let tensors: Vec<_> = tensors
        .filter_map(|name| Some(reader.raw(name).ok()?.bytes))
        .collect();
    let parts = tensors.iter().flat_map(|bytes| bytes.chunks(1 << 20));
    let parts: Vec<&[u8]> = parts.collect();
    let n_bytes: usize = parts.iter().map(|part| part.len()).sum();
    let read = || {
        let start = Instant::now();
        let sum = parts
            .par_iter()
            .map(|part| sum(part))
            .reduce(|| 0, u64::wrapping_add);
        std::hint::black_box(sum);
        n_bytes as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    // The first pass maps the pages.
    read();
    let mut rates: Vec<f64> = (0..5).map(|_| read()).collect();
    rates.sort_by(f64::total_cmp);
    rates[2]
}

/// GB/s at which a device reads and writes 512 MB in all.
pub fn copy_rate(device: &Device) -> Result<f64> {
    let from = Tensor::<1>::ones([64 << 20], device);
    let copy = || {
        let start = Instant::now();
        let copied = from.clone().mul_scalar(0.5);
        device.sync()?;
        drop(copied);
        Ok(2.0 * 4.0 * (64 << 20) as f64 / start.elapsed().as_secs_f64() / 1e9)
    };
    let mut rates = (0..7).map(|_| copy()).collect::<Result<Vec<f64>>>()?;
    rates.sort_by(f64::total_cmp);
    Ok(rates[3])
}

fn sum(bytes: &[u8]) -> u64 {
    let mut lanes = [0u64; 32];
    for words in bytes.as_chunks::<8>().0.as_chunks::<32>().0 {
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = lane.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    lanes.iter().fold(0, |a, b| a.wrapping_add(*b))
}
