//! Recipe files as a user gives them.

use std::path::Path;

use crate::example::{entries, error_of, mentions, run, text};
use crate::recipe::{inputs, results};

const SHORT: [&str; 5] = ["--smoke", "--prompts", "1", "--max-new-tokens", "2"];

fn recipes() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes")
}

#[test]
fn every_recipe_runs_on_the_embedded_model() {
    let dir = tempfile::tempdir().expect("temporary directory");
    for entry in recipes().read_dir().expect("recipes") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let out = dir.path().join(&name);
        let [recipe, place] = [&path, &out].map(|path| text(path));
        let args = [&["--recipe", &recipe, "--out", &place][..], &SHORT].concat();
        let ended = run(&args);
        assert!(ended.status.success(), "{name}: {ended:?}");
        let results = results(&out);
        let rows = results["rows"].as_array().expect("rows");
        let names: Vec<_> = rows.iter().filter_map(|row| row["name"].as_str()).collect();
        let n_rows = match name.as_str() {
            "embedded" | "embedded_refusal" => 7,
            "embedded_lora" | "embedded_formats" | "qat_full" | "nvfp4_qat" => 6,
            "lora_qat" | "nvfp4_w4a4" | "qad" | "qat_one_device" => 4,
            "sft_full" | "sft_lora" | "embedded_states" => 3,
            "lora_qat_only" | "nvfp4_scales_qad" => 2,
            other => panic!("{other}: how many rows?"),
        };
        assert_eq!(names.len(), n_rows, "{name}: {names:?}");
        let told = String::from_utf8_lossy(&ended.stdout);
        let [peak, estimate] = memory(&told);
        println!("{name}: {peak} MB at most, {estimate} MB by estimate");
        let within = (peak / 10.0).max(50.0);
        assert!((peak - estimate).abs() <= within, "{name}: {told}");
    }
}

/// Megabytes that a run took, and that it was expected to take.
fn memory(told: &str) -> [f64; 2] {
    let mut lines = told.lines();
    let line = lines.find_map(|line| line.strip_prefix("memory  "));
    let line = line.expect("a line about memory");
    let (peak, rest) = line.split_once(" at most, ").expect("the peak");
    let estimate = rest.strip_suffix(" by estimate").expect("the estimate");
    [peak, estimate].map(|amount| {
        let (number, unit) = amount.split_once(' ').expect("a unit");
        let number: f64 = number.parse().expect("a number");
        number * if unit == "GB" { 1000.0 } else { 1.0 }
    })
}

