//! Shapes and routings with all edges.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

/// Sizes, and the experts of every token.
#[derive(Clone)]
pub struct Case {
    pub name: &'static str,
    pub d_input: usize,
    pub d_output: usize,
    pub experts: usize,
    pub top_k: usize,
    pub chosen: Vec<i32>,
}

impl Case {
    pub fn tokens(&self) -> usize {
        self.chosen.len() / self.top_k
    }

    pub fn indices(&self, device: &Device, dtype: DType) -> Tensor<2, Int> {
        let data = TensorData::new(self.chosen.clone(), [self.tokens(), self.top_k]);
        Tensor::from_data(data, (device, dtype))
    }

    /// The choices sorted by expert.
    pub fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.chosen.len()).collect();
        order.sort_by_key(|&choice| self.chosen[choice]);
        order
    }
}

/// Two different experts of every token; those in `skipped` get none.
fn pairs(tokens: usize, used: &[i32]) -> Vec<i32> {
    let n = used.len();
    let pair = |t: usize| [used[t * 5 % n], used[(t * 5 + 1 + t % (n - 1)) % n]];
    (0..tokens).flat_map(pair).collect()
}

pub fn cases() -> Vec<Case> {
    let case = |name, [d_input, d_output]: [usize; 2], experts, top_k, chosen| Case {
        name,
        d_input,
        d_output,
        experts,
        top_k,
        chosen,
    };
    vec![
        case("odd widths", [37, 45], 5, 2, pairs(23, &[0, 1, 2, 3, 4])),
        case("several tiles", [300, 530], 4, 2, pairs(41, &[0, 1, 2, 3])),
        case("empty experts", [20, 12], 6, 2, pairs(9, &[1, 2, 4])),
        case("one token", [19, 7], 3, 2, vec![2, 0]),
        case("all on one expert", [33, 17], 4, 1, vec![2; 29]),
        case("all experts", [16, 24], 3, 3, [1, 0, 2, 2, 1, 0].repeat(4)),
        case("one column", [1, 1], 2, 1, vec![1, 0, 0, 1, 1]),
        case("whole blocks", [64, 96], 4, 2, pairs(13, &[0, 3, 1])),
        case("tiles of blocks", [320, 288], 3, 2, pairs(10, &[2, 0])),
    ]
}

/// Values of either sign that any dtype of at least 8 bits holds, another sequence for each `seed`.
pub fn sample(n: usize, seed: usize) -> Vec<f64> {
    let value = |i: usize| ((i * 7919 + seed * 104_729) % 251) as f64 / 64.0 - 2.0;
    (0..n).map(value).collect()
}

pub fn tensor<const D: usize>(
    values: &[f64],
    shape: [usize; D],
    device: &Device,
    dtype: DType,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, dtype))
}

pub fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

/// Half the distance of two numbers at one, relative, and of two subnormal ones, absolute.
pub fn rounding(dtype: DType) -> (f64, f64) {
    match dtype {
        DType::BF16 => (2f64.powi(-8), 0.0),
        DType::F16 => (2f64.powi(-11), 2f64.powi(-25)),
        _ => (0.0, 0.0),
    }
}
