//! Temporary timing probe.
use burn_fp4::*;
use half::bf16;
use rayon::prelude::*;
use std::time::Instant;
fn time(name: &str, bytes: usize, mut f: impl FnMut()) -> f64 {
    f();
    let mut best = f64::MAX;
    for _ in 0..7 {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
    }
    println!(
        "{name:44} {:8.2} ms {:6.2} GB/s",
        best * 1e3,
        bytes as f64 / best / 1e9
    );
    best
}
fn copy<T: Copy + Send + Sync>(a: &[T], b: &mut [T]) {
    let c = a.len().div_ceil(rayon::current_num_threads());
    a.par_chunks(c)
        .zip(b.par_chunks_mut(c))
        .for_each(|(a, b)| b.copy_from_slice(a));
}
fn copy_small<T: Copy + Send + Sync>(a: &[T], b: &mut [T]) {
    let c = 1 << 15;
    a.par_chunks(c)
        .zip(b.par_chunks_mut(c))
        .for_each(|(a, b)| b.copy_from_slice(a));
}
fn go<T: Fp4Element + Copy>(
    kind: &str,
    shape: &[usize],
    axis: usize,
    conv: impl Fn(f32) -> T,
    zeros: impl Fn(usize) -> Vec<T>,
) {
    let n: usize = shape.iter().product();
    let v: Vec<T> = (0..n)
        .map(|i| conv(((i.wrapping_mul(2654435761) >> 7) & 0xffff) as f32 / 32768.0 - 1.0))
        .collect();
    let mut out = zeros(n);
    out.iter_mut().zip(&v).for_each(|(o, x)| *o = *x);
    let bytes = 2 * n * size_of::<T>();
    let s = Fp4Scheme::mxfp4();
    println!("--- {kind} {shape:?} axis {axis}");
    let m = time("memcpy prealloc big chunks", bytes, || copy(&v, &mut out));
    let m1 = time("memcpy prealloc small chunks", bytes, || {
        copy_small(&v, &mut out)
    });
    let q = time("fake_quantize_into prealloc", bytes, || {
        fake_quantize_into(&v, shape, axis, &s, &mut out).unwrap()
    });
    let mf = time("memcpy fresh", bytes, || {
        let mut o = zeros(n);
        copy(&v, &mut o);
        std::hint::black_box(&o);
    });
    let qf = time("fake_quantize_slice fresh", bytes, || {
        std::hint::black_box(fake_quantize_slice(&v, shape, axis, &s).unwrap());
    });
    println!(
        "ratio prealloc {:.2} (small-chunk memcpy {:.2}) fresh {:.2}",
        m / q,
        m1 / q,
        mf / qf
    );
    let p = PackedFp4::quantize(&v, shape, axis, s).unwrap();
    let pb = n * size_of::<T>() + n * 17 / 32;
    time("pack", pb, || {
        std::hint::black_box(PackedFp4::quantize(&v, shape, axis, s).unwrap());
    });
    time("dequantize_along", pb, || {
        p.dequantize_along(axis, &mut out).unwrap()
    });
}
fn main() {
    println!("threads {}", rayon::current_num_threads());
    let zb = |n| {
        let v = vec![0u16; n];
        let mut v = std::mem::ManuallyDrop::new(v);
        unsafe { Vec::from_raw_parts(v.as_mut_ptr() as *mut bf16, v.len(), v.capacity()) }
    };
    go("f32", &[5760, 2880], 1, |x| x, |n| vec![0f32; n]);
    go("bf16", &[5760, 2880], 1, bf16::from_f32, zb);
    go("f32", &[4, 2880, 5760], 1, |x| x, |n| vec![0f32; n]);
    go("bf16", &[4, 2880, 5760], 1, bf16::from_f32, zb);
}
