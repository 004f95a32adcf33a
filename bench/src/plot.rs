//! A picture: curves over one axis.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;

const SIZE: (u32, u32) = (640, 360);
/// The axis is logarithmic where it goes over more than that.
const LINEAR_UP_TO: f64 = 50.0;
/// For the names of the curves to be above them.
const HEADROOM: f64 = 1.25;
const COLORS: [RGBColor; 4] = [
    RGBColor(200, 30, 60),
    RGBColor(40, 90, 200),
    RGBColor(30, 140, 80),
    RGBColor(190, 130, 20),
];

/// Curves by their names.
pub type Lines = BTreeMap<String, Vec<(f64, f64)>>;

pub struct Plot {
    /// Name of its file, without the ending.
    pub name: String,
    pub title: String,
    pub x: &'static str,
    pub y: &'static str,
    pub lines: Lines,
}

impl Plot {
    /// Draws it into a folder; nothing where there are no points.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let Some((x, most)) = self.extent() else {
            return Ok(());
        };
        std::fs::create_dir_all(folder).context("making the folder of the plots")?;
        let path = folder.join(format!("{}.svg", self.name));
        let area = SVGBackend::new(&path, SIZE).into_drawing_area();
        let is_wide = x.start > 0.0 && x.end / x.start > LINEAR_UP_TO;
        let drawn = match is_wide {
            true => self.draw(&area, x.log_scale(), most),
            false => self.draw(&area, x, most),
        };
        drawn.with_context(|| format!("drawing {}", path.display()))
    }

    /// From the first to the last point, and the highest value.
    fn extent(&self) -> Option<(Range<f64>, f64)> {
        let points = || self.lines.values().flatten().filter(|(_, y)| y.is_finite());
        let first = points().map(|(x, _)| *x).reduce(f64::min)?;
        let last = points().map(|(x, _)| *x).reduce(f64::max)?;
        let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let last = if last > first { last } else { first + 1.0 };
        Some((first..last, if most > 0.0 { most } else { 1.0 }))
    }

    fn draw<X>(&self, area: &DrawingArea<SVGBackend<'_>, Shift>, x: X, most: f64) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
    {
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 18))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(64)
            .build_cartesian_2d(x, 0.0..most * HEADROOM)?;
        chart.configure_mesh().x_desc(self.x).y_desc(self.y).draw()?;
        for ((name, line), color) in self.lines.iter().zip(COLORS.iter().cycle()) {
            let points = line.iter().copied().filter(|(_, y)| y.is_finite());
            chart
                .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(2))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: &[(f64, f64)]) -> Plot {
        Plot {
            name: "creates".to_owned(),
            title: "creates".to_owned(),
            x: "members",
            y: "a second",
            lines: [("KotobaDB".to_owned(), points.to_vec())].into(),
        }
    }

    #[test]
    fn an_axis_goes_from_the_first_to_the_last_point_that_was_measured() {
        let measured = plot(&[(9.0, 2.0), (1.0, 4.0), (64.0, f64::NAN)]);
        assert_eq!(measured.extent(), Some((1.0..9.0, 4.0)));
        assert_eq!(plot(&[(3.0, 0.0)]).extent(), Some((3.0..4.0, 1.0)));
    }

    #[test]
    fn only_what_was_measured_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = folder.path().join("creates.svg");
        plot(&[]).write(folder.path()).unwrap();
        assert!(!drawn.exists());
        plot(&[(1.0, 2.0), (1_024.0, 3.0)]).write(folder.path()).unwrap();
        assert!(std::fs::read_to_string(drawn).unwrap().contains("KotobaDB"));
    }
}
