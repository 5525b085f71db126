//! Packed modules on disk.

use super::*;
use burn::nn::LinearLayout;
use burn::store::ModuleRecord;
use burn_store::{
    BurnpackStore, HalfPrecisionAdapter, ModuleSnapshot, ModuleStore, SafetensorsStore,
};

fn packed(scheme: Fp4Scheme) -> PackedModule<Net> {
    let net = Net::new(&Device::flex());
    quantization(scheme).quantize(net).unwrap()
}

/// The same architecture with other values and other ids.
fn other(scheme: Fp4Scheme) -> PackedModule<Net> {
    let device = Device::flex();
    let mut net = Net::new(&device);
    for (i, layer) in net.layers.iter_mut().enumerate() {
        layer.weight = Param::from_tensor(sample([64, 64], 20 + i, &device));
    }
    net.experts = Param::from_tensor(sample([2, 64, 24], 22, &device) * 3.0);
    quantization(scheme).quantize(net).unwrap()
}

fn assert_loaded(loaded: &PackedModule<Net>, saved: &PackedModule<Net>) {
    assert_eq!(weight_bits(loaded), weight_bits(saved));
    assert!(loaded.packed_weights().eq(saved.packed_weights()));
    assert_eq!(
        bits(loaded.embedding.weight.val()),
        bits(saved.embedding.weight.val())
    );
    assert_eq!(loaded.load_error(), None);
    assert!(!loaded.experts.val().is_require_grad());
}

#[test]
fn files_of_burn() {
    let dir = tempfile::tempdir().unwrap();
    for (i, scheme) in schemes().into_iter().enumerate() {
        let path = dir.path().join(format!("{i}.bpk"));
        let saved = packed(scheme);
        saved.clone().save_file(&path).unwrap();
        let loaded = other(scheme).try_load_file(&path).unwrap();
        assert_loaded(&loaded, &saved);
        assert_eq!(loaded.experts.id, saved.experts.id);
        assert_eq!(loaded.layers[1].weight.id, saved.layers[1].weight.id);

        let again = dir.path().join(format!("{i}-again.bpk"));
        loaded.save_file(&again).unwrap();
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(&again).unwrap()
        );
    }
}

#[test]
fn four_and_a_quarter_bits_per_element() {
    let tensors = packed(Fp4Scheme::mxfp4()).collect(None, None, false);
    let (mut n_bytes, mut n_elements) = (0, 0);
    for tensor in &tensors {
        if WEIGHTS.iter().any(|weight| tensor.name.starts_with(weight)) {
            assert_eq!(tensor.dtype, burn::tensor::DType::U8, "{}", tensor.name);
            n_bytes += tensor.shape.num_elements();
        }
    }
    for weight in WEIGHTS {
        n_elements += packed(Fp4Scheme::mxfp4())
            .packed(weight)
            .unwrap()
            .n_elements();
    }
    assert_eq!(n_bytes * 8 * 4, n_elements * 17);
}

#[test]
fn stores_of_burn_store() {
    let dir = tempfile::tempdir().unwrap();
    for scheme in schemes() {
        let saved = packed(scheme);
        let path = dir.path().join("store.safetensors");
        let mut store = SafetensorsStore::from_file(&path).overwrite(true);
        saved.save_into(&mut store).unwrap();
        let first = std::fs::read(&path).unwrap();
        let mut loaded = other(scheme);
        let result = loaded
            .load_from(&mut SafetensorsStore::from_file(&path))
            .unwrap();
        assert!(result.is_success(), "{result:?}");
        assert_loaded(&loaded, &saved);
        loaded
            .save_into(&mut SafetensorsStore::from_file(&path).overwrite(true))
            .unwrap();
        assert_eq!(values_of(&path), values_of_bytes(&dir, &first));

        let path = dir.path().join("store.bpk");
        saved
            .save_into(&mut BurnpackStore::from_file(&path).overwrite(true))
            .unwrap();
        let mut loaded = other(scheme);
        loaded
            .load_from(&mut BurnpackStore::from_file(&path))
            .unwrap();
        assert_loaded(&loaded, &saved);
        assert_eq!(loaded.experts.id, saved.experts.id);
    }
}

