//! Runs that end early and go on.

use std::hash::{DefaultHasher, Hasher};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use burn_gpt_oss::{CheckpointReader, TensorLayout};
use serde_json::{Value, json};

use crate::example::{entries, error_of, mentions, text};
use crate::recipe::{output, recipe, results, wait_for_lines};

/// Many steps behind those at which a run is ended, or it may be through before the signal comes.
const ARGS: [&str; 10] = [
    "--sft-steps",
    "24",
    "--qat-steps",
    "30",
    "--eval-steps",
    "4",
    "--save-steps",
    "3",
    "--batch-size",
    "4",
];

/// Adapters, or all parameters.
const LORA: &[&str] = &["--rank", "2"];
const FULL: &[&str] = &[];

fn command(dir: &Path, out: &Path, more: &[&str]) -> Command {
    recipe(dir, out, &[&ARGS, more].concat())
}

/// What must not depend on where a run was interrupted: the rows, and the bytes of some files, as a number each.
fn result(out: &Path, files: &[&str]) -> (Vec<Value>, Vec<u64>) {
    let rows = results(out)["rows"].as_array().expect("rows").clone();
    // Each run has its own directory.
    let figures = rows
        .iter()
        .map(|row| json!([row["name"], row["steps"], row["loss"]]));
    let hash = |file: &&str| {
        let mut hasher = DefaultHasher::new();
        hasher.write(&std::fs::read(out.join(file)).expect(file));
        hasher.finish()
    };
    (figures.collect(), files.iter().map(hash).collect())
}

/// Starts or goes on, and sends a signal once a log has so many lines.
fn end_early(dir: &Path, out: &Path, method: &[&str], (signal, log, lines): (&str, &str, usize)) {
    let resume: &[&str] = if out.exists() { &["--resume"] } else { &[] };
    let mut child = command(dir, out, &[method, resume].concat())
        .stdout(Stdio::null())
        .spawn()
        .expect("the example starts");
    wait_for_lines(&out.join("logs").join(log).join("metrics.jsonl"), lines);
    let pid = child.id().to_string();
    let killed = Command::new("kill").args(["-s", signal, &pid]).status();
    killed.expect("kill");
    child.wait().expect("an end");
}

/// Ends a run at some lines of some logs, lets it go on, and compares it with one that was left alone.
fn ends_early_again_and_again(
    method: &[&str],
    ends: &[(&str, &str, usize)],
    files: &[&str],
    said: &[&str],
) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let ended = output(&mut command(dir.path(), &whole, method));
    assert!(ended.status.success(), "{ended:?}");
    for end in ends {
        end_early(dir.path(), &parts, method, *end);
    }
    let resumed = [method, &["--resume"]].concat();
    let ended = output(&mut command(dir.path(), &parts, &resumed));
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(ended.status.success(), "{ended:?}");
    mentions(&told, said);
    assert_eq!(result(&parts, files), result(&whole, files));
    // Nothing is left to do, and nothing is left over.
    let ended = output(&mut command(dir.path(), &parts, &resumed));
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(result(&parts, files), result(&whole, files));
    for entry in parts.join("logs").read_dir().expect("logs") {
        let logs = entry.expect("an entry").path();
        assert_eq!(entries(&logs), ["metrics.jsonl"], "{}", logs.display());
    }
}

#[test]
fn a_run_with_adapters_that_ends_early_has_the_same_results() {
    ends_early_again_and_again(
        LORA,
        &[
            ("KILL", "lora_sft", 1),
            ("TERM", "lora_sft", 2),
            ("KILL", "lora_sft", 7),
            ("KILL", "lora_qat", 1),
            ("INT", "lora_qat", 4),
        ],
        &[
            "lora_sft_adapter/adapter_model.safetensors",
            "lora_qat_adapter/adapter_model.safetensors",
            "lora_qat/model.safetensors",
        ],
        &["LoRA-SFT: completed before", "LoRA-QAT: goes on"],
    );
}