/// The recipe that a run saves is a recipe.
#[test]
fn a_run_can_be_repeated_from_what_it_saved() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let [first, second] = ["first", "second"].map(|name| dir.path().join(name));
    let recipe = text(&recipes().join("lora_qat_only.yaml"));
    let keys = ["stages.lora_qat.title=Rounded", "lora.rank=2"];
    let out = format!("output={}", text(&first));
    let args = [&["--recipe", &recipe, &out][..], &keys, &SHORT].concat();
    let ended = run(&args);
    assert!(ended.status.success(), "{ended:?}");
    let saved = text(&first.join("recipe.json"));
    let out = format!("output={}", text(&second));
    let ended = run(&[&["--recipe", &saved, &out][..], &SHORT].concat());
    assert!(ended.status.success(), "{ended:?}");
    let losses = |out: &Path| {
        let results = results(out);
        let rows = results["rows"].as_array().expect("rows").clone();
        rows.into_iter()
            .map(|row| (row["name"].clone(), row["loss"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(losses(&first), losses(&second));
    assert_eq!(losses(&first)[1].0, "Rounded");
    let adapter = "lora_qat_adapter/adapter_model.safetensors";
    let bytes = |out: &Path| std::fs::read(out.join(adapter)).expect(adapter);
    assert_eq!(bytes(&first), bytes(&second));
}

#[test]
fn mistakes_end_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let (out, file) = (dir.path().join("out"), dir.path().join("mine.yaml"));
    std::fs::write(&file, "stages:\n  sft:\n    stpes: 3\n").expect("a file");
    let missing = text(&dir.path().join("missing.yaml"));
    for (args, parts) in [
        (
            &["--recipe", &text(&file)][..],
            &["mine.yaml:3", "`stages.sft.stpes`", "did you mean `steps`?"][..],
        ),
        (&["--recipe", &missing], &["missing.yaml", "read failed"]),
        (
            &["stages.sft.steps=few"],
            &["`stages.sft.steps=few`", "a whole number"],
        ),
        (
            &["lora.layers=[99]", "--smoke"],
            &["layers from 0 to 3", "99"],
        ),
        (&["--model", "/nowhere", "--data", "x"], &["/nowhere"]),
        (&["data=/nowhere.jsonl"], &["/nowhere.jsonl"]),
    ] {
        let ended = run(&[args, &["--out", &text(&out)]].concat());
        mentions(&error_of(&ended), parts);
        assert!(!out.exists(), "{args:?}");
    }
    mentions(&error_of(&run(&["--resume"])), &["--resume needs --out"]);
}

/// Options are laid over the file that was given, overrides over both.
#[test]
fn options_and_overrides_reach_the_stages() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let file = dir.path().join("mine.yaml");
    let recipe = "lora: {rank: 3}\nstages:\n  first: {method: sft, steps: 5}\n  sft: {from: first, steps: 6}\n  qat: {from: first, steps: 7}\n";
    std::fs::write(&file, recipe).expect("a file");
    let file = text(&file);
    // The embedded dataset takes longer to generate than all this.
    let inputs = inputs(dir.path());
    let inputs = inputs.each_ref().map(String::as_str);
    let told = |args: &[&str]| {
        let given = [&inputs[..], &["--recipe", &file, "--dry-run"]].concat();
        let ended = run(&[&given, args].concat());
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    mentions(&told(&[]), &["| first | 5 |", "| sft | 6 |", "| qat | 7 |"]);
    let steps = ["--lora", "--sft-steps", "8", "--qat-steps", "9"];
    mentions(
        &told(&steps),
        &["| first | 8 |", "| sft | 9 |", "| qat | 9 |"],
    );
    let trained = |told: String| {
        let mut lines = told.lines();
        let line = lines.find(|line| line.starts_with("parameters"));
        line.expect("a line").to_owned()
    };
    // `--lora` leaves the rank of the file.
    assert_eq!(trained(told(&["--lora"])), trained(told(&[])));
    assert_ne!(trained(told(&["--rank", "4"])), trained(told(&[])));
    let both = told(&["--batch-size", "4", "train.batch_size=2", "train.steps=11"]);
    mentions(&both, &["| first | 11 |", "| qat | 11 |", " | 2 | "]);
    mentions(&told(&["lora=null"]), &["(100.00 %)"]);
    let refused = |args: &[&str]| error_of(&run(&[&inputs[..], &["--dry-run"], args].concat()));
    let sft = text(&recipes().join("sft_full.yaml"));
    mentions(
        &refused(&["--recipe", &sft, "--qat-lr", "1"]),
        &["--qat-lr", "no stage"],
    );
    let blocks_of_32 = ["quantize=nvfp4_bs32_mlp_weight_only"];
    mentions(
        &refused(&blocks_of_32),
        &["`stages.sft.quantize`", "NVFP4 in blocks of 16"],
    );
    mentions(
        &refused(&[
            "quantize=nvfp4_mlp_weight_only",
            "--lora",
            "lora.layers=[1]",
        ]),
        &["in MXFP4", "rounded to NVFP4", "adapters on all experts"],
    );
    mentions(
        &told(&["quantize=nvfp4_mlp_weight_only"]),
        &["nvfp4_mlp_weight_only"],
    );
}

/// A run that does not fit is described, too, and nothing is written.
#[test]
fn a_dry_run_tells_what_a_run_would_take() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let out = text(&dir.path().join("out"));
    let told = |args: &[&str]| {
        let ended = run(&[&["--dry-run", "--out", &out], args].concat());
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let full = told(&[]);
    mentions(&full, &["parameters 3.7 M, trained 3.7 M (100.00 %)"]);
    let frozen = told(&["train.frozen=[\"embed*\", \"lm_head*\"]"]);
    mentions(&frozen, &["trained 3.4 M (91.16 %)"]);
    mentions(
        &full,
        &[
            "| SFT | 900 | 1.00 |",
            "| SFT + QAT | 150 | 0.17 |",
            "fits: ",
        ],
    );
    mentions(
        &full,
        &["SFT weights for the control", "AdamW moments", "in all"],
    );
    let one_stage = told(&["stages.sft_longer=null"]);
    assert!(!one_stage.contains("for the control"), "{one_stage}");
    let lora = told(&["--lora"]);
    mentions(&lora, &["| LoRA-QAT | 60 |", "mxfp4_mlp_weight_only"]);
    let long = told(&[
        "train.micro_batch_size=4000",
        "stages.sft.micro_batch_size=4000000",
    ]);
    mentions(&long, &["DOES NOT FIT", "--max-length"]);
    assert!(entries(dir.path()).is_empty(), "{:?}", entries(dir.path()));
}