/// Name, shape and bytes of every tensor.
type Tensors = Vec<(String, Vec<usize>, Vec<u8>)>;

fn values_of(path: &std::path::Path) -> Tensors {
    let mut store = SafetensorsStore::from_file(path);
    let tensors = store.get_all_tensors().unwrap();
    let tensors = tensors.iter().map(|(name, tensor)| {
        let data = burn_store::bridge::to_data(tensor).unwrap();
        (
            name.clone(),
            data.shape().to_vec(),
            data.as_bytes().to_vec(),
        )
    });
    tensors.collect()
}

fn values_of_bytes(dir: &tempfile::TempDir, bytes: &[u8]) -> Tensors {
    let path = dir.path().join("copy.safetensors");
    std::fs::write(&path, bytes).unwrap();
    values_of(&path)
}

#[test]
fn names_and_shapes_in_safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("names.safetensors");
    let saved = packed(Fp4Scheme::nvfp4());
    saved
        .save_into(&mut SafetensorsStore::from_file(&path))
        .unwrap();
    let tensors = values_of(&path);
    let shape = |name: &str| &tensors.iter().find(|t| t.0 == name).unwrap().1;
    assert_eq!(*shape("experts.codes"), [2, 24, 32]);
    assert_eq!(*shape("experts.scales"), [2, 24, 4]);
    assert_eq!(*shape("experts.global_scales"), [1]);
    assert_eq!(*shape("layers.1.weight.codes"), [64, 32]);
    assert_eq!(*shape("layers.1.bias"), [64]);
    assert!(tensors.iter().all(|t| t.0 != "layers.1.weight"));
    let codes = &tensors.iter().find(|t| t.0 == "experts.codes").unwrap().2;
    assert_eq!(codes, saved.packed("experts").unwrap().codes());
}

/// An adapter that narrows the floats of a `Linear` must leave the scales of its weight alone.
#[test]
fn half_precision_stores_keep_global_scales() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("half.safetensors");
    let saved = packed(Fp4Scheme::nvfp4());
    let store = SafetensorsStore::from_file(&path);
    saved
        .save_into(&mut store.with_to_adapter(HalfPrecisionAdapter::new()))
        .unwrap();
    let mut loaded = other(Fp4Scheme::nvfp4());
    let store = SafetensorsStore::from_file(&path);
    loaded
        .load_from(&mut store.with_from_adapter(HalfPrecisionAdapter::new()))
        .unwrap();
    assert_eq!(weight_bits(&loaded), weight_bits(&saved));
    assert!(loaded.packed_weights().eq(saved.packed_weights()));
}

/// The same names as a packed `Net` has, with tensors of one's own.
#[derive(Module, Debug)]
struct Forged {
    experts: Parts,
}

#[derive(Module, Debug)]
struct Parts {
    codes: Param<Tensor<3, Int>>,
    scales: Param<Tensor<3, Int>>,
}

fn forged(codes: Tensor<3, Int>, scales: Tensor<3, Int>) -> ModuleRecord {
    let (codes, scales) = (param(codes), param(scales));
    let forged = Forged {
        experts: Parts { codes, scales },
    };
    forged.into_record().allow_partial(true)
}

fn param(tensor: Tensor<3, Int>) -> Param<Tensor<3, Int>> {
    Param::initialized(burn::module::ParamId::new(), tensor)
}

