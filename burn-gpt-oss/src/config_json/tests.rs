use super::*;

#[test]
fn parameter_counts_match_the_published_ones() {
    let small = GptOssConfig::gpt_oss_20b();
    assert_eq!(small.num_expert_weights(), 19_110_297_600);
    assert_eq!(small.num_dense_weights(), 1_804_459_584);
    let large = GptOssConfig::gpt_oss_120b();
    assert_eq!(
        large.num_expert_weights() + large.num_dense_weights(),
        116_829_156_672
    );
}

#[test]
fn presets_survive_a_round_trip() {
    let config = GptOssConfig::gpt_oss_20b();
    let read = GptOssConfig::from_json(&config.to_json().to_string()).expect("own output");
    assert_eq!(read.to_json(), config.to_json());
    assert_eq!(read.rope, config.rope);
}

#[test]
fn new_rope_form_and_unknown_keys_are_kept() {
    let mut doc = GptOssConfig::gpt_oss_20b().to_json();
    let map = doc.as_object_mut().expect("object");
    let mut rope = map.remove("rope_scaling").expect("published form");
    rope["rope_theta"] = map.remove("rope_theta").expect("published form");
    map.insert("rope_parameters".into(), rope);
    map.insert("my_key".into(), json!([1, 2]));
    let config = GptOssConfig::from_json(&doc.to_string()).expect("new form");
    assert_eq!(config.rope, GptOssConfig::gpt_oss_20b().rope);
    assert_eq!(config.to_json(), doc);
}

/// With each of these keys in the tiny model, logits equal those of transformers 5.23 to 2e-5
/// (`scripts/verify_export.py`).
#[test]
fn every_key_of_the_rotation_has_its_effect() {
    let rope = |edit: &dyn Fn(&mut Value)| {
        let mut doc = GptOssConfig::gpt_oss_20b().to_json();
        edit(&mut doc);
        GptOssConfig::from_json(&doc.to_string()).map(|config| config.rope)
    };
    let published = GptOssConfig::gpt_oss_20b().rope;
    let given = rope(&|doc| doc["rope_scaling"]["attention_factor"] = json!(1.0));
    assert_eq!(given.expect("a factor").attention_factor, Some(1.0));
    let scaled = rope(&|doc| {
        doc["rope_scaling"]["mscale"] = json!(3.0);
        doc["rope_scaling"]["mscale_all_dim"] = json!(1.0);
    });
    let expected = (0.3 * 32f64.ln() + 1.0) / (0.1 * 32f64.ln() + 1.0);
    let found = scaled.expect("two factors").attention_factor;
    assert!((found.expect("a factor") - expected).abs() < 1e-12);
    // One of the two alone has no effect in transformers either.
    let alone = rope(&|doc| doc["rope_scaling"]["mscale"] = json!(3.0));
    assert_eq!(alone.expect("one factor"), published);
    let old_name = rope(&|doc| {
        let scaling = doc["rope_scaling"].as_object_mut().expect("an object");
        let kind = scaling.remove("rope_type").expect("a type");
        scaling.insert("type".into(), kind);
    });
    assert_eq!(old_name.expect("the old name"), published);
    let short = rope(&|doc| {
        let scaling = doc["rope_scaling"].as_object_mut().expect("an object");
        scaling.remove("original_max_position_embeddings");
    });
    let short = short.expect("no original length");
    assert_eq!(short.original_max_position_embeddings, 131_072);
    let both = rope(&|doc| doc["rope_parameters"] = doc["rope_scaling"].clone());
    assert_eq!(both.expect("twice the same"), published);
    let null = rope(&|doc| doc["rope_scaling"]["truncate"] = json!(null));
    assert!(!null.expect("null is false").truncate);
    let absent = rope(&|doc| {
        let scaling = doc["rope_scaling"].as_object_mut().expect("an object");
        scaling.remove("truncate");
    });
    assert!(absent.expect("absent is true").truncate);
}

