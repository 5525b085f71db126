//! The bytes of the tensors of a target, in pieces of some megabytes.

mod dense;
mod experts;
mod rows;

use std::borrow::Cow;
use std::collections::BTreeMap;

use burn_fp4::layout::{compressed_tensors, ggml, modelopt};
use burn_fp4::{CastReport, Fp4Scheme, PackedFp4};
use safetensors::Dtype;

use super::ConvertTarget;
use super::output::{Content, Element, OutputTensor};
use super::work_directory::Totals;
use crate::checkpoint::dialect::projection::Rows;
use crate::checkpoint::form::Part;
use crate::checkpoint::{CheckpointReader, TensorSpec};
use crate::error::GptOssError;
use rows::{chunks, rows_of_packed};

/// Codes and scales of some experts.
type Packed<'a> = PackedFp4<Cow<'a, [u8]>>;

/// Bytes that are copied at once.
const PIECE: usize = 8 << 20;

/// Where the pieces go.
pub(super) type Sink<'s> = dyn FnMut(&[u8]) -> Result<(), GptOssError> + 's;

/// Turns the tensors of a source into those of a target.
pub(super) struct Encoder<'a> {
    source: &'a CheckpointReader,
    target: ConvertTarget,
    /// How matrices are rounded that are not in the target's format.
    scheme: Option<Fp4Scheme>,
    /// Global scales of NVFP4, or the magnitude they are made of.
    globals: BTreeMap<usize, f32>,
    /// Block scales of matrices whose codes were written.
    scales: BTreeMap<usize, Vec<u8>>,
    /// The expert that was converted last.
    last: Option<(usize, usize, PackedFp4)>,
    /// What casts from MXFP4 to NVFP4 did.
    pub cast: Option<CastReport>,
    /// Tensors that were rounded to BF16.
    pub rounded: Vec<String>,
}

impl<'a> Encoder<'a> {
    pub fn new(
        source: &'a CheckpointReader,
        target: ConvertTarget,
        scheme: Option<Fp4Scheme>,
        totals: Totals,
    ) -> Self {
        Self {
            source,
            target,
            scheme,
            globals: BTreeMap::new(),
            scales: BTreeMap::new(),
            last: None,
            cast: totals.cast.map(|[n_blocks, n_exact, n_changed]| {
                let mut cast = CastReport::default();
                (cast.n_blocks, cast.n_exact, cast.n_changed) = (n_blocks, n_exact, n_changed);
                cast
            }),
            rounded: totals.rounded,
        }
    }

    /// What was counted so far.
    pub fn totals(&self) -> Totals {
        Totals {
            cast: self
                .cast
                .map(|cast| [cast.n_blocks, cast.n_exact, cast.n_changed]),
            rounded: self.rounded.clone(),
        }
    }

    /// Fails if what was read may not be what the source has.
    pub fn check_source(&self) -> Result<(), GptOssError> {
        self.source.check_unchanged()
    }

    /// The bytes of a tensor.
    pub fn encode(
        &mut self,
        tensor: &OutputTensor,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        match &tensor.content {
            Content::Dense(names) => {
                for name in names {
                    self.dense(name, tensor.element, sink)?;
                    self.source.release(name);
                }
                Ok(())
            }
            Content::Experts {
                spec,
                part,
                rows,
                expert,
            } => match expert {
                Some(expert) => self.one_expert(*spec, *part, *rows, *expert, sink),
                None => self.all_experts(*spec, (*part, *rows), tensor.element, sink),
            },
            Content::Biases {
                tensor: name,
                rows,
                expert,
            } => self.biases(name, (*rows, *expert), tensor.element, sink),
            Content::InputScale {
                tensor: name,
                reciprocal,
            } => {
                let scale = self.source.input_scale_of(name)?;
                let scale = match reciprocal {
                    true => {
                        let stored = compressed_tensors::to_input_global_scale(scale);
                        stored.map_err(GptOssError::fp4(name))?.data[0]
                    }
                    false => scale,
                };
                sink(&scale.to_le_bytes())
            }
        }
    }

