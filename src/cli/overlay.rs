//! An anomaly map, or classes, drawn over their picture, as the elements draw them live.

use crate::Result;
use crate::model::Color;
use crate::pixels::heatmap::{ClassPainter, HeatColors, HeatMap};
use crate::pixels::{Colorimetry, Frame, FrameMut, Image, PixelFormat};
use crate::score::readable::Readable;
use crate::tasks::Segments;

/// Opacity of what is hottest.
const OPACITY: f32 = 0.6;
/// Opacity of classes, which `candlesegment` has, too.
const CLASS_OPACITY: f32 = 0.5;

/// The picture with what comes near the threshold of `scale` or above it glowing; `map` has the picture's size.
pub fn heat_map(image: &Image, map: &Image, scale: Readable) -> Result<Image> {
    let codes: Vec<u8> = map.data.iter().map(|&value| scale.code(value)).collect();
    drawn(image, |frame| {
        let covers = [0.0, 0.0, image.width as f64, image.height as f64];
        if let Some(map) = HeatMap::new(&codes, [map.width, map.height], covers) {
            frame.blend_heat(&map, &HeatColors::new(OPACITY));
        }
    })
}

/// The picture with each class but the `background` in its colour.
pub fn classes(image: &Image, segments: &Segments, background: Option<usize>) -> Result<Image> {
    drawn(image, |frame| {
        ClassPainter::default().paint(frame, &segments.mask, segments.size, background, CLASS_OPACITY);
    })
}

/// The picture in colour with what `draw` draws on it.
fn drawn(image: &Image, draw: impl FnOnce(&mut FrameMut<'_>)) -> Result<Image> {
    let (width, height) = (image.width, image.height);
    let (format, stride) = (PixelFormat::Rgb, 3 * width);
    let mut bytes = vec![0; stride * height];
    let mut frame = FrameMut::new(
        format,
        width,
        height,
        vec![&mut bytes],
        vec![stride],
        Colorimetry::default(),
    )?;
    frame.write(&image.to_color(Color::Rgb));
    draw(&mut frame);
    let frame = Frame::new(
        format,
        width,
        height,
        vec![&bytes],
        vec![stride],
        Colorimetry::default(),
    )?;
    Ok(frame.to_image(Color::Rgb))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MapKind;

    #[test]
    fn only_what_is_suspicious_glows() {
        let image = Image::filled(1, 4, 30, 0.2);
        let mut map = Image::filled(1, 4, 30, 0.1);
        for row in 0..4 {
            map.data[row * 30 + 20..(row + 1) * 30].fill(1.0);
        }
        let drawn = heat_map(&image, &map, Readable::new(MapKind::Msgms, 0.5)).unwrap();
        let pixel = |x: usize| [0, 1, 2].map(|c| drawn.plane(c)[2 * 30 + x]);
        assert_eq!(pixel(3), [0.2; 3]);
        let change: f32 = pixel(26).iter().map(|v| (v - 0.2).abs()).sum();
        assert!(change > 0.3, "{:?}", pixel(26));
    }
}
