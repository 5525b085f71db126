//! Products with a packed weight and an expert for every row, for any backend that has the product
//! with one weight.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice, TensorData};

use super::{Fp4Backend, Fp4Primitive};
use crate::scheme::Fp4Scheme;
use crate::scheme::global_scale::GlobalScope;

/// Applies `product` to the rows of every expert that has any, and puts the results in their order.
pub(super) fn by_expert<B: Fp4Backend>(
    rows: FloatTensor<B>,
    experts: &[i64],
    weight: &Fp4Primitive<B>,
    scheme: Fp4Scheme,
    product: impl Fn(FloatTensor<B>, &Fp4Primitive<B>, Fp4Scheme) -> FloatTensor<B>,
) -> FloatTensor<B> {
    let [n_experts, ..] = weight.codes.shape().dims::<3>();
    let last = n_experts - 1;
    let clamp = |expert: i64| usize::try_from(expert).map_or(last, |expert| expert.min(last));
    let mut order: Vec<usize> = (0..experts.len()).collect();
    order.sort_by_key(|&row| clamp(experts[row]));
    let mut products = Vec::new();
    for group in order.chunk_by(|&a, &b| clamp(experts[a]) == clamp(experts[b])) {
        let rows = select::<B>(rows.clone(), group);
        let (weight, scheme) = expert::<B>(weight, clamp(experts[group[0]]), scheme);
        products.push(product(rows, &weight, scheme));
    }
    let mut places = vec![0; order.len()];
    for (place, &row) in order.iter().enumerate() {
        places[row] = place;
    }
    select::<B>(B::float_cat(products, 0), &places)
}

fn select<B: Backend>(rows: FloatTensor<B>, indices: &[usize]) -> FloatTensor<B> {
    let device = rows.device();
    let indices: Vec<i64> = indices.iter().map(|&index| index as i64).collect();
    let shape = [indices.len()];
    let indices = B::int_from_data(TensorData::new(indices, shape), &device);
    B::float_select(rows, 0, indices)
}

/// The weight of one expert, `[out, in]`, and its scheme.
fn expert<B: Backend>(
    weight: &Fp4Primitive<B>,
    expert: usize,
    scheme: Fp4Scheme,
) -> (Fp4Primitive<B>, Fp4Scheme) {
    let index = [Slice::from(expert..expert + 1)];
    let bytes = |tensor| {
        let tensor = B::int_slice(tensor, &index);
        let [_, height, width] = tensor.shape().dims();
        B::int_reshape(tensor, Shape::new([height, width]))
    };
    let global_scales = weight.global_scales.clone();
    let weight = Fp4Primitive {
        codes: bytes(weight.codes.clone()),
        scales: bytes(weight.scales.clone()),
        global_scales: if scheme.has_expert_scales() {
            B::float_slice(global_scales, &index)
        } else {
            global_scales
        },
    };
    (weight, scheme.with_global_scope(GlobalScope::Tensor))
}
