//! One weight in FP4, as the three tensors that records hold.

use std::sync::Arc;

use burn::module::{ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::error::Fp4Error;
use crate::packed::PackedFp4;
use crate::packed::host;

/// Container type of the three tensors: a struct of its own, so that what a store does to the numbers
/// of a `Linear`, such as halving their precision, is not done to global scales.
const CONTAINER: &str = "Struct:PackedFp4";

/// The bytes behind a weight that is dense in memory.
///
/// `codes` carry the id of the weight, so that it survives records; the others have their own.
#[derive(Clone, Debug)]
pub(super) struct PackedWeight {
    pub packed: Arc<PackedFp4>,
    scales: ParamId,
    global_scales: ParamId,
}

impl PackedWeight {
    pub fn new(packed: PackedFp4) -> Self {
        Self {
            packed: Arc::new(packed),
            scales: ParamId::new(),
            global_scales: ParamId::new(),
        }
    }

    /// The dense parameter with the values of the bytes, never trained.
    pub fn dense<const D: usize>(
        &self,
        param: Param<Tensor<D>>,
    ) -> Result<Param<Tensor<D>>, Fp4Error> {
        let value = param.base();
        let data = host::unpack(&self.packed, D - 2, value.dtype())?;
        let dense = Tensor::from_data(data, (&value.device(), value.dtype()));
        Ok(param.map(|_| dense).set_require_grad(false))
    }

    /// Shows the three tensors instead of the dense `weight`. Their bytes are copied if the visitor
    /// reads them.
    pub fn visit<const D: usize, V: ModuleVisitor>(
        &self,
        weight: &Param<Tensor<D>>,
        visitor: &mut V,
    ) {
        let device = weight.lazy_device();
        visitor.enter_module("codes", CONTAINER);
        visitor.visit_int(&self.codes::<D>(weight.id, &device));
        visitor.exit_module("codes", CONTAINER);
        visitor.enter_module("scales", CONTAINER);
        visitor.visit_int(&self.scales::<D>(&device));
        visitor.exit_module("scales", CONTAINER);
        if let Some(global_scales) = self.global_scales(&device) {
            visitor.enter_module("global_scales", CONTAINER);
            visitor.visit_float(&global_scales);
            visitor.exit_module("global_scales", CONTAINER);
        }
    }

    /// Lets `mapper` fill the three tensors; if it fills all, they become the weight.
    ///
    /// After an error, `self` and the weight are as they were.
    pub fn map<const D: usize, M: ModuleMapper>(
        &mut self,
        weight: Param<Tensor<D>>,
        mapper: &mut M,
    ) -> (Param<Tensor<D>>, Result<(), Fp4Error>) {
        let device = weight.lazy_device();
        mapper.enter_module("codes", CONTAINER);
        let codes = mapper.map_int(self.codes::<D>(weight.id, &device));
        mapper.exit_module("codes", CONTAINER);
        mapper.enter_module("scales", CONTAINER);
        let scales = mapper.map_int(self.scales::<D>(&device));
        mapper.exit_module("scales", CONTAINER);
        let global_scales = self.global_scales(&device).map(|param| {
            mapper.enter_module("global_scales", CONTAINER);
            let param = mapper.map_float(param);
            mapper.exit_module("global_scales", CONTAINER);
            param
        });
        // Loading initializes a parameter; what is not loaded, and what other mappers leave alone,
        // stays lazy.
        let loaded = codes.is_initialized()
            && scales.is_initialized()
            && global_scales.as_ref().is_none_or(Param::is_initialized);
        if !loaded {
            return (weight, Ok(()));
        }
        match self.filled(weight.clone(), codes, scales, global_scales) {
            Ok((filled, weight)) => {
                *self = filled;
                (weight, Ok(()))
            }
            Err(error) => (weight, Err(error)),
        }
    }

    fn filled<const D: usize>(
        &self,
        weight: Param<Tensor<D>>,
        codes: Param<Tensor<D, Int>>,
        scales: Param<Tensor<D, Int>>,
        global_scales: Option<Param<Tensor<1>>>,
    ) -> Result<(Self, Param<Tensor<D>>), Fp4Error> {
        let ids = (codes.id, scales.id);
        let global_id = global_scales.as_ref().map_or(self.global_scales, |p| p.id);
        let filled = Self {
            packed: Arc::new(PackedFp4::from_parts_with_global(
                self.packed.scheme(),
                self.packed.shape().to_vec(),
                bytes("codes", codes)?,
                bytes("scales", scales)?,
                global_scales.map_or(Ok(Vec::new()), floats)?,
            )?),
            scales: ids.1,
            global_scales: global_id,
        };
        let (_, value, mapper) = weight.consume();
        let weight = filled.dense(Param::from_mapped_value(ids.0, value, mapper))?;
        Ok((filled, weight))
    }

    fn codes<const D: usize>(&self, id: ParamId, device: &Device) -> Param<Tensor<D, Int>> {
        self.part(id, device, 2, PackedFp4::codes)
    }

    fn scales<const D: usize>(&self, device: &Device) -> Param<Tensor<D, Int>> {
        let block_size = self.packed.scheme().block_size();
        self.part(self.scales, device, block_size, PackedFp4::scales)
    }

    /// Bytes that each stand for `n_elements` neighbours.
    fn part<const D: usize>(
        &self,
        id: ParamId,
        device: &Device,
        n_elements: usize,
        bytes: fn(&PackedFp4) -> &[u8],
    ) -> Param<Tensor<D, Int>> {
        let mut shape = self.packed.shape().to_vec();
        if let Some(len) = shape.last_mut() {
            *len /= n_elements;
        }
        let packed = self.packed.clone();
        let value = shape.clone();
        let read = move |device: &Device, _: bool| {
            let data = TensorData::new(bytes(&packed).to_vec(), value);
            Tensor::from_data(data, (device, DType::U8))
        };
        Param::uninitialized(id, read, device.clone(), false, shape.into())
    }

    fn global_scales(&self, device: &Device) -> Option<Param<Tensor<1>>> {
        let n_scales = self.packed.global_scales().len();
        if n_scales == 0 {
            return None;
        }
        let packed = self.packed.clone();
        let read = move |device: &Device, _: bool| {
            let data = TensorData::new(packed.global_scales().to_vec(), [n_scales]);
            Tensor::from_data(data, (device, DType::F32))
        };
        let id = self.global_scales;
        let shape = [n_scales].into();
        Some(Param::uninitialized(id, read, device.clone(), false, shape))
    }
}

fn bytes<const D: usize>(
    part: &'static str,
    param: Param<Tensor<D, Int>>,
) -> Result<Vec<u8>, Fp4Error> {
    let misfit = |found: String| Fp4Error::PackedPart { part, found };
    let data = param.into_value().try_into_data();
    let data = data.map_err(|error| misfit(error.to_string()))?;
    if let Ok(bytes) = data.as_slice::<u8>() {
        return Ok(bytes.to_vec());
    }
    let values = data.try_to_vec_as::<i64>();
    let values = values.map_err(|error| misfit(format!("{error:?}")))?;
    let byte = |value: i64| u8::try_from(value).map_err(|_| misfit(value.to_string()));
    values.into_iter().map(byte).collect()
}

fn floats(param: Param<Tensor<1>>) -> Result<Vec<f32>, Fp4Error> {
    let values = param.into_value().try_into_vec_as::<f32>();
    values.map_err(|error| Fp4Error::PackedPart {
        part: "global_scales",
        found: format!("{error:?}"),
    })
}
