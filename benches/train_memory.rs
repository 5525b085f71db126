//! Peak memory of a training step over the length of its one sequence, with and without recomputed
//! layers: what forward and backward pass allocate, gradients included, weights and optimizer not.
//!
//! The model is that of the bench `train_step`. Floor with recomputation: 36.4 M gradients of 4 bytes,
//! and for each token one hidden state of 2 KiB per layer and one more.
//!
//! `cargo bench --bench train_memory [-- FILE.svg]` also draws the figures.

#[path = "../tests/support/counting_allocator.rs"]
mod counting_allocator;
#[path = "support/training.rs"]
mod training;

use burn::tensor::Device;
use burn::train::TrainStep;
use burn_qat_train::{FineTune, TrainConfig};
use counting_allocator::peak_of;
use plotters::prelude::{
    BLACK, ChartBuilder, Circle, IntoDrawingArea, LineSeries, PathElement, RGBColor, SVGBackend,
    WHITE,
};

const LAYERS: usize = 4;
const LENGTHS: [usize; 6] = [256, 512, 1024, 2048, 4096, 8192];
const MEGABYTE: f64 = 1e6;

/// Megabytes at each of [`LENGTHS`].
struct Series {
    name: &'static str,
    colour: RGBColor,
    peaks: Vec<f64>,
}

fn main() -> anyhow::Result<()> {
    let all = [
        measured("layers kept", RGBColor(213, 94, 0), false),
        measured("layers recomputed", RGBColor(0, 114, 178), true),
    ];
    println!(
        "{:>8}  {:>14}  {:>18}  MB",
        "tokens", all[0].name, all[1].name
    );
    for (i, len) in LENGTHS.iter().enumerate() {
        println!(
            "{len:>8}  {:>14.1}  {:>18.1}",
            all[0].peaks[i], all[1].peaks[i]
        );
    }
    for series in &all {
        let kilobytes: Vec<_> = (1..LENGTHS.len())
            .map(|i| {
                (series.peaks[i] - series.peaks[i - 1]) * 1e3 / (LENGTHS[i] - LENGTHS[i - 1]) as f64
            })
            .map(|kilobytes| format!("{kilobytes:.1}"))
            .collect();
        println!(
            "{}: kB per token between two lengths: {}",
            series.name,
            kilobytes.join(", ")
        );
    }
    // Cargo passes `--bench`.
    if let Some(path) = std::env::args().skip(1).find(|arg| !arg.starts_with("--")) {
        std::fs::write(&path, plot(&all)?)?;
    }
    Ok(())
}

fn measured(name: &'static str, colour: RGBColor, recompute_layers: bool) -> Series {
    let device = Device::flex().autodiff();
    let settings = TrainConfig {
        recompute_layers,
        ..TrainConfig::default()
    };
    let stage = FineTune::new(training::model(LAYERS, &device), &settings);
    let peak = |len: usize| {
        let batch = training::batch(1, len, &device);
        peak_of(|| TrainStep::step(&stage, batch).grads) as f64 / MEGABYTE
    };
    // Weights are made at the first use.
    peak(LENGTHS[0]);
    Series {
        name,
        colour,
        peaks: LENGTHS.map(peak).to_vec(),
    }
}

fn plot(all: &[Series]) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (720, 420)).into_drawing_area();
        area.fill(&WHITE)?;
        let top = all
            .iter()
            .flat_map(|series| &series.peaks)
            .fold(0.0, |a: f64, b| a.max(*b));
        let mut chart = ChartBuilder::on(&area)
            .margin(16)
            .caption(
                "Peak memory of a training step beyond its weights",
                ("sans-serif", 18),
            )
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..LENGTHS[5] as f64, 0.0..top * 1.05)?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("tokens in the sequence").y_desc("MB").draw()?;
        for series in all {
            let points: Vec<_> = LENGTHS
                .iter()
                .map(|len| *len as f64)
                .zip(series.peaks.clone())
                .collect();
            let colour = series.colour;
            chart
                .draw_series(LineSeries::new(points.clone(), &colour))?
                .label(series.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour));
            chart.draw_series(
                points
                    .into_iter()
                    .map(|point| Circle::new(point, 3, colour)),
            )?;
        }
        let mut labels = chart.configure_series_labels();
        labels.border_style(BLACK).background_style(WHITE).draw()?;
        area.present()?;
    }
    Ok(svg)
}
