//! One picture for each operation: records a second against the number of clients, a line for each peer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::cell::{Cells, median};
use crate::operation::Operation;
use crate::peer::Peer;

const SIZE: (u32, u32) = (640, 360);

pub fn write(folder: &Path, cells: &Cells) -> Result<()> {
    std::fs::create_dir_all(folder).context("making the folder of the plots")?;
    let operations: BTreeSet<Operation> = cells.keys().map(|subject| subject.operation).collect();
    for operation in operations {
        let path = folder.join(format!("{operation}.svg"));
        draw(&path, operation, &lines(cells, operation)).with_context(|| format!("drawing {}", path.display()))?;
    }
    Ok(())
}

type Lines = BTreeMap<Peer, Vec<(f64, f64)>>;

fn lines(cells: &Cells, operation: Operation) -> Lines {
    let mut lines = Lines::new();
    for (subject, samples) in cells.iter().filter(|(subject, _)| subject.operation == operation) {
        let point = (
            f64::from(subject.clients),
            median(samples.iter().map(|sample| sample.per_s)),
        );
        lines.entry(subject.peer).or_default().push(point);
    }
    lines
}

fn draw(path: &Path, operation: Operation, lines: &Lines) -> Result<()> {
    let points = || lines.values().flatten();
    let most = points().map(|(_, rate)| *rate).fold(1.0, f64::max);
    let clients = points().map(|(clients, _)| *clients);
    let (fewest, many) = (clients.clone().fold(1_024.0, f64::min), clients.fold(2.0, f64::max));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{operation}, three members"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d((fewest..many).log_scale(), 0.0..most * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("clients")
        .y_desc("records a second")
        .draw()?;
    for (peer, line) in lines {
        let color = color(*peer);
        chart
            .draw_series(LineSeries::new(line.iter().copied(), color.stroke_width(2)))?
            .label(peer.name())
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

fn color(peer: Peer) -> RGBColor {
    match peer {
        Peer::Kotoba => RGBColor(200, 30, 60),
        Peer::Etcd => RGBColor(40, 90, 200),
    }
}
