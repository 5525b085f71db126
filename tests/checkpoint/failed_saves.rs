use std::path::Path;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use burn_gpt_oss::{CheckpointForm, CheckpointWriter, GptOss, GptOssError, OutputDirectory};
use tempfile::TempDir;

use crate::files::{entries, snapshot};
use crate::model::{load, open, values};
use crate::round_trips::assert_reloads;

const SOURCE: &str = "tiny-gpt-oss";
const FORMS: [CheckpointForm; 2] = [CheckpointForm::Mxfp4, CheckpointForm::Bf16];

fn model() -> GptOss {
    load(SOURCE, &Device::flex())
}

/// Saves where that must fail, and returns the error's text.
fn refuse(writer: CheckpointWriter<'_>, model: &GptOss, out: &Path) -> String {
    let result = writer.save(model, out, |_| {});
    result
        .map(|_| ())
        .expect_err("the save must fail")
        .to_string()
}

/// A parent with a directory `out` that holds files no checkpoint has.
fn occupied() -> TempDir {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("notes.txt"), "mine").unwrap();
    std::fs::write(out.join("config.json"), "{}").unwrap();
    parent
}

#[test]
fn an_occupied_directory_is_refused_and_left_alone() {
    let parent = occupied();
    let out = parent.path().join("out");
    let before = snapshot(&out);
    for form in FORMS {
        let text = refuse(CheckpointWriter::new(form), &model(), &out);
        assert!(text.contains("out") && text.contains("overwrite"), "{text}");
        assert_eq!(snapshot(&out), before, "content of the directory");
        assert_eq!(entries(parent.path()), ["out"], "the parent");
    }
    let error = OutputDirectory::check(&out, false).expect_err("occupied");
    assert!(matches!(error, GptOssError::OutputExists { .. }), "{error}");
}

#[test]
fn a_file_as_target_is_refused_and_left_alone() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    std::fs::write(&out, "mine").unwrap();
    let text = refuse(CheckpointWriter::new(FORMS[0]), &model(), &out);
    assert!(text.contains("out"), "{text}");
    assert_eq!(snapshot(parent.path())["out"], b"mine", "the file");
    assert_eq!(entries(parent.path()), ["out"], "the parent");
}

#[test]
fn an_empty_directory_is_a_valid_target() {
    let parent = TempDir::new().unwrap();
    let out = parent.path().join("out");
    std::fs::create_dir(&out).unwrap();
    CheckpointWriter::new(FORMS[0])
        .save(&model(), &out, |_| {})
        .unwrap();
    assert_reloads(&out, FORMS[0]);
    assert_eq!(entries(parent.path()), ["out"], "the parent");
}

#[test]
fn overwriting_replaces_the_whole_directory() {
    let parent = occupied();
    let out = parent.path().join("out");
    let writer = CheckpointWriter::new(FORMS[0]).with_overwrite(true);
    writer.save(&model(), &out, |_| {}).unwrap();
    assert_reloads(&out, FORMS[0]);
    assert_eq!(
        entries(&out),
        ["config.json", "model.safetensors"],
        "content of the directory"
    );
    assert_eq!(entries(parent.path()), ["out"], "the parent");
}

/// Replaces one element of a tensor.
fn with_element<const D: usize>(tensor: Tensor<D>, index: usize, value: f32) -> Param<Tensor<D>> {
    let mut new = values(&tensor);
    new[index] = value;
    Param::from_tensor(Tensor::from_data(
        TensorData::new(new, tensor.dims()),
        &tensor.device(),
    ))
}

#[test]
fn non_finite_weights_are_named_and_leave_nothing_behind() {
    // The last one is finite in float32 only.
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let mut experts = model();
        let last = experts.layers.len() - 1;
        let matrix = &mut experts.layers[last].mlp.experts.down_proj;
        let matrix = matrix.dense_mut().expect("dense experts");
        *matrix = with_element(matrix.base(), 77, value);
        assert_refused(
            &experts,
            &format!("model.layers.{last}.mlp.experts.down_proj"),
            77,
        );

        let mut norm = model();
        norm.norm.weight = with_element(norm.norm.weight.base(), 3, value);
        assert_refused(&norm, "model.norm.weight", 3);
    }
}

fn assert_refused(model: &GptOss, tensor: &str, index: usize) {
    let index = format!("element {index}");
    let source = open(SOURCE);
    for form in FORMS {
        let parent = TempDir::new().unwrap();
        let writer = CheckpointWriter::new(form).with_source(&source);
        let text = refuse(writer, model, &parent.path().join("out"));
        assert!(
            text.contains(&format!("`{tensor}`")) && text.contains(&index),
            "{form}: {text}"
        );
        assert!(
            entries(parent.path()).is_empty(),
            "{form}: {:?}",
            entries(parent.path())
        );

        let parent = occupied();
        let out = parent.path().join("out");
        let before = snapshot(&out);
        refuse(writer.with_overwrite(true), model, &out);
        assert_eq!(
            snapshot(&out),
            before,
            "{form}: content of the old directory"
        );
        assert_eq!(entries(parent.path()), ["out"], "{form}: the parent");
    }
}

#[test]
fn an_impossible_parent_is_named() {
    let parent = TempDir::new().unwrap();
    std::fs::write(parent.path().join("file"), "mine").unwrap();
    let out = parent.path().join("file/out");
    let text = refuse(CheckpointWriter::new(FORMS[0]), &model(), &out);
    assert!(text.contains("file"), "{text}");
    assert_eq!(snapshot(parent.path())["file"], b"mine", "the file");
    assert_eq!(entries(parent.path()), ["file"], "the parent");
}

#[cfg(unix)]
#[test]
fn a_read_only_parent_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let temp = TempDir::new().unwrap();
    let parent = temp.path().join("read-only");
    std::fs::create_dir(&parent).unwrap();
    let set =
        |mode| std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o555);
    if std::fs::write(parent.join("probe"), "").is_ok() {
        // Permissions do not bind the superuser; the kernel's own file system binds everyone.
        #[cfg(target_os = "linux")]
        assert_unwritable(Path::new("/proc"));
        return;
    }
    assert_unwritable(&parent);
    assert!(entries(&parent).is_empty(), "the parent");
    set(0o755);
}

#[cfg(unix)]
fn assert_unwritable(parent: &Path) {
    let text = refuse(
        CheckpointWriter::new(FORMS[0]),
        &model(),
        &parent.join("out"),
    );
    assert!(text.contains(&*parent.to_string_lossy()), "{text}");
}
