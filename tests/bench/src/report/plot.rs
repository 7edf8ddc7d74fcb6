//! Two kinds of plot, in SVG: groups of bars, and lines over a logarithmic grid.

use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that can be told apart by everyone (Okabe and Ito), flatnet's first.
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];
const SIZE: (u32, u32) = (900, 400);
type Outcome = Result<(), DrawingAreaErrorKind<std::io::Error>>;

const FONT: &str = "sans-serif";

/// Bars in groups; each group has a bar of each kind, or a gap.
#[derive(Debug)]
pub struct Bars<'a> {
    /// Above the plot.
    pub title: &'a str,
    /// Beside the axis.
    pub unit: &'a str,
    /// The kinds, in the order of the colours.
    pub kinds: Vec<&'a str>,
    /// Below each group, and the heights of its bars.
    pub groups: Vec<(String, Vec<Option<f64>>)>,
}

/// Lines, each through some points; both axes logarithmic.
#[derive(Debug)]
pub struct Lines<'a> {
    /// Above the plot.
    pub title: &'a str,
    /// Beside the axes: horizontal, vertical.
    pub units: [&'a str; 2],
    /// What each line is called, and its points.
    pub lines: Vec<(&'a str, Vec<(f64, f64)>)>,
}

impl Bars<'_> {
    /// Writes the plot.
    pub fn write(&self, file: &Path) {
        self.draw(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn draw(&self, file: &Path) -> Outcome {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let heights = self.groups.iter().flat_map(|(_, bars)| bars.iter().flatten());
        let top = heights.fold(0.0_f64, |top, height| top.max(*height)) * 1.12;
        let right = self.groups.len() as f64;
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, (FONT, 18))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..right, 0.0..top.max(f64::MIN_POSITIVE))?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc(self.unit)
            .draw()?;
        let width = 0.84 / self.kinds.len() as f64;
        for (kind, name) in self.kinds.iter().enumerate() {
            let colour = COLOURS[kind % COLOURS.len()];
            let bar = |(group, (_, bars)): (usize, &(String, Vec<Option<f64>>))| {
                let left = group as f64 + 0.08 + width * kind as f64;
                bars[kind].map(|height| (left, height))
            };
            let bars: Vec<_> = self.groups.iter().enumerate().filter_map(bar).collect();
            let rectangle = |(left, height): &(f64, f64)| {
                Rectangle::new([(*left, 0.0), (left + width * 0.92, *height)], colour.filled())
            };
            let number =
                TextStyle::from((FONT, 11).into_font()).pos(Pos::new(HPos::Center, VPos::Bottom));
            let label = |(left, height): &(f64, f64)| {
                let text = super::table::number(*height);
                Text::new(text, (left + width * 0.46, *height), number.clone())
            };
            chart.draw_series(bars.iter().map(rectangle))?.label(*name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 5), (x + 12, y + 5)], colour.filled())
            });
            chart.draw_series(bars.iter().map(label))?;
        }
        let plain = (FONT, 13).into_font();
        let below = TextStyle::from(plain).pos(Pos::new(HPos::Center, VPos::Top));
        for (group, (name, _)) in self.groups.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(group as f64 + 0.5, 0.0));
            root.draw(&Text::new(name.as_str(), (x, y + 8), below.clone()))?;
        }
        legend(&mut chart)?;
        root.present()
    }
}

impl Lines<'_> {
    /// Writes the plot.
    pub fn write(&self, file: &Path) {
        self.draw(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn draw(&self, file: &Path) -> Outcome {
        let root = SVGBackend::new(file, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let span = |values: &mut dyn Iterator<Item = f64>, room: f64| {
            let (low, high) = values
                .fold((f64::MAX, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
            low / room..high * room
        };
        let across = span(&mut points().map(|(x, _)| *x), 1.1);
        let up = span(&mut points().map(|(_, y)| *y), 1.5);
        let mut chart = ChartBuilder::on(&root)
            .caption(self.title, (FONT, 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(across.log_scale(), up.log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.units[0])
            .y_desc(self.units[1])
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|x| super::table::number(*x))
            .y_label_formatter(&|y| super::table::number(*y))
            .draw()?;
        for (n, (name, points)) in self.lines.iter().enumerate() {
            let colour = COLOURS[n % COLOURS.len()];
            let style = colour.stroke_width(2);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 12, y)], style));
            chart
                .draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        }
        legend(&mut chart)?;
        root.present()
    }
}

fn legend<'a, C: CoordTranslate>(chart: &mut ChartContext<'a, SVGBackend<'a>, C>) -> Outcome {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 12))
        .draw()
}
