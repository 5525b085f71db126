use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The binary of the recipe.
pub fn binary() -> PathBuf {
    example("qat_gpt_oss_20b")
}

/// The binary of an example, which `cargo test` builds beside the tests.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test
        .ancestors()
        .nth(2)
        .expect("target/<profile>/deps/<test>");
    let binary = target.join("examples").join(name);
    assert!(
        binary.exists(),
        "{} is missing: run `cargo test`, or `cargo build --examples` before a single test",
        binary.display()
    );
    binary
}

/// Runs the example to its end.
pub fn run(args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .output()
        .expect("the example starts")
}

/// Runs the example, expects it to refuse, and returns its error text.
pub fn refusal(args: &[&str]) -> String {
    let output = run(args);
    error_of(&output)
}

/// The error text of a refused run: exit code 1, one `error:` line first, no panic.
pub fn error_of(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.starts_with("error: ") && error.matches("\nerror: ").count() == 0,
        "{error}"
    );
    assert!(!error.contains("panicked"), "{error}");
    error
}

/// Asserts that a text contains all parts.
pub fn mentions(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// The golden tiny checkpoint with a tokenizer, so that it can be given as `--model`.
pub fn checkpoint(dir: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let model = dir.join("model");
    std::fs::create_dir_all(&model).expect("temporary directory");
    for (from, name) in [
        ("tests/golden/tiny-gpt-oss-sharded", "config.json"),
        (
            "tests/golden/tiny-gpt-oss-sharded",
            "model-00000-of-00001.safetensors",
        ),
        (
            "tests/golden/tiny-gpt-oss-sharded",
            "model-00001-of-00001.safetensors",
        ),
        (
            "tests/golden/tiny-gpt-oss-sharded",
            "model.safetensors.index.json",
        ),
        ("assets/tiny-gpt-oss", "tokenizer.json"),
    ] {
        let bytes = std::fs::read(root.join(from).join(name)).expect(name);
        std::fs::write(model.join(name), bytes).expect(name);
    }
    model
}

/// A dataset file with the given lines.
pub fn dataset(dir: &Path, lines: &[&str]) -> String {
    let path = dir.join("data.jsonl");
    std::fs::write(&path, lines.join("\n")).expect("temporary file");
    text(&path)
}

/// A dataset of so many conversations, no two alike.
pub fn dataset_of(dir: &Path, n: usize) -> String {
    let line = |i| LINE.replace("\"a\"", &format!("\"a{i}\""));
    let lines: Vec<String> = (0..n).map(line).collect();
    dataset(dir, &lines.iter().map(String::as_str).collect::<Vec<_>>())
}

/// A good line of a dataset.
pub const LINE: &str = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","thinking":"c"}]}"#;

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str()
        .expect("temporary paths are UTF-8")
        .to_string()
}

/// Everything in a directory, hidden entries included.
pub fn entries(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry
            .expect("listing")
            .file_name()
            .to_string_lossy()
            .into_owned()
    };
    let mut names: Vec<String> = entries.map(name).collect();
    names.sort();
    names
}

/// The directory of an input from the field.
pub fn case(name: &str) -> PathBuf {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    cases.join(name)
}
