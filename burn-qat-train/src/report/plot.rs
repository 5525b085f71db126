use plotters::prelude::*;

use crate::error::QatError;

/// One stage in a plot; points are optimizer steps and losses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    /// Name in the legend.
    pub name: String,
    /// Loss of single batches, drawn thin.
    pub train: Vec<(f64, f64)>,
    /// Validation loss, drawn thick with markers.
    pub valid: Vec<(f64, f64)>,
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
/// [`QatError::Training`] if the drawing library fails; points that are not finite are left out.
pub fn loss_plot(title: &str, curves: &[Curve]) -> Result<String, QatError> {
    let mut svg = String::new();
    draw(title, curves, &mut svg).map_err(|error| QatError::Training {
        stage: "plot".into(),
        message: error.to_string(),
    })?;
    Ok(svg)
}

/// The library labels whole decades only, so losses are drawn as logarithms on a linear axis.
fn logarithms(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .iter()
        .filter(|(_, y)| y.is_finite() && *y > 0.0)
        .map(|(x, y)| (*x, y.log10()))
        .collect()
}

fn draw(title: &str, curves: &[Curve], svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let all: Vec<(f64, f64)> = curves
        .iter()
        .flat_map(|c| [logarithms(&c.train), logarithms(&c.valid)].concat())
        .collect();
    let right = all.iter().map(|(x, _)| *x).fold(1.0, f64::max);
    let low = all
        .iter()
        .map(|(_, y)| *y)
        .fold(f64::INFINITY, f64::min)
        .min(1.0);
    let high = all.iter().map(|(_, y)| *y).fold(low + 0.1, f64::max);

    let root = SVGBackend::with_string(svg, (900, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(14)
        .x_label_area_size(42)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..right * 1.01, low - 0.05..high + 0.05)?;
    chart
        .configure_mesh()
        .x_desc("optimizer steps")
        .y_desc("loss (nats per target); thin: training batches")
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| loss_label(10f64.powf(*y)))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart.draw_series(LineSeries::new(logarithms(&curve.train), colour.mix(0.35)))?;
        let valid = logarithms(&curve.valid);
        chart.draw_series(
            valid
                .iter()
                .map(|point| Circle::new(*point, 4, colour.filled())),
        )?;
        chart
            .draw_series(LineSeries::new(valid, colour.stroke_width(2)))?
            .label(curve.name.clone())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(3)));
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

/// A loss on the axis: with distillation some are far below a thousandth.
fn loss_label(loss: f64) -> String {
    match loss < 0.001 {
        true => format!("{loss:.0e}"),
        false => format!("{loss:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_what_is_finite_and_survives_nothing_at_all() {
        let curve = Curve {
            name: "SFT".into(),
            train: vec![(1.0, 2.0), (2.0, f64::NAN)],
            valid: vec![(2.0, 1.5)],
        };
        let svg = loss_plot("title", &[curve]).expect("an image");
        assert!(svg.starts_with("<svg") && svg.contains("SFT") && !svg.contains("NaN"));
        assert!(loss_plot("empty", &[]).is_ok());
    }

    #[test]
    fn no_loss_is_called_zero() {
        assert_eq!(loss_label(1.0), "1.000");
        assert_eq!(loss_label(10f64.powf(-2.5)), "0.003");
        assert_eq!(loss_label(10f64.powf(-3.5)), "3e-4");
    }
}
