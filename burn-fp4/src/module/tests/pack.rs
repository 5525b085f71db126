//! Quantization without and after training.

use super::*;
use crate::packed::PackedFp4;
use burn::module::Lora;
use burn::tensor::DType;
use burn::tensor::quantization::QuantScheme;

#[test]
fn weights_have_the_values_of_the_slice_quantizer() {
    let net = Net::new(&Device::flex());
    for scheme in schemes() {
        let packed = quantization(scheme).quantize(net.clone()).unwrap();
        assert_eq!(weight_bits(&packed), quantized_bits(&net, scheme));
        let paths: Vec<&str> = packed.packed_weights().map(|(path, _)| path).collect();
        assert_eq!(paths, ["experts", "layers.0.weight", "layers.1.weight"]);

        let values = net.experts.val().try_into_vec_as::<f32>().unwrap();
        let wanted = PackedFp4::quantize(&values, &[2, 64, 24], 1, scheme).unwrap();
        assert_eq!(packed.packed("experts"), Some(&wanted));
        assert_eq!(wanted.shape(), [2, 24, 64]);

        let dense = packed.clone().into_inner();
        let tokens = tokens(&Device::flex());
        let out = packed.forward(tokens.clone());
        assert_eq!(bits(out), bits(dense.forward(tokens)));
    }
}

/// Burn's own E2M1 on Flex rounds to integers: it must take no part here.
#[test]
fn halves_survive() {
    let device = Device::flex();
    let column = [0.5f32, 1.5, 6.0, -0.5, 3.0, -1.5, 4.0, 2.0].repeat(4);
    let weight = Tensor::<2>::from_data(TensorData::new(column.clone(), [32, 1]), &device);
    let mut linear = LinearConfig::new(32, 1).init(&device);
    linear.weight = Param::from_tensor(weight.clone());
    let scheme = Fp4Scheme::mxfp4();
    let quantization = WeightQuantization::new(scheme);
    let packed = quantization.quantize(linear.clone()).unwrap();
    assert_eq!(
        packed.weight.val().try_into_vec_as::<f32>().unwrap(),
        column
    );
    let trained = quantization.fake_quantize(linear).unwrap();
    assert_eq!(
        trained.weight.val().try_into_vec_as::<f32>().unwrap(),
        column
    );

    let burns = weight
        .transpose()
        .quantize_dynamic(&QuantScheme::from(scheme));
    let burns = burns.dequantize().try_into_vec_as::<f32>().unwrap();
    assert_ne!(burns, column);
}

#[test]
fn a_trained_module_is_packed_as_it_was_trained() {
    let device = Device::flex().autodiff();
    for scheme in schemes() {
        for refresh in [GlobalRefresh::Dynamic, GlobalRefresh::Frozen] {
            let quantization = quantization(scheme).with_global_refresh(refresh);
            let trained = quantization.fake_quantize(Net::new(&device)).unwrap();
            let wanted = weight_bits(&trained);
            let packed = quantization.quantize(trained).unwrap();
            assert_eq!(weight_bits(&packed), wanted);
            assert!(
                packed
                    .experts
                    .reparameterization::<WeightQuantizer>()
                    .is_none()
            );
        }
    }
    let trained = quantization(Fp4Scheme::mxfp4()).fake_quantize(Net::new(&device));
    let error = quantization(Fp4Scheme::nvfp4()).quantize(trained.unwrap());
    assert!(matches!(error, Err(Fp4Error::OtherQuantizer { path }) if path == WEIGHTS[0]));
}

/// A stale magnitude must reach the packed form: with the weight's own one it would differ.
#[test]
fn a_stale_magnitude_is_packed_as_well() {
    let device = Device::flex();
    let scheme = Fp4Scheme::nvfp4();
    let frozen = quantization(scheme).with_global_refresh(GlobalRefresh::Frozen);
    let trained = frozen.fake_quantize(Net::new(&device)).unwrap();
    let grown = Net::new(&device);
    let record = grown
        .experts
        .clone()
        .map(|experts| experts * 2.7)
        .into_record();
    let trained = Net {
        experts: trained
            .experts
            .try_load_record(record.allow_partial(true))
            .unwrap(),
        ..trained
    };
    let wanted = weight_bits(&trained);
    assert_ne!(wanted, quantized_bits(&trained, scheme));
    assert_eq!(weight_bits(&frozen.quantize(trained).unwrap()), wanted);
}

