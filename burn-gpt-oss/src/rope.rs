use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::config::{GptOssConfig, RopeConfig};
use crate::ops::rotary_embedding;

/// YaRN rotary position embedding with half-split pairs `(j, j + head_dim / 2)`.
///
/// Angles are float32 products `position * inv_freq`, and the concentration (`0.1 ln(factor) + 1`
/// unless the configuration gives an `attention_factor`) multiplies both tables, as in the reference
/// implementations.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    inv_freq: Vec<f32>,
    concentration: f64,
}

/// Cosine and sine per position, the concentration included.
#[derive(Clone, Debug)]
pub struct RopeTables {
    /// `[batch or 1, positions, 1, head_dim / 2]`
    pub cos: Tensor<4>,
    /// `[batch or 1, positions, 1, head_dim / 2]`
    pub sin: Tensor<4>,
}

impl Rope {
    /// The embedding of a configuration.
    pub fn new(config: &GptOssConfig) -> Self {
        Self::from_parts(&config.rope, config.head_dim)
    }

    /// The embedding for heads of `head_dim` channels.
    pub fn from_parts(rope: &RopeConfig, head_dim: usize) -> Self {
        let dim = head_dim as f64;
        let (low, high) = interpolation_bounds(rope, dim);
        let inv_freq = (0..head_dim / 2)
            .map(|j| {
                let freq = rope.theta.powf(-2.0 * j as f64 / dim);
                let ramp = ((j as f64 - low) / (high - low)).clamp(0.0, 1.0);
                (freq * (1.0 - ramp) + freq / rope.factor * ramp) as f32
            })
            .collect();
        let concentration = match rope.attention_factor {
            Some(factor) => factor,
            None if rope.factor <= 1.0 => 1.0,
            None => 0.1 * rope.factor.ln() + 1.0,
        };
        Self {
            inv_freq,
            concentration,
        }
    }

    /// Radians per position, `head_dim / 2` values.
    pub fn inv_freq(&self) -> &[f32] {
        &self.inv_freq
    }

    /// The factor on both tables.
    pub fn concentration(&self) -> f64 {
        self.concentration
    }

    /// Cosine and sine for given positions, row-major `[positions, head_dim / 2]`, in float32.
    pub fn tables_at(&self, positions: impl IntoIterator<Item = usize>) -> (Vec<f32>, Vec<f32>) {
        let m = self.concentration as f32;
        positions
            .into_iter()
            .flat_map(|p| self.inv_freq.iter().map(move |f| p as f32 * f))
            .map(|angle| (angle.cos() * m, angle.sin() * m))
            .unzip()
    }

    /// Tables for positions `start..start + len`.
    pub fn tables(&self, start: usize, len: usize, dtype: DType, device: &Device) -> RopeTables {
        self.tables_of(start..start + len, [1, len], dtype, device)
    }

    /// Tables for given positions, `[batch, len]` of them.
    ///
    /// # Panics
    /// If there are more or fewer positions.
    pub fn tables_of(
        &self,
        positions: impl IntoIterator<Item = usize>,
        [batch, len]: [usize; 2],
        dtype: DType,
        device: &Device,
    ) -> RopeTables {
        let (cos, sin) = self.tables_at(positions);
        let shape = [batch, len, 1, self.inv_freq.len()];
        let tensor = |values| Tensor::from_data(TensorData::new(values, shape), (device, dtype));
        RopeTables {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }
}

impl RopeTables {
    /// Selects the rows for the given positions of each sequence, from tables of one sequence (batch 1).
    ///
    /// # Shapes
    /// - positions: `[batch, len]`, rows of these tables
    /// - output: `[batch, len, 1, head_dim / 2]`
    pub fn at(&self, positions: Tensor<2, Int>) -> Self {
        let [batch, len] = positions.dims();
        let positions = positions.reshape([batch * len]);
        let select = |table: &Tensor<4>| {
            let half = table.dims()[3];
            let rows = table.clone().reshape([-1, half as i32]);
            let rows = rows.select(0, positions.clone());
            rows.reshape([batch, len, 1, half])
        };
        Self {
            cos: select(&self.cos),
            sin: select(&self.sin),
        }
    }

    /// Rotates the pairs of every head.
    ///
    /// # Shapes
    /// - x: `[batch, positions, heads, head_dim]`
    /// - output: the same
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        rotary_embedding(x, self.cos.clone(), self.sin.clone())
    }
}

/// Positions that start again at 0 in every document of a row, as if each stood alone.
///
/// # Shapes
/// - documents: `[batch, len]`, a number per token that differs between neighbouring documents
/// - output: `[batch, len]`
pub(crate) fn positions_in_documents(documents: Tensor<2, Int>) -> Tensor<2, Int> {
    let [batch, len] = documents.dims();
    let columns = Tensor::<1, Int>::arange(0..len as i64, &documents.device());
    let columns = columns.cast(documents.dtype());
    let columns = columns.reshape([1, len]).expand([batch, len]);
    // What the roll brings to the first column does not matter: its start is 0 either way.
    let changes = documents.clone().not_equal(documents.roll_dim(1, 1));
    let starts = columns.clone() * changes.int().cast(columns.dtype());
    columns - starts.cummax(1)
}

/// Dimensions between which frequencies pass from original to interpolated (YaRN, eq. 17 to 23).
fn interpolation_bounds(rope: &RopeConfig, dim: f64) -> (f64, f64) {
    let original = rope.original_max_position_embeddings as f64;
    let dimension_of = |rotations: f64| {
        dim * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * rope.theta.ln())
    };
    let (low, high) = (dimension_of(rope.beta_fast), dimension_of(rope.beta_slow));
    let (low, high) = if rope.truncate {
        (low.floor(), high.ceil())
    } else {
        (low, high)
    };
    let (low, high) = (low.max(0.0), high.min(dim - 1.0));
    // Equal bounds would divide by zero; the references widen them by the same amount.
    if low == high {
        (low, high + 0.001)
    } else {
        (low, high)
    }
}