#[test]
fn wrong_shapes_are_errors() {
    let device = Device::flex();
    let target = packed(Fp4Scheme::mxfp4());
    let ints = |shape: [usize; 3]| Tensor::<3, Int>::zeros(shape, &device);
    for (codes, scales) in [
        ([2, 24, 31], [2, 24, 2]),
        ([2, 24, 32], [2, 24, 4]),
        ([2, 64, 24], [2, 24, 2]),
    ] {
        let record = forged(ints(codes), ints(scales));
        let error = target.clone().try_load_record(record).unwrap_err();
        assert!(error.to_string().contains("shape mismatch"), "{error}");
    }
    let record = packed(Fp4Scheme::nvfp4()).into_record();
    assert!(target.clone().try_load_record(record).is_err());
    let dense = Net::new(&device).into_record();
    assert!(target.clone().try_load_record(dense).is_err());

    let mut half = target.clone();
    let record = forged(ints([2, 24, 32]), ints([2, 24, 4])).validate(false);
    half = half.try_load_record(record).unwrap();
    assert_loaded(&half, &target);
}

#[test]
fn codes_that_are_no_bytes_change_nothing() {
    let device = Device::flex();
    let target = packed(Fp4Scheme::mxfp4());
    let scales = Tensor::<3, Int>::full([2, 24, 2], 127, &device);
    let codes = Tensor::<3, Int>::full([2, 24, 32], 300, &device);
    let loaded = target.clone().load_record(forged(codes, scales.clone()));
    assert_eq!(weight_bits(&loaded), weight_bits(&target));
    let text = loaded.load_error().unwrap().to_string();
    assert!(text.contains("`experts`") && text.contains("300"), "{text}");

    let codes = Tensor::<3, Int>::full([2, 24, 32], 0x21, &device);
    let loaded = target.load_record(forged(codes, scales));
    assert_eq!(loaded.load_error(), None);
    let experts = loaded.experts.val().try_into_vec_as::<f32>().unwrap();
    let wanted = |i: usize| [0.5, 1.0][i / 24 % 2];
    assert!(experts.iter().enumerate().all(|(i, &x)| x == wanted(i)));
}

/// `LinearLayout::Col` transposes what is saved; packed tensors are saved as they are.
#[test]
fn weights_that_are_saved_transposed() {
    let device = Device::flex();
    let lazy = |layout| LinearConfig::new(32, 8).with_layout(layout).init(&device);
    let linear = |layout| lazy(layout).map(&mut Fill);
    struct Fill;
    impl burn::module::ModuleMapper for Fill {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|x| sample(x.dims(), 5, &x.device()))
        }
    }
    let quantization = WeightQuantization::new(Fp4Scheme::mxfp4());
    let row = quantization.quantize(linear(LinearLayout::Row)).unwrap();
    let col = quantization.quantize(linear(LinearLayout::Col)).unwrap();
    assert_eq!(col.packed("weight"), row.packed("weight"));
    let fresh = quantization.quantize(lazy(LinearLayout::Col)).unwrap();
    let loaded = fresh.load_record(row.clone().into_record());
    assert_eq!(bits(loaded.weight.val()), bits(row.weight.val()));
    // The dense module still saves as its layout says.
    let dense = loaded.into_inner().into_record();
    let dense = lazy(LinearLayout::Col).load_record(dense);
    assert_eq!(bits(dense.weight.val()), bits(row.weight.val()));
}

#[test]
fn a_part_of_a_larger_module() {
    #[derive(Module, Debug)]
    struct Model {
        head: PackedModule<Linear>,
    }
    let device = Device::flex();
    let model = |seed| {
        let mut linear = LinearConfig::new(32, 8).init(&device);
        linear.weight = Param::from_tensor(sample([32, 8], seed, &device));
        let quantization = WeightQuantization::new(Fp4Scheme::nvfp4());
        Model {
            head: quantization.quantize(linear).unwrap(),
        }
    };
    let saved = model(1);
    let loaded = model(2).load_record(saved.clone().into_record());
    assert_eq!(
        bits(loaded.head.weight.val()),
        bits(saved.head.weight.val())
    );
}