#[test]
fn a_run_of_full_training_that_ends_early_has_the_same_results() {
    ends_early_again_and_again(
        FULL,
        &[
            ("KILL", "sft", 1),
            ("TERM", "sft", 5),
            ("KILL", "sft_qat", 1),
            ("INT", "sft_qat", 6),
            ("KILL", "sft_longer", 3),
        ],
        &[
            "sft/model.safetensors",
            "sft_ptq/model.safetensors",
            "sft_qat/model.safetensors",
            "sft_longer/model.safetensors",
        ],
        &[
            "SFT: completed before",
            "SFT + QAT: completed before",
            "SFT longer (control): goes on",
        ],
    );
}

/// A student learns from the same teacher.
#[test]
fn a_run_of_distillation_that_ends_early_has_the_same_results() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/qad.yaml");
    ends_early_again_and_again(
        &["--recipe", &text(&recipe)],
        &[
            ("TERM", "sft", 5),
            ("KILL", "sft_qad", 1),
            ("INT", "sft_qad", 6),
        ],
        &["sft/model.safetensors", "sft_qad/model.safetensors"],
        &["SFT: completed before", "SFT + QAD: goes on"],
    );
}

/// Thirty kills; a run that gets to its end before the next one is compared and begun anew.
#[test]
fn killed_at_any_moment_a_run_has_the_same_results() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let few = ["--sft-steps", "6", "--qat-steps", "6", "--save-steps", "1"];
    let few = [&few[..], &["--eval-steps", "2", "--batch-size", "2"]].concat();
    let files = [
        "sft/model.safetensors",
        "sft_ptq/model.safetensors",
        "sft_qat/model.safetensors",
        "sft_longer/model.safetensors",
    ];
    let start = |out: &Path, more: &[&str]| recipe(dir.path(), out, &[&few, more].concat());
    let ended = output(&mut start(&whole, &[]));
    assert!(ended.status.success(), "{ended:?}");
    let whole = result(&whole, &files);
    let goes_on = |out: &Path| match out.join("recipe.json").exists() {
        true => ["--resume"],
        // Killed before it had begun.
        false => ["--overwrite"],
    };
    let (mut n_kills, mut state) = (0, 12345u64);
    while n_kills < 30 {
        let mut child = start(&parts, &goes_on(&parts));
        let mut child = child.stdout(Stdio::null()).spawn().expect("a start");
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        std::thread::sleep(Duration::from_millis((state >> 33) % 2500));
        let is_killed = child.try_wait().expect("a state").is_none();
        child.kill().expect("kill");
        let status = child.wait().expect("an end");
        n_kills += usize::from(is_killed);
        if !is_killed {
            assert!(status.success(), "{n_kills} kills: {status}");
            assert_eq!(result(&parts, &files), whole, "{n_kills} kills");
            std::fs::remove_dir_all(&parts).expect("removed");
        }
    }
    let ended = output(&mut start(&parts, &goes_on(&parts)));
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(result(&parts, &files), whole);
}

/// A limit on the size of a file stands for a full disk: moments do not fit below it, and all else does.
#[test]
fn a_disk_that_is_full_loses_no_state() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (whole, parts) = (dir.path().join("whole"), dir.path().join("parts"));
    let ended = output(&mut command(dir.path(), &whole, LORA));
    assert!(ended.status.success(), "{ended:?}");
    end_early(dir.path(), &parts, LORA, ("TERM", "lora_sft", 2));
    let logs = parts.join("logs/lora_sft");
    let states = || {
        let mut names = entries(&logs);
        names.retain(|name| name.starts_with("checkpoint"));
        names
    };
    let before = states();
    assert_eq!(before.len(), 1, "{before:?}");

    let resumed = [LORA, &["--resume"]].concat();
    let limited = command(dir.path(), &parts, &resumed);
    let mut bash = Command::new("bash");
    bash.current_dir(dir.path())
        .args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$0\" \"$@\""])
        .arg(limited.get_program())
        .args(limited.get_args());
    let message = error_of(&output(&mut bash));
    mentions(&message, &["logs/lora_sft", "File too large"]);
    assert_eq!(states(), before);

    let ended = output(&mut command(dir.path(), &parts, &resumed));
    assert!(ended.status.success(), "{ended:?}");
    let files = [
        "lora_sft_adapter/adapter_model.safetensors",
        "lora_qat/model.safetensors",
    ];
    assert_eq!(result(&parts, &files), result(&whole, &files));
}

