use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use burn_gpt_oss::{CheckpointForm, CheckpointReader};

use crate::example::{binary, dataset_of, mentions, run, text};

#[test]
fn help_explains_every_option() {
    let output = run(&["--help"]);
    assert!(output.status.success());
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    let options = [
        "--model",
        "--data",
        "--out",
        "--overwrite",
        "--device",
        "--seed",
        "--qat-lr",
        "--lora",
        "--rank",
        "--smoke",
        "--recipe",
        "--dry-run",
        "KEY=VALUE",
    ];
    mentions(&help, &options);
    mentions(
        &help,
        &[
            "[default: 2e-5, with adapters 2e-4; embedded",
            "[default: runs/<time>]",
        ],
    );
}

#[test]
fn short_run_with_adapters_twice_in_one_directory() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let out_text = text(&out);
    for overwrite in [false, true] {
        // An option of the adapters asks for them, too.
        let mut args = vec!["--smoke", "--rank", "2", "--out", &out_text];
        args.extend(overwrite.then_some("--overwrite"));
        let output = run(&args);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{stdout}");
        mentions(
            &stdout,
            &["LoRA-SFT + PTQ", "LoRA-QAT", "changed by the merge"],
        );
    }
    for file in [
        "lora_sft_adapter/adapter_config.json",
        "lora_sft_ptq/config.json",
        "lora_qat/config.json",
        "lora_qat_adapter/adapter_model.safetensors",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
}

#[test]
fn short_run_on_the_embedded_model() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let output = run(&["--smoke", "--out", &text(&out)]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        shown.starts_with("This is the embedded tiny gpt-oss"),
        "{shown}"
    );
    let rows = [
        "Original",
        "SFT ",
        "SFT + PTQ",
        "SFT + GPTQ",
        "SFT + QAT",
        "SFT longer (control)",
    ];
    mentions(&shown, &rows);
    let card = std::fs::read_to_string(out.join("sft_qat/README.md")).expect("a model card");
    let parts = [
        "quantized by | mxfp4_mlp_weight_only: MXFP4",
        "## Results",
        "| SFT + QAT",
        "--example qat_gpt_oss_20b -- --smoke",
        "vllm serve",
    ];
    mentions(&card, &parts);
    mentions(
        &shown,
        &["layers.3.mlp.experts.down_proj", "all bits equal"],
    );
    for (name, form) in [
        ("sft", CheckpointForm::Bf16),
        ("sft_qat", CheckpointForm::Mxfp4),
    ] {
        let reader = CheckpointReader::open(out.join(name)).expect(name);
        assert_eq!(reader.form(), form);
    }
    for file in [
        "results.md",
        "report.html",
        "results.json",
        "loss.svg",
        "recipe.json",
        "logs/sft/metrics.jsonl",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    let results = std::fs::read(out.join("results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_slice(&results).expect("JSON");
    assert_eq!(results["rows"].as_array().map(Vec::len), Some(7));

    let again = run(&["--smoke", "--overwrite", "--out", &text(&out)]);
    assert!(
        again.status.success(),
        "{}",
        String::from_utf8_lossy(&again.stderr)
    );
}

/// The same code on a given checkpoint and dataset, with the published system block.
#[test]
fn short_run_on_a_given_model() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/tiny-gpt-oss");
    let data = dataset_of(dir.path(), 20);
    let out = dir.path().join("out");
    let output = run(&[
        "--model",
        &text(&model),
        "--data",
        &data,
        "--out",
        &text(&out),
        "--smoke",
        "--max-new-tokens",
        "8",
    ]);
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{shown}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    mentions(
        &shown,
        &["18 conversations to train on, 2 held out", "SFT + QAT"],
    );
    assert!(CheckpointReader::open(out.join("sft_qat")).is_ok());
}

#[test]
fn ctrl_c_ends_with_what_was_reached() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = dir.path().join("out");
    let mut child = Command::new(binary())
        .args([
            "--prompts",
            "4",
            "--sft-steps",
            "2000",
            "--eval-steps",
            "1000",
            "--max-new-tokens",
            "4",
        ])
        .args(["--out", &text(&out)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts");
    let stdout = child.stdout.take().expect("piped");
    let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
    assert!(
        lines.any(|line| line.starts_with("SFT ")),
        "training never began"
    );
    let pid = child.id().to_string();
    Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .expect("kill");
    let rest: Vec<String> = lines.collect();
    let status = child.wait().expect("the example ends");
    assert_eq!(status.code(), Some(130), "{rest:?}");
    mentions(&rest.join("\n"), &["Original", "stopped by a signal"]);
    let reader = CheckpointReader::open(out.join("sft")).expect("what SFT had reached");
    assert_eq!(reader.form(), CheckpointForm::Bf16);
}