#[test]
fn half_precision_stays() {
    let device = Device::flex();
    let mut net = Net::new(&device);
    net.experts = net.experts.map(|experts| experts.cast(DType::BF16));
    let packed = quantization(Fp4Scheme::nvfp4())
        .quantize(net.clone())
        .unwrap();
    assert_eq!(packed.experts.val().dtype(), DType::BF16);
    let trained = quantization(Fp4Scheme::nvfp4()).fake_quantize(net).unwrap();
    assert_eq!(bits(trained.experts.val()), bits(packed.experts.val()));
}

#[test]
fn quantized_weights_stay_frozen_and_the_others_do_not() {
    let net = Net::new(&Device::flex().autodiff());
    let n_params = net.num_params();
    let packed = quantization(Fp4Scheme::nvfp4()).quantize(net).unwrap();
    let wanted = weight_bits(&packed);
    assert_eq!(packed.num_params(), n_params);
    assert_eq!(packed.devices(), [Device::flex()]);
    let states = [
        packed.clone(),
        packed.clone().unfreeze(),
        packed.clone().valid().train(),
        packed.clone().fork(&Device::flex()),
        packed.clone().materialize(),
    ];
    for state in states {
        assert_eq!(weight_bits(&state), wanted);
        assert!(!state.experts.val().is_require_grad());
        assert!(
            state.layers[0]
                .bias
                .as_ref()
                .unwrap()
                .val()
                .is_require_grad()
        );
        assert_eq!(state.packed("experts"), packed.packed("experts"));
    }
    let moved = packed.clone().to_device(&Device::flex());
    assert_eq!(weight_bits(&moved), wanted);
    let valid = packed.valid();
    assert!(!valid.experts.val().is_autodiff());
    assert!(!valid.layers[0].bias.as_ref().unwrap().val().is_autodiff());
    assert!(format!("{packed}").contains("Linear"));
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let device = Device::flex();
    let net = Net::new(&device);
    let all = WeightQuantization::new(Fp4Scheme::mxfp4());
    let text = all.quantize(net.clone()).unwrap_err().to_string();
    assert!(
        text.contains("`embedding.weight` of shape [10, 64]"),
        "{text}"
    );
    assert!(
        text.contains("length 10") && text.contains("block size 32"),
        "{text}"
    );
    assert_eq!(
        all.fake_quantize(net.clone()).unwrap_err().to_string(),
        text
    );

    let none = all.clone().with_group(ParamGroup::from_predicate("bias"));
    assert_eq!(none.quantize(net.clone()).unwrap_err(), Fp4Error::NoWeights);
    assert_eq!(
        none.fake_quantize(net.clone()).unwrap_err(),
        Fp4Error::NoWeights
    );

    let matrices = quantization(Fp4Scheme::mxfp4());
    let adapted = net.clone().apply_lora(Lora::new(2, 4.0));
    for error in [
        matrices.quantize(adapted.clone()).map(|_| ()).unwrap_err(),
        matrices.fake_quantize(adapted).map(|_| ()).unwrap_err(),
    ] {
        let (path, name) = ("layers.0.weight".into(), "lora".into());
        assert_eq!(error, Fp4Error::Reparameterized { path, name });
    }

    let per_expert = Fp4Scheme::nvfp4().with_global_scope(GlobalScope::Expert);
    let text = quantization(per_expert)
        .quantize(net.clone())
        .unwrap_err()
        .to_string();
    assert!(text.contains("`layers.0.weight`"), "{text}");

    let mut broken = net;
    broken.experts = broken
        .experts
        .map(|e| e.slice_fill([1..2, 3..4, 5..6], f32::NAN));
    let error = matrices.quantize(broken).unwrap_err();
    let Fp4Error::Weight { path, source, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(path, "experts");
    let index = 64 * 24 + 3 * 24 + 5;
    assert!(matches!(**source, Fp4Error::NonFinite { index: i, .. } if i == index));
}
