//! Directories as people have them: leftovers, pointers, layouts of other programs, weights that are
//! no numbers.

use std::path::Path;

use burn::tensor::{Device, FloatDType, Int, Tensor};
use burn_gpt_oss::{CheckpointReader, GptOssError};

use crate::damage::{DENSE, SINGLE, refused};
use crate::files::{INDEX, Raw, WEIGHTS, copy_of, edit_tensors, read_tensors};

#[test]
fn a_single_file_beside_the_index_of_others_is_ambiguous() {
    refused(
        "tiny-gpt-oss-sharded",
        |dir| {
            let single = crate::golden::directory().join(SINGLE).join(WEIGHTS);
            std::fs::write(dir.join(WEIGHTS), std::fs::read(single).unwrap()).unwrap();
        },
        &[WEIGHTS, INDEX, "remove"],
    );
    // An index of the single file itself says nothing else.
    let copy = copy_of(SINGLE);
    let names = read_tensors(&copy.path().join(WEIGHTS)).into_keys();
    let map: serde_json::Map<_, _> = names.map(|name| (name, WEIGHTS.into())).collect();
    let index = serde_json::json!({"weight_map": map}).to_string();
    std::fs::write(copy.path().join(INDEX), index).unwrap();
    CheckpointReader::open(copy.path()).unwrap();
}

#[test]
fn pointers_of_git_lfs_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4792272488\n";
    for file in [WEIGHTS, "config.json"] {
        refused(
            SINGLE,
            |dir| std::fs::write(dir.join(file), pointer).unwrap(),
            &[file, "Git LFS", "git lfs pull"],
        );
    }
}

#[test]
fn layouts_of_other_programs_are_named() {
    let rename = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            edit_tensors(&dir.join(WEIGHTS), |tensors| {
                let raw = tensors.remove(from).expect(from);
                tensors.insert(to.into(), raw);
            });
        }
    };
    let experts = "model.layers.0.mlp.experts.down_proj";
    for (to, part) in [
        ("model.layers.0.mlp.experts.3.down_proj.weight", "expert 0"),
        ("base_model.model.lm_head.lora_A.weight", "adapter"),
    ] {
        refused(DENSE, rename(experts, to), &[to, part]);
    }
}