    /// A part of a matrix, of all experts.
    fn all_experts(
        &mut self,
        index: usize,
        (part, rows): (Part, Rows),
        element: Element,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        let spec = self.spec(index);
        match part {
            Part::GlobalScale => {
                // A source in the format has them, for all experts or for each; others were computed.
                let is_nvfp4 = |scheme| matches!(scheme, Fp4Scheme::Nvfp4 { .. });
                let global = match self.source.form_of(spec).scheme().is_some_and(is_nvfp4) {
                    true => self.source.global_scales(spec)?.data,
                    false => vec![self.global_scale(index)?],
                };
                return global
                    .iter()
                    .try_for_each(|scale| sink(&scale.to_le_bytes()));
            }
            Part::Scales => {
                if let Some(scales) = self.scales.remove(&index) {
                    return scales.chunks(PIECE).try_for_each(sink);
                }
            }
            _ => {}
        }
        let mut all_scales = Vec::new();
        for experts in chunks(spec) {
            if part == Part::Dense {
                self.dense_experts(index, experts, sink)?;
                continue;
            }
            let packed = self.packed(index, experts)?;
            match (element, self.target) {
                (Element::Mxfp4Blocks, _) => {
                    let half = rows_of_packed(&packed, rows, spec)?;
                    let blocks = ggml::to_mxfp4(&half).map_err(GptOssError::fp4(&spec.name))?;
                    sink(&blocks.data)?;
                }
                (_, ConvertTarget::Nvfp4) => {
                    let turned = modelopt::to_fused_experts(&packed);
                    let turned = turned.map_err(GptOssError::fp4(&spec.name))?;
                    match part {
                        Part::Codes => sink(&turned.weight.data)?,
                        _ => sink(&turned.weight_scale.data)?,
                    }
                    all_scales.extend(turned.weight_scale.data);
                }
                _ => {
                    let bytes = match part {
                        Part::Codes => packed.codes(),
                        _ => packed.scales(),
                    };
                    bytes.chunks(PIECE).try_for_each(&mut *sink)?;
                    all_scales.extend_from_slice(packed.scales());
                }
            }
        }
        if part == Part::Codes && matches!(element, Element::Safetensors(_)) {
            self.scales.insert(index, all_scales);
        }
        self.source.release_parameter(spec)
    }

    /// A part of a layer that is one expert's.
    fn one_expert(
        &mut self,
        index: usize,
        part: Part,
        rows: Rows,
        expert: usize,
        sink: &mut Sink<'_>,
    ) -> Result<(), GptOssError> {
        let spec = self.spec(index);
        let is_last = |last: &(usize, usize, PackedFp4)| (last.0, last.1) == (index, expert);
        if !self.last.as_ref().is_some_and(is_last) {
            let packed = self.packed(index, expert..expert + 1)?.map(Cow::into_owned);
            self.last = Some((index, expert, packed));
            self.source.release_parameter(spec)?;
        }
        let Some((_, _, packed)) = &self.last else {
            return Ok(());
        };
        let half = rows_of_packed(packed, rows, spec)?;
        let tensors = compressed_tensors::to_tensors(half);
        let tensors = tensors.map_err(GptOssError::fp4(&spec.name))?;
        match (part, tensors.weight_global_scale) {
            (Part::Codes, _) => sink(&tensors.weight_packed.data),
            (Part::Scales, _) => sink(&tensors.weight_scale.data),
            (_, Some(global)) => sink(&global.data[0].to_le_bytes()),
            (_, None) => Ok(()),
        }
    }

    fn spec(&self, index: usize) -> &'a TensorSpec {
        &self.source.specs()[index]
    }

    fn no_float(&self, name: &str, dtype: Dtype) -> GptOssError {
        GptOssError::Dtype {
            path: self.source.file_of(name),
            tensor: name.to_owned(),
            expected: "BF16, F16 or F32".into(),
            found: format!("{dtype:?}"),
        }
    }
}