#[test]
fn rotations_that_servers_would_read_otherwise_are_refused() {
    let refused = |edit: &dyn Fn(&mut Value)| {
        let mut doc = GptOssConfig::gpt_oss_20b().to_json();
        edit(&mut doc);
        let error = GptOssConfig::from_json(&doc.to_string()).expect_err("refused");
        error.to_string()
    };
    for (key, parts) in [
        ("long_factor", "rope_scaling.long_factor"),
        ("full_attention", "rope_scaling.full_attention"),
        ("partial_rotary_factor", "partial_rotary_factor"),
        ("rope_theta", "150000"),
        ("type", "rope_scaling.type"),
    ] {
        let value = if key == "type" {
            json!("linear")
        } else {
            json!(0.5)
        };
        let error = refused(&|doc| doc["rope_scaling"][key] = value.clone());
        assert!(error.contains(parts), "{key}: {error}");
    }
    let error = refused(&|doc| {
        doc["rope_parameters"] = doc["rope_scaling"].clone();
        doc["rope_parameters"]["factor"] = json!(8.0);
    });
    assert!(
        error.contains("rope_parameters") && error.contains("rope_scaling"),
        "{error}"
    );
    // transformers takes the base of `rope_scaling`, where it is the usual one.
    let error = refused(&|doc| {
        doc["rope_parameters"] = doc["rope_scaling"].clone();
        doc["rope_parameters"]["rope_theta"] = json!(10_000.0);
        doc.as_object_mut().expect("an object").remove("rope_theta");
    });
    assert!(error.contains("rope_parameters"), "{error}");
    let key = "original_max_position_embeddings";
    let error = refused(&|doc| doc["rope_scaling"][key] = json!(null));
    assert!(error.contains(key), "{error}");
    let error = refused(&|doc| {
        let scaling = doc["rope_scaling"].as_object_mut().expect("an object");
        scaling.remove("rope_type");
    });
    assert!(
        error.contains("rope_type") && error.contains("absent"),
        "{error}"
    );
    let error = refused(&|doc| {
        let scaling = doc["rope_scaling"].as_object_mut().expect("an object");
        scaling.remove("factor");
    });
    assert!(
        error.contains("factor") && error.contains("absent"),
        "{error}"
    );
}

#[test]
fn what_changes_the_rotation_is_written_back() {
    let mut doc = GptOssConfig::gpt_oss_20b().to_json();
    doc["rope_scaling"]["mscale"] = json!(2.0);
    doc["rope_scaling"]["mscale_all_dim"] = json!(1.0);
    doc["rope_parameters"] = doc["rope_scaling"].clone();
    let config = GptOssConfig::from_json(&doc.to_string()).expect("twice the same");
    let again = GptOssConfig::from_json(&config.to_json().to_string()).expect("own output");
    assert_eq!(again.rope, config.rope);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_document() {
    let text = GptOssConfig::gpt_oss_20b().to_json().to_string();
    let read = GptOssConfig::from_json(&format!("\u{feff}{text}")).expect("a mark");
    assert_eq!(read.rope, GptOssConfig::gpt_oss_20b().rope);
}

#[test]
fn unsupported_values_name_their_key() {
    for (key, value) in [
        ("hidden_act", json!("gelu")),
        ("tie_word_embeddings", json!(true)),
        ("attention_bias", json!(false)),
        ("model_type", json!("llama")),
        (
            "rope_scaling",
            json!({"rope_type": "linear", "factor": 2.0}),
        ),
        ("num_experts_per_tok", json!(64)),
        ("num_hidden_layers", json!(10_000_000)),
        ("rms_norm_eps", json!(-1.0)),
        ("rope_scaling", json!({"rope_type": "yarn", "factor": 0.0})),
        ("layer_types", json!(["full_attention"])),
        ("head_dim", json!(63)),
        ("num_key_value_heads", json!(7)),
        ("quantization_config", json!({"quant_method": "awq"})),
    ] {
        let mut doc = GptOssConfig::gpt_oss_20b().to_json();
        doc[key] = value;
        let error = GptOssConfig::from_json(&doc.to_string())
            .expect_err(key)
            .to_string();
        assert!(error.contains(key), "{key}: {error}");
    }
}
