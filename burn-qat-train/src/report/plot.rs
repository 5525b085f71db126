use plotters::prelude::*;

use crate::QatError;

/// One line of a plot.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Optimizer step and loss.
    pub points: Vec<(f64, f64)>,
    /// Drawn thin, as background (training loss of single batches).
    pub faint: bool,
}

/// Colours that stay apart for colour-blind readers (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// Draws loss over optimizer steps as SVG, the loss on a logarithmic axis.
///
/// # Errors
/// [`QatError::Training`] if the drawing library fails; curves without finite points are left out.
pub fn loss_plot(title: &str, curves: &[Curve]) -> Result<String, QatError> {
    let mut svg = String::new();
    draw(title, curves, &mut svg).map_err(|error| QatError::Training {
        stage: "plot".into(),
        message: error.to_string(),
    })?;
    Ok(svg)
}

fn draw(title: &str, curves: &[Curve], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let finite = |curve: &Curve| -> Vec<(f64, f64)> {
        curve.points.iter().copied().filter(|(_, y)| y.is_finite() && *y > 0.0).collect()
    };
    let all: Vec<(f64, f64)> = curves.iter().flat_map(finite).collect();
    let right = all.iter().map(|(x, _)| *x).fold(1.0, f64::max);
    let low = all.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min).min(1e3);
    let high = all.iter().map(|(_, y)| *y).fold(low * 1.5, f64::max);

    let root = SVGBackend::with_string(svg, (900, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right * 1.01, (low * 0.9..high * 1.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("optimizer steps")
        .y_desc("loss (nats per target)")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.3}"))
        .light_line_style(WHITE)
        .draw()?;
    let colours = COLOURS.iter().cycle();
    for (curve, colour) in curves.iter().zip(colours) {
        let style = match curve.faint {
            true => colour.mix(0.35).stroke_width(1),
            false => colour.stroke_width(3),
        };
        chart
            .draw_series(LineSeries::new(finite(curve), style))?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()?;
    Ok(())
}
