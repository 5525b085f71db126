//! Metrics in other formats: what is in the files is the history.

use std::fs;
use std::path::Path;

use burn_qat_train::{QuantPolicy, ReportTo, TrainConfig, insert_quantizers};

use crate::run::{config, run_in, start};

/// The numbers of an event file: step, tag, value.
fn events(dir: &Path) -> Vec<(u64, String, f32)> {
    let is_events = |name: &str| name.starts_with("events.out.tfevents.");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let files: Vec<_> = files
        .filter(|file| is_events(&file.file_name().to_string_lossy()))
        .collect();
    assert_eq!(files.len(), 1, "one file of each stage");
    let bytes = fs::read(files[0].path()).unwrap();
    let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
        scalars(&rest[12..12 + length], &mut found);
        rest = &rest[12 + length + 4..];
    }
    found
}

/// Fields of a message: their numbers and bytes; of numbers, the bytes of the value.
fn fields(mut message: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(message: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = message[0];
            *message = &message[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let length = match key & 7 {
            0 => {
                let value = varint(&mut message);
                found.push((key >> 3, value.to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut message) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, message[..length].to_vec()));
        message = &message[length..];
    }
    found
}

fn scalars(event: &[u8], found: &mut Vec<(u64, String, f32)>) {
    let fields_of = |message: &[u8], number| {
        let all = fields(message).into_iter();
        all.filter(move |(found, _)| *found == number)
            .map(|(_, bytes)| bytes)
    };
    let step = fields_of(event, 2).next();
    let step = step.map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()));
    for summary in fields_of(event, 5) {
        for value in fields_of(&summary, 1) {
            let tag = fields_of(&value, 1).next().unwrap();
            let number = fields_of(&value, 2).next().unwrap();
            let number = f32::from_le_bytes(number.try_into().unwrap());
            found.push((step, String::from_utf8(tag).unwrap(), number));
        }
    }
}

#[test]
fn files_have_what_the_history_has() {
    let dir = tempfile::tempdir().unwrap();
    let config = TrainConfig {
        steps: 4,
        eval_steps: 2,
        eval_on_start: true,
        report_to: vec![ReportTo::Csv, ReportTo::Tensorboard],
        ..config()
    };
    // Twice in one directory: the second run replaces the files of the first.
    for _ in 0..2 {
        let (model, _) = insert_quantizers(start(), &QuantPolicy::mxfp4_mlp_weight_only()).unwrap();
        let history = run_in(dir.path(), model, &config).unwrap().history;

        let found = events(dir.path());
        let of = |tag: &str| -> Vec<(u64, f32)> {
            let events = found.iter().filter(|(_, found, _)| found == tag);
            events.map(|(step, _, value)| (*step, *value)).collect()
        };
        let train = history.train.iter();
        let losses: Vec<_> = train
            .map(|point| (point.step as u64, point.loss as f32))
            .collect();
        assert_eq!(of("train/loss"), losses);
        assert_eq!(of("train/grad_norm").len(), 4);
        assert_eq!(of("train/learning_rate").len(), 4);
        let valid = history.valid.iter();
        let mut expected = vec![(0, history.start.unwrap() as f32)];
        expected.extend(valid.map(|point| (point.step as u64, point.loss as f32)));
        assert_eq!(of("eval/loss"), expected);
        let point = &history.quantization[0];
        let tag = format!("quantization/codes_changed/{}", point.weight);
        assert_eq!(of(&tag).len(), 3);

        let text = fs::read_to_string(dir.path().join("metrics.csv")).unwrap();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
        assert_eq!(rows[0][..4], ["stage", "split", "step", "loss"]);
        assert_eq!(rows.len(), 1 + 1 + 4 + 2);
        let last_step = rows.iter().rfind(|row| row[1] == "train").unwrap();
        let point = history.train[3];
        assert_eq!(last_step[2], "4");
        assert_eq!(last_step[3].parse::<f64>().unwrap(), point.loss);
        assert_eq!(
            last_step[6].parse::<f64>().unwrap(),
            point.grad_norm.unwrap()
        );
        let evaluation = rows.iter().rfind(|row| row[1] == "valid").unwrap();
        assert_eq!(evaluation[4..], ["", "", "", ""]);
    }
}

#[test]
fn a_file_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("metrics.csv")).unwrap();
    let config = TrainConfig {
        report_to: vec![ReportTo::Csv],
        ..config()
    };
    let error = run_in(dir.path(), start(), &config)
        .unwrap_err()
        .to_string();
    assert!(error.contains("create the metrics in"), "{error}");
}
