//! An anomaly map drawn over its picture.

use crate::model::Color;
use crate::pixels::Image;

/// The picture with what comes near `threshold` glowing: yellow at it, red from twice it on.
pub fn heat_map(image: &Image, map: &Image, threshold: f32) -> Image {
    let mut drawn = image.to_color(Color::Rgb);
    for (i, &value) in map.data.iter().enumerate() {
        let heat = (value / threshold.max(f32::MIN_POSITIVE)).clamp(0.0, 2.0);
        // Nothing up to half the threshold, then up to 60 % of the colour.
        let opacity = 0.6 * (2.0 * heat - 1.0).clamp(0.0, 1.0);
        let color = [1.0, (2.0 - heat).clamp(0.0, 1.0), 0.0];
        for (channel, tone) in color.into_iter().enumerate() {
            let pixel = &mut drawn.plane_mut(channel)[i];
            *pixel += opacity * (tone - *pixel);
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_suspicious_glows() {
        let image = Image::filled(1, 1, 3, 0.5);
        let map = Image {
            channels: 1,
            height: 1,
            width: 3,
            data: vec![0.1, 0.25, 1.0],
        };
        let drawn = heat_map(&image, &map, 0.25);
        let pixel = |i: usize| [0, 1, 2].map(|c| drawn.plane(c)[i]);
        assert_eq!(pixel(0), [0.5; 3]);
        assert!(
            pixel(1)[0] > 0.7 && pixel(1)[1] > 0.7 && pixel(1)[2] < 0.3,
            "yellow at the threshold: {:?}",
            pixel(1)
        );
        assert!(
            pixel(2)[0] > 0.7 && pixel(2)[1] < 0.3,
            "red far above it: {:?}",
            pixel(2)
        );
    }
}
