use burn::tensor::Tensor;

/// Terms that one unit of a GPU adds at a time.
const TERMS: usize = 64;
/// Terms for which one unit is enough.
const FEW: usize = 1024;

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
        let n = terms.dims()[0];
        if n <= FEW {
            return terms.sum_dim(0);
        }
        let [columns, rest] = [n / TERMS, n % TERMS];
        // Neighbouring units add neighbouring columns.
        let whole = terms.clone().narrow(0, 0, columns * TERMS);
        let sums: Tensor<1> = whole
            .reshape([TERMS, columns])
            .sum_dim(0)
            .reshape([columns]);
        terms = match rest {
            0 => sums,
            _ => Tensor::cat(vec![sums, terms.narrow(0, columns * TERMS, rest)], 0),
        };
    }
}
