//! What the output shows instead of the frame.

use gst_candle::model::Color;
use gst_candle::pixels::heatmap::{HeatColors, HeatMap};
use gst_candle::pixels::{FrameMut, Image};

use super::inspect::Finding;
use super::settings::Output;

/// Opacity of the hottest places.
const OPACITY: f32 = 0.8;

/// Draws on `frame` what `output` asks for.
pub fn paint(output: Output, frame: &mut FrameMut<'_>, finding: &Finding) {
    match output {
        Output::Passthrough => {}
        Output::Heatmap => heat(frame, finding),
        Output::Reconstruction => reconstruction(frame, finding),
        Output::SideBySide => side_by_side(frame, finding),
    }
}

/// Lays the heat map over the inspected part, clear where it is cold.
fn heat(frame: &mut FrameMut<'_>, finding: &Finding) {
    let (codes, size, covers) = finding.heat_codes();
    if let Some(map) = HeatMap::new(&codes, size, covers) {
        frame.blend_heat(&map, &HeatColors::new(OPACITY));
    }
}

/// Puts the reconstruction where the inspected part was.
fn reconstruction(frame: &mut FrameMut<'_>, finding: &Finding) {
    let part = finding.reconstruction().to_color(Color::Rgb);
    let mut picture = frame.as_frame().to_image(Color::Rgb);
    paste(&mut picture, &part, finding.roi.x, finding.roi.y);
    frame.write(&picture);
}

/// Squeezes the frame into the left half, and the frame under its heat map into the right one.
fn side_by_side(frame: &mut FrameMut<'_>, finding: &Finding) {
    let before = frame.as_frame().to_image(Color::Rgb);
    heat(frame, finding);
    let left = frame.width / 2;
    if left == 0 {
        return;
    }
    let after = frame.as_frame().to_image(Color::Rgb);
    let mut picture = Image::filled(3, frame.height, frame.width, 0.0);
    paste(&mut picture, &before.resize(left, frame.height), 0, 0);
    paste(&mut picture, &after.resize(frame.width - left, frame.height), left, 0);
    frame.write(&picture);
}

/// Copies `part` into `picture` with its left top corner at (`x`, `y`); it must lie inside and have as many channels.
fn paste(picture: &mut Image, part: &Image, x: usize, y: usize) {
    let width = picture.width;
    for channel in 0..part.channels {
        let rows = picture.plane_mut(channel).chunks_exact_mut(width).skip(y);
        for (to, from) in rows.zip(part.plane(channel).chunks_exact(part.width)) {
            to[x..x + part.width].copy_from_slice(from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lands_where_it_belongs() {
        let mut picture = Image::filled(3, 3, 4, 0.0);
        let part = Image {
            channels: 3,
            height: 2,
            width: 2,
            data: (1..=12).map(|n| n as f32).collect(),
        };
        paste(&mut picture, &part, 1, 1);
        assert_eq!(picture.plane(0), [0., 0., 0., 0., 0., 1., 2., 0., 0., 3., 4., 0.]);
        assert_eq!(picture.plane(2), [0., 0., 0., 0., 0., 9., 10., 0., 0., 11., 12., 0.]);
    }
}