/// Forms of other programs may be asked for later, and hold what was trained.
#[test]
fn other_forms_are_written_beside_a_checkpoint() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let ended = output(&mut recipe(dir.path(), &out, &["--smoke", "export=[bf16]"]));
    assert!(ended.status.success(), "{ended:?}");
    let forms = |out: &Path| {
        let mut names = entries(out);
        names.retain(|name| name.contains('-'));
        names
    };
    assert_eq!(forms(&out), ["sft_qat-bf16"]);
    let more = "export=[bf16, gguf, compressed-mxfp4]";
    let ended = output(&mut recipe(
        dir.path(),
        &out,
        &["--smoke", "--resume", more],
    ));
    assert!(ended.status.success(), "{ended:?}");
    mentions(
        &String::from_utf8_lossy(&ended.stdout),
        &["written as gguf", "nothing is left to do"],
    );
    assert_eq!(
        forms(&out),
        ["sft_qat-bf16", "sft_qat-compressed-mxfp4", "sft_qat-gguf"]
    );
    let trained = CheckpointReader::open(out.join("sft_qat")).expect("a checkpoint");
    let other = CheckpointReader::open(out.join("sft_qat-compressed-mxfp4")).expect("a checkpoint");
    let specs = trained.specs().iter();
    for spec in specs.filter(|spec| spec.layout == TensorLayout::Experts) {
        let [trained, other] = [&trained, &other].map(|reader| reader.packed(spec).expect("codes"));
        assert!(trained.has_bytes_of(&other), "{}", spec.name);
    }
    let rounds = ["--smoke", "export=[gguf]", "quantize=nvfp4_mlp_weight_only"];
    let message = error_of(&output(&mut recipe(
        dir.path(),
        &dir.path().join("other"),
        &rounds,
    )));
    mentions(&message, &["`export` is gguf", "without rounding it again"]);
}

/// Without states a stage that was not through begins anew, and so does one whose weights were not kept.
#[test]
fn a_run_without_states_begins_its_stages_anew() {
    let more = ["train.save_steps=0"];
    ends_early_again_and_again(
        &more,
        &[
            ("INT", "sft", 5),
            ("KILL", "sft", 3),
            ("KILL", "sft_qat", 3),
        ],
        &["sft/model.safetensors", "sft_qat/model.safetensors"],
        &["SFT + QAT "],
    );
}

#[test]
fn only_the_same_run_goes_on() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let refused = |more: &[&str]| {
        error_of(&output(&mut command(
            dir.path(),
            &out,
            &[LORA, more].concat(),
        )))
    };
    mentions(&refused(&["--resume"]), &["recipe.json", "no run to go on"]);
    end_early(dir.path(), &out, LORA, ("TERM", "lora_sft", 2));
    let other = ["--resume", "--sft-lr", "1e-3", "--alpha", "3"];
    let parts = [
        "`stages.lora_sft.learning_rate` was",
        "is 0.001",
        "`lora.alpha` was",
    ];
    mentions(&refused(&other), &parts);
    let data = dir.path().join("other.jsonl");
    let rows = std::fs::read_to_string(dir.path().join("data.jsonl")).expect("rows");
    let fewer: Vec<&str> = rows.lines().skip(1).collect();
    std::fs::write(&data, fewer.join("\n")).expect("a file");
    let message = refused(&["--resume", "--data", &text(&data)]);
    mentions(&message, &["`data` was", "other.jsonl"]);
    let mut full = command(dir.path(), &out, &["--resume"]);
    mentions(
        &error_of(&output(&mut full)),
        &["`lora` was", "`stages.sft` was null"],
    );
    // A recipe of before a key was there has its default; what is written may be chosen anew.
    let saved = out.join("recipe.json");
    let recipe = std::fs::read_to_string(&saved).expect("a recipe");
    let mut recipe: serde_json::Value = serde_json::from_str(&recipe).expect("JSON");
    for stage in ["lora_sft", "lora_qat"] {
        let keys = recipe["stages"][stage].as_object_mut().expect("a stage");
        keys.remove("learned_scales").expect("a key");
    }
    std::fs::write(&saved, recipe.to_string()).expect("a file");
    let more = ["--resume", "train.report_to=[csv]"];
    let ended = output(&mut command(dir.path(), &out, &[LORA, &more].concat()));
    assert!(ended.status.success(), "{ended:?}");
    assert!(out.join("logs/lora_sft/metrics.csv").is_file());
}