#[test]
fn a_byte_order_mark_in_the_configuration_is_skipped() {
    let copy = copy_of(SINGLE);
    let path = copy.path().join("config.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
    CheckpointReader::open(copy.path()).unwrap();
}

/// A row that no token uses would show up nowhere.
#[test]
fn weights_that_are_no_numbers_are_named_with_their_row() {
    let poison = |tensor: &'static str, element: usize, bytes: &'static [u8]| {
        move |dir: &Path| {
            edit_tensors(&dir.join(WEIGHTS), |tensors| {
                let raw = tensors.get_mut(tensor).expect(tensor);
                let at = element * bytes.len();
                raw.bytes[at..at + bytes.len()].copy_from_slice(bytes);
            });
        }
    };
    let nan = &[0xc0, 0x7f];
    let infinite = &[0x80, 0xff];
    let (hidden, inner) = (64, 96);
    for (directory, tensor, element, bytes, parts) in [
        (
            DENSE,
            "model.embed_tokens.weight",
            5 * hidden + 3,
            &nan[..],
            ["NaN", "row [5]"],
        ),
        (
            DENSE,
            "lm_head.weight",
            7 * hidden,
            &infinite[..],
            ["-inf", "row [7]"],
        ),
        (
            DENSE,
            "model.layers.1.mlp.experts.down_proj",
            (2 * inner + 4) * hidden + 1,
            &nan[..],
            ["NaN", "row [2, 4]"],
        ),
        (DENSE, "model.norm.weight", 3, &nan[..], ["NaN", "row [3]"]),
        // A scale of 255 makes the block NaN.
        (
            SINGLE,
            "model.layers.1.mlp.experts.down_proj_scales",
            (hidden + 9) * (inner / 32) + 1,
            &[255][..],
            ["NaN", "row [1, 9]"],
        ),
    ] {
        let copy = copy_of(directory);
        poison(tensor, element, bytes)(copy.path());
        let reader = CheckpointReader::open(copy.path()).unwrap();
        let device = Device::flex();
        let loaded = reader.load(&device, FloatDType::F32, |_| {});
        let error = loaded.expect_err(tensor).to_string();
        for part in [&[WEIGHTS, tensor][..], &parts].concat() {
            assert!(error.contains(part), "{part} is not in: {error}");
        }
        if directory == SINGLE {
            let packed = reader.load_packed(&device, FloatDType::F32, |_| {});
            assert_eq!(packed.expect_err(tensor).to_string(), error);
        }
    }
}

/// Some layers packed, some dense: what runs them takes both as they are.
#[test]
fn layers_may_be_stored_in_either_form() {
    let copy = copy_of(SINGLE);
    let dense = read_tensors(&crate::golden::directory().join(DENSE).join(WEIGHTS));
    edit_tensors(&copy.path().join(WEIGHTS), |tensors| {
        for matrix in ["gate_up_proj", "down_proj"] {
            let name = format!("model.layers.1.mlp.experts.{matrix}");
            for part in ["blocks", "scales"] {
                tensors.remove(&format!("{name}_{part}")).expect("packed");
            }
            let raw: &Raw = &dense[&name];
            tensors.insert(name, raw.clone());
        }
    });
    let reader = CheckpointReader::open(copy.path()).unwrap();
    let device = Device::flex();
    let load = |reader: &CheckpointReader| {
        let model = reader
            .load_stored(&device, FloatDType::F32, |_| {})
            .unwrap();
        let ids = Tensor::<2, Int>::from_data([[3, 17, 99, 4, 250]], &device);
        model.forward(ids, None).try_into_vec_as::<f32>().unwrap()
    };
    let whole = CheckpointReader::open(crate::golden::directory().join(SINGLE)).unwrap();
    let differ = load(&reader)
        .iter()
        .zip(&load(&whole))
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(differ < 2e-5, "{differ}");
}

#[test]
fn files_that_change_while_they_are_read_are_noticed() {
    let copy = copy_of(SINGLE);
    let reader = CheckpointReader::open(copy.path()).unwrap();
    reader.check_unchanged().unwrap();
    let path = copy.path().join(WEIGHTS);
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
    file.set_modified(later).unwrap();
    let error = reader.check_unchanged().unwrap_err().to_string();
    assert!(
        error.contains(WEIGHTS) && error.contains("changed"),
        "{error}"
    );
    let loaded = reader.load(&Device::flex(), FloatDType::F32, |_| {});
    assert!(loaded.is_err());
}

/// Leaves the first page: the header is there, and hardly any weight.
fn shorten(path: &std::path::Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.set_len(4096).unwrap();
}

/// The system would end the process.
#[test]
#[cfg(unix)]
fn files_that_are_shortened_while_they_are_read_are_an_error() {
    for reads in [
        (|reader| reader.check_weights()) as fn(&CheckpointReader) -> Result<(), _>,
        |reader| {
            reader
                .load(&Device::flex(), FloatDType::F32, |_| {})
                .map(drop)
        },
    ] {
        let copy = copy_of(SINGLE);
        let path = copy.path().join(WEIGHTS);
        let reader = CheckpointReader::open(copy.path()).unwrap();
        let whole = CheckpointReader::open(crate::golden::directory().join(SINGLE)).unwrap();
        let (bytes, modified) = (std::fs::read(&path).unwrap(), modified(&path));
        shorten(&path);
        let error = reads(&reader).unwrap_err().to_string();
        assert!(error.contains(WEIGHTS), "{error}");
        // What was read is not what the file has again.
        std::fs::write(&path, bytes).unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(modified).unwrap();
        let error = reader.check_unchanged().unwrap_err();
        assert!(matches!(error, GptOssError::FileChanged { .. }), "{error}");
        // Other maps are not touched, nor is another reader of the file.
        whole.check_weights().unwrap();
        CheckpointReader::open(copy.path())
            .unwrap()
            .check_weights()
            .unwrap();
    }
}

#[cfg(unix)]
fn modified(path: &std::path::Path) -> std::time::SystemTime {
    path.metadata().unwrap().modified().unwrap()
}

/// A signal that somebody sends is not a page that is gone, wherever it says that it came from.
#[test]
#[cfg(target_os = "linux")]
fn a_signal_that_is_sent_loses_nothing() {
    const NAME: &str = "in_the_wild::a_signal_that_is_sent_loses_nothing";
    const CHILD: &str = "SIGNALLED_CHECKPOINT";
    if let Some(dir) = std::env::var_os(CHILD) {
        let reader = CheckpointReader::open(&dir).unwrap();
        let kill = format!("kill -BUS {}", std::process::id());
        std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()
            .unwrap();
        reader.check_weights().unwrap();
        std::process::exit(0);
    }
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, crate::golden::directory().join(SINGLE))
        .output()
        .unwrap();
    // The standard library's own handler lets one pass.
    assert!(child.status.success(), "{child:?}");
}

/// Zeros must not stand for weights in use: the process ends, and says why.
#[test]
#[cfg(target_os = "linux")]
fn weights_in_use_whose_file_is_shortened_end_the_process() {
    use std::os::unix::process::ExitStatusExt;

    const NAME: &str = "in_the_wild::weights_in_use_whose_file_is_shortened_end_the_process";
    const CHILD: &str = "SHORTENED_CHECKPOINT";
    if let Some(dir) = std::env::var_os(CHILD) {
        let device = Device::flex();
        let reader = CheckpointReader::open(&dir).unwrap();
        let model = reader
            .load_stored(&device, FloatDType::F32, |_| {})
            .unwrap();
        shorten(&std::path::Path::new(&dir).join(WEIGHTS));
        let ids = Tensor::<2, Int>::from_data([[3, 17, 99, 4, 250]], &device);
        let _ = model.forward(ids, None).try_into_vec_as::<f32>();
        std::process::exit(0);
    }
    let copy = copy_of(SINGLE);
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(CHILD, copy.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.signal(), Some(7), "{:?}: {said}", child.status);
    assert!(
        said.contains(WEIGHTS) && said.contains("shortened"),
        "{said}"
    );
}

#[test]
fn stop_tokens_of_a_checkpoint_are_a_number_or_a_list() {
    let copy = copy_of(SINGLE);
    let path = copy.path().join("generation_config.json");
    let ids = |text: &str| {
        std::fs::write(&path, text).unwrap();
        CheckpointReader::open(copy.path()).unwrap().eos_token_ids()
    };
    assert_eq!(ids(r#"{"eos_token_id": [510, 7]}"#).unwrap(), [510, 7]);
    assert_eq!(ids(r#"{"eos_token_id": 7}"#).unwrap(), [7]);
    // Without one, config.json says it.
    assert_eq!(ids("{}").unwrap(), [510]);
    for bad in [r#"{"eos_token_id": 512}"#, r#"{"eos_token_id": "x"}"#, "["] {
        let error = ids(bad).unwrap_err().to_string();
        assert!(error.contains("generation_config.json"), "{error}");
    }
}
