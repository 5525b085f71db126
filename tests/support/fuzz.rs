//! A fuzz target: its corpus, then mutations of it for two seconds, or for `FUZZ_SECONDS`. An input that fails is
//! written into the corpus, where it stays as a test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Bytes of an input.
const LONGEST: usize = 1 << 17;

/// Runs a target on the files of `dir`, on `seeds`, and on mutations of both; the number of inputs.
pub fn fuzz(dir: &Path, seeds: Vec<Vec<u8>>, target: impl Fn(&[u8])) -> u64 {
    let mut corpus = read(dir);
    corpus.extend(seeds);
    corpus.iter().for_each(|bytes| target(bytes));
    let seconds = std::env::var("FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let (time, start) = (Duration::from_secs(seconds.unwrap_or(2)), Instant::now());
    // Long runs see other inputs each time, tests always the same.
    let seed = seconds.map_or(7, |_| std::process::id().into());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut n_runs = 0u64;
    while start.elapsed() < time {
        let bytes = mutated(&corpus, &mut random);
        let run = catch_unwind(AssertUnwindSafe(|| target(&bytes)));
        if run.is_err() {
            let path = dir.join(format!("failed_{seed}_{n_runs}"));
            std::fs::create_dir_all(dir).expect("the corpus can be written");
            std::fs::write(&path, &bytes).expect("the corpus can be written");
            panic!("the input is kept as {}", path.display());
        }
        n_runs += 1;
        if corpus.len() < 4096 && random.random_range(0..8) == 0 {
            corpus.push(bytes);
        }
    }
    println!("{}: {n_runs} inputs, seed {seed}", dir.display());
    assert!(n_runs > 0);
    n_runs
}

/// The folder of a target beside the tests.
pub fn corpus(test: &str, target: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("tests").join(test).join("corpus").join(target)
}

fn read(dir: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("readable"))
        .collect()
}

/// An input with some bytes changed, or the beginning of one and the end of another.
fn mutated(corpus: &[Vec<u8>], random: &mut ChaCha8Rng) -> Vec<u8> {
    let pick = |random: &mut ChaCha8Rng| &corpus[random.random_range(0..corpus.len())];
    let mut bytes = pick(random).clone();
    for _ in 0..random.random_range(1..8) {
        let at = |random: &mut ChaCha8Rng, len: usize| random.random_range(0..len.max(1));
        let place = at(random, bytes.len());
        match random.random_range(0..6) {
            0 => bytes.truncate(place),
            1 => bytes.insert(place.min(bytes.len()), random.random()),
            2 => {
                let other = pick(random);
                bytes.truncate(place);
                bytes.extend_from_slice(&other[at(random, other.len()).min(other.len())..]);
            }
            3 if !bytes.is_empty() => {
                let end = (place + at(random, 16)).min(bytes.len());
                let part = bytes[place..end].to_vec();
                let to = at(random, bytes.len());
                bytes.splice(to..to, part);
            }
            4 if bytes.len() > 8 => {
                // Numbers of any size where one stood.
                let word = [u64::MAX, 1 << 63, 1 << 32, 0, 1][at(random, 5)].to_le_bytes();
                let place = place.min(bytes.len() - 8);
                bytes[place..place + 8].copy_from_slice(&word);
            }
            _ if !bytes.is_empty() => bytes[place] = random.random(),
            _ => {}
        }
    }
    bytes.truncate(LONGEST);
    bytes
}
