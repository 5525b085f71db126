use burn::tensor::Tensor;

/// Terms that one unit of a GPU adds at a time.
const TERMS: usize = 64;
/// Terms for which one unit is enough.
const FEW: usize = 1024;

/// Columns whose squares exist at a time.
const SQUARES: usize = 1 << 18;

/// The sum of all elements, in an order that depends on the shape alone.
///
/// [`Tensor::sum`] adds parts in the order in which a GPU finishes them, so that its last bits change
/// from run to run, and uses instructions that not every driver has. A composition of sums along axes.
///
/// # Shapes
/// - x: any
/// - output: `[1]`
pub fn ordered_sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n: usize = x.dims().iter().product();
    let mut terms = x.reshape([n]);
    loop {
        if terms.dims()[0] <= FEW {
            return terms.sum_dim(0);
        }
        let (whole, rest) = columns(terms);
        let [_, n_columns] = whole.dims();
        terms = joined(whole.sum_dim(0).reshape([n_columns]), rest);
    }
}

/// [`ordered_sum`] of the squares of float32 elements, bit for bit, with those of a part of them in memory at a time.
///
/// # Shapes
/// - x: any
/// - output: `[1]`
pub fn ordered_sum_of_squares<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    let n: usize = x.dims().iter().product();
    if n <= TERMS * SQUARES {
        return ordered_sum(x.square());
    }
    let (whole, rest) = columns(x.reshape([n]));
    let [_, n_columns] = whole.dims();
    let parts = (0..n_columns).step_by(SQUARES).map(|first| {
        let len = SQUARES.min(n_columns - first);
        let squares = whole.clone().narrow(1, first, len).square();
        squares.sum_dim(0).reshape([len])
    });
    let sums = Tensor::cat(parts.collect(), 0);
    ordered_sum(joined(sums, rest.map(Tensor::<1>::square)))
}

/// Elements as rows of [`TERMS`], so that neighbouring units add neighbouring columns, and those that are left.
fn columns(terms: Tensor<1>) -> (Tensor<2>, Option<Tensor<1>>) {
    let n = terms.dims()[0];
    let [n_columns, n_rest] = [n / TERMS, n % TERMS];
    let whole = terms.clone().narrow(0, 0, n_columns * TERMS);
    let rest = (n_rest > 0).then(|| terms.narrow(0, n_columns * TERMS, n_rest));
    (whole.reshape([TERMS, n_columns]), rest)
}

fn joined(sums: Tensor<1>, rest: Option<Tensor<1>>) -> Tensor<1> {
    match rest {
        None => sums,
        Some(rest) => Tensor::cat(vec![sums, rest], 0),
    }
}
