//! Every form into every form.

use burn_gpt_oss::{CheckpointReader, ConvertTarget, Dialect};

use crate::files::{all_tensors, read_json};
use crate::{assert_same_values, convert, converted, golden};

use ConvertTarget::{Bf16, CompressedMxfp4, CompressedNvfp4, Gguf, Mxfp4, Nvfp4, Original};

const READABLE: [ConvertTarget; 6] = [
    Mxfp4,
    Bf16,
    Nvfp4,
    CompressedMxfp4,
    CompressedNvfp4,
    Original,
];

/// The golden model is in MXFP4, so all forms hold its values exactly. Only a dense model that is rounded to NVFP4 by
/// its largest magnitude is another one (`rounding.rs`).
#[test]
fn every_form_becomes_every_form() {
    let golden = golden::directory().join("tiny-gpt-oss");
    for first in READABLE {
        let (_first, source) = converted(&golden, first);
        assert_same_values(&source, &golden, first.name());
        for second in READABLE {
            let rounded = first == Bf16 && matches!(second, Nvfp4 | CompressedNvfp4);
            if rounded {
                continue;
            }
            let (_second, found) = converted(&source, second);
            assert_same_values(&found, &golden, &format!("{first} to {second}"));
        }
        converted(&source, Gguf);
    }
}

#[test]
fn golden_forms_become_every_form() {
    let golden = golden::directory().join("tiny-gpt-oss");
    for name in [
        "tiny-gpt-oss-bf16",
        "tiny-gpt-oss-original",
        "tiny-gpt-oss-sharded",
    ] {
        let source = golden::directory().join(name);
        assert_same_values(&source, &golden, name);
        for target in READABLE {
            if name.ends_with("bf16") && matches!(target, Nvfp4 | CompressedNvfp4) {
                continue;
            }
            let (_temp, found) = converted(&source, target);
            assert_same_values(&found, &golden, &format!("{name} to {target}"));
        }
    }
}

/// What is stored alike is copied, by way of other names, too.
#[test]
fn bytes_survive_a_change_of_names() {
    let golden = golden::directory().join("tiny-gpt-oss");
    let expected = all_tensors(&golden);
    for by_way_of in [Mxfp4, Original, CompressedMxfp4] {
        let (_first, between) = converted(&golden, by_way_of);
        let (_second, back) = converted(&between, Mxfp4);
        assert!(all_tensors(&back) == expected, "by way of {by_way_of}");
    }
    let original = golden::directory().join("tiny-gpt-oss-original");
    let (_temp, found) = converted(&golden, Original);
    assert!(
        all_tensors(&found) == all_tensors(&original),
        "OpenAI's names"
    );
    let config = |dir: &std::path::Path| read_json(&dir.join("config.json"));
    assert_eq!(config(&found), config(&original));
    let (_nvfp4, nvfp4) = converted(&golden, Nvfp4);
    let (_compressed, compressed) = converted(&nvfp4, CompressedNvfp4);
    let (_back, back) = converted(&compressed, Nvfp4);
    assert!(
        all_tensors(&back) == all_tensors(&nvfp4),
        "NVFP4 by way of compressed-tensors"
    );
}

#[test]
fn forms_are_known_by_their_content() {
    let golden = golden::directory().join("tiny-gpt-oss");
    for (target, dialect, form) in [
        (Mxfp4, Dialect::Transformers, "MXFP4"),
        (Bf16, Dialect::Transformers, "BF16"),
        (Nvfp4, Dialect::Transformers, "NVFP4"),
        (CompressedMxfp4, Dialect::PerExpert, "MXFP4"),
        (CompressedNvfp4, Dialect::PerExpert, "NVFP4"),
        (Original, Dialect::Original, "MXFP4"),
    ] {
        let (_temp, dir) = converted(&golden, target);
        // A name says nothing.
        std::fs::rename(
            dir.join("model.safetensors"),
            dir.join("weights-7.safetensors"),
        )
        .unwrap();
        let reader = CheckpointReader::open(&dir).unwrap();
        assert_eq!(reader.dialect(), dialect, "{target}");
        assert_eq!(reader.form().to_string(), form, "{target}");
    }
}

#[test]
fn the_manifest_has_the_hash_of_every_file() {
    use sha2::{Digest, Sha256};
    let temp = tempfile::TempDir::new().unwrap();
    let out = temp.path().join("out");
    let golden = golden::directory().join("tiny-gpt-oss");
    let report = convert(&golden, Mxfp4, &out).unwrap();
    let manifest = std::fs::read_to_string(out.join("SHA256SUMS")).unwrap();
    let mut names = Vec::new();
    for line in manifest.lines() {
        let (hash, name) = line.split_once("  ").unwrap();
        let digest = Sha256::digest(std::fs::read(out.join(name)).unwrap());
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, hash, "{name}");
        names.push(name.to_owned());
    }
    let expected = [
        "README.md",
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ];
    assert_eq!(names, expected);
    assert_eq!(report.files.len(), names.len());
    let card = std::fs::read_to_string(out.join("README.md")).unwrap();
    for part in ["tiny-gpt-oss", "MXFP4", "vllm serve", "bit for bit"] {
        assert!(card.contains(part), "{part} is not in the card:\n{card}");
    }
}
