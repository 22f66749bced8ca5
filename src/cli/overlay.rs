//! An anomaly map drawn over its picture, as the elements draw it live.

use crate::Result;
use crate::model::Color;
use crate::pixels::heatmap::{HeatColors, HeatMap};
use crate::pixels::{Colorimetry, Frame, FrameMut, Image, PixelFormat};
use crate::score::readable::Readable;

/// Opacity of what is hottest.
const OPACITY: f32 = 0.6;

/// The picture with what comes near the threshold of `scale` or above it glowing; `map` has the picture's size.
pub fn heat_map(image: &Image, map: &Image, scale: Readable) -> Result<Image> {
    let codes: Vec<u8> = map.data.iter().map(|&value| scale.code(value)).collect();
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
    if let Some(map) = HeatMap::new(&codes, [map.width, map.height], [0.0, 0.0, width as f64, height as f64]) {
        frame.blend_heat(&map, &HeatColors::new(OPACITY));
    }
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
