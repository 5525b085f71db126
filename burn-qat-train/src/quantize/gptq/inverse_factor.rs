//! The factor of an inverse that GPTQ distributes errors with.

/// Share of the mean diagonal that is added to it (Frantar et al., section 3.3, step 3).
const DAMPING: f64 = 0.01;

/// The upper triangular `U` with `U^T U = (H + damping)^-1`, row-major `[n, n]`, of a symmetric matrix `H` that is
/// positive semidefinite. None if it is not, or if all of it is zero.
///
/// GPTQ takes it from a factorization of the inverse. Here `H = R R^T` with an upper triangular `R` is factored, and
/// `U = R^-1`: half the work, and nothing but triangles is inverted.
pub(super) fn inverse_factor(gram: &[f32], n: usize) -> Option<Vec<f64>> {
    let diagonal = |i: usize| f64::from(gram[i * n + i]);
    let mean = (0..n).map(diagonal).sum::<f64>() / n as f64;
    if !(mean.is_finite() && mean > 0.0) {
        return None;
    }
    let mut factor: Vec<f64> = gram.iter().map(|x| f64::from(*x)).collect();
    for i in 0..n {
        factor[i * n + i] += DAMPING * mean;
    }
    factorize(&mut factor, n)?;
    invert(&mut factor, n);
    Some(factor)
}

/// `R` in the place of the upper triangle of `H = R R^T`, from the last row to the first.
fn factorize(h: &mut [f64], n: usize) -> Option<()> {
    for j in (0..n).rev() {
        let (above, rest) = h.split_at_mut(j * n);
        let row = &mut rest[..n];
        let square = row[j] - dot(&row[j + 1..], &row[j + 1..]);
        if !(square.is_finite() && square > 0.0) {
            return None;
        }
        row[j] = square.sqrt();
        for other in above.chunks_exact_mut(n) {
            other[j] = (other[j] - dot(&other[j + 1..], &row[j + 1..])) / row[j];
        }
    }
    Some(())
}

/// The inverse of the upper triangle, in its place; below it zeros.
fn invert(r: &mut [f64], n: usize) {
    for i in (0..n).rev() {
        let (rest, below) = r.split_at_mut((i + 1) * n);
        let row = &mut rest[i * n..];
        let pivot = row[i];
        let coefficients = row[i + 1..].to_vec();
        row.fill(0.0);
        row[i] = 1.0;
        for (coefficient, solved) in coefficients.iter().zip(below.chunks_exact(n)) {
            let solved = &solved[i + 1..];
            let sums = row[i + 1..].iter_mut().zip(solved);
            sums.for_each(|(sum, x)| *sum -= coefficient * x);
        }
        row.iter_mut().for_each(|x| *x /= pivot);
    }
}

/// In lanes: a single running sum would wait for every addition.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_gives_the_inverse() {
        let n = 19;
        let x = |row: usize, column: usize| ((row * 31 + column * 17) % 23) as f32 / 11.0 - 1.0;
        let gram = |i: usize, j: usize| (0..40).map(|row| x(row, i) * x(row, j)).sum::<f32>();
        let h: Vec<f32> = (0..n * n).map(|at| gram(at / n, at % n)).collect();
        let mean = (0..n).map(|i| f64::from(h[i * n + i])).sum::<f64>() / n as f64;
        let u = inverse_factor(&h, n).expect("positive");
        for i in 0..n {
            for j in 0..n {
                // (U^T U) (H + damping)
                let damped =
                    |k: usize| f64::from(h[k * n + j]) + if k == j { DAMPING * mean } else { 0.0 };
                let inverse = |k: usize| (0..n).map(|r| u[r * n + i] * u[r * n + k]).sum::<f64>();
                let product: f64 = (0..n).map(|k| inverse(k) * damped(k)).sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-9, "[{i}, {j}] is {product}");
            }
            assert!(u[i * n..i * n + i].iter().all(|x| *x == 0.0), "row {i}");
        }
    }

    #[test]
    fn what_has_no_inverse_has_no_factor() {
        assert_eq!(inverse_factor(&[0.0; 4], 2), None);
        assert_eq!(inverse_factor(&[1.0, 0.0, 0.0, f32::NAN], 2), None);
        assert_eq!(inverse_factor(&[1.0, 9.0, 9.0, 1.0], 2), None);
    }
}
