//! From a picture to what a network takes. Training and inference both go through here.

use crate::graph::Array;
use crate::model::{InputSpec, Normalization, Resize};
use crate::pixels::{Frame, Image, Placement};

/// What brings a picture to a network's value range, `(x - mean) / std` a channel, and back.
#[derive(Debug, Clone, PartialEq)]
pub struct Scaling {
    mean: Vec<f32>,
    std: Vec<f32>,
}

impl Scaling {
    /// As `spec` says, for a picture of these values.
    pub fn of(spec: &InputSpec, values: &[f32]) -> Self {
        match &spec.normalization {
            Normalization::None => Self {
                mean: vec![0.0],
                std: vec![1.0],
            },
            Normalization::Fixed { mean, std } => Self {
                mean: mean.clone(),
                std: std.clone(),
            },
            Normalization::PerFrame => {
                let count = values.len().max(1) as f64;
                let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
                let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count;
                Self {
                    mean: vec![mean as f32],
                    // A flat frame has no contrast to bring out.
                    std: vec![(variance.sqrt() as f32).max(1e-3)],
                }
            }
        }
    }

    /// Mean and standard deviation of a channel.
    pub(super) fn channel(&self, channel: usize) -> (f32, f32) {
        (self.mean[channel % self.mean.len()], self.std[channel % self.std.len()])
    }

    /// From 0..1 to the network's range.
    pub fn apply(&self, image: &mut Image) {
        self.each(image, |x, mean, std| (x - mean) / std);
    }

    /// From the network's range to 0..1.
    pub fn restore(&self, image: &mut Image) {
        self.each(image, |x, mean, std| x * std + mean);
    }

    fn each(&self, image: &mut Image, value: impl Fn(f32, f32, f32) -> f32) {
        for channel in 0..image.channels {
            let (mean, std) = self.channel(channel);
            if (mean, std) != (0.0, 1.0) {
                let plane = image.plane_mut(channel);
                plane.iter_mut().for_each(|x| *x = value(*x, mean, std));
            }
        }
    }
}

/// Brings a picture to the network's colour and size. For a network of any size it keeps its own; for one that takes pieces, it is reflected
/// to the right and below until there is room for one.
pub fn fit(spec: &InputSpec, image: &Image) -> (Image, Placement) {
    let image = image.to_color(spec.color);
    let frame = [image.width, image.height];
    let padded = match (spec.size, spec.tile()) {
        (_, Some(tile)) => image.pad_to(tile),
        (Some(size), None) => {
            let placement = Placement::new(frame, size, spec.resize);
            return (placement.apply(&image), placement);
        }
        (None, None) => image,
    };
    let placement = Placement::new(frame, [padded.width, padded.height], Resize::Tile);
    (padded, placement)
}

/// [`fit`] for the part `[x, y, width, height]` of a frame, without a picture of the whole frame in between where the
/// network's size is fixed.
pub fn fit_frame(spec: &InputSpec, frame: &Frame, [x, y, width, height]: [usize; 4]) -> (Image, Placement) {
    match spec.size.filter(|_| spec.tile().is_none()) {
        Some(size) => {
            let placement = Placement::new([width, height], size, spec.resize);
            (placement.apply_frame(frame, [x, y], spec.color), placement)
        }
        None if [x, y, width, height] == [0, 0, frame.width, frame.height] => fit(spec, &frame.to_image(spec.color)),
        None => {
            let part = Placement::new([width, height], [width, height], Resize::Stretch);
            fit(spec, &part.apply_frame(frame, [x, y], spec.color))
        }
    }
}

/// Brings values of 0..1 to the network's range, and says how to bring them back.
pub fn normalize(spec: &InputSpec, mut image: Image) -> (Image, Scaling) {
    let scaling = Scaling::of(spec, &image.data);
    scaling.apply(&mut image);
    (image, scaling)
}

/// A normalised picture as a network of any size takes it: continued by zeros to the right and below until its sides are multiples of
/// `spec.multiple_of`, as the network's own convolutions continue it on all sides. A reflection would be a crease, which looks like a crack.
pub fn extend(spec: &InputSpec, image: Image) -> Image {
    match spec.size_for([image.width, image.height]) {
        size if spec.size.is_some() || size == [image.width, image.height] => image,
        size => image.extend_to(size),
    }
}

/// Pictures of one shape as `[N, C, H, W]`.
///
/// # Panics
/// When there is no picture or their shapes differ.
pub fn batch(images: &[&Image]) -> Array {
    let first = images.first().expect("a batch has a picture");
    let mut data = Vec::with_capacity(images.len() * first.data.len());
    for image in images {
        assert_eq!(
            (image.channels, image.height, image.width),
            (first.channels, first.height, first.width)
        );
        data.extend_from_slice(&image.data);
    }
    Array {
        shape: vec![images.len(), first.channels, first.height, first.width],
        data,
    }
}

/// One picture as `[1, C, H, W]`.
pub(super) fn alone(image: Image) -> Array {
    Array {
        shape: vec![1, image.channels, image.height, image.width],
        data: image.data,
    }
}

/// The only item of a `[1, C, H, W]` array.
pub(super) fn only(array: Array) -> Image {
    let [1, channels, height, width] = array.shape[..] else {
        unreachable!("as many come out as went in, in planes: checked when the model was loaded")
    };
    Image {
        channels,
        height,
        width,
        data: array.data,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Color;

    fn spec(normalization: Normalization) -> InputSpec {
        InputSpec {
            color: Color::Rgb,
            size: None,
            multiple_of: 2,
            resize: Resize::Stretch,
            normalization,
            frames: 1,
            extra: vec![],
        }
    }

    fn ramp() -> Image {
        Image {
            channels: 3,
            height: 2,
            width: 2,
            data: (0..12).map(|i| i as f32 / 12.0).collect(),
        }
    }

    #[test]
    fn normalization_comes_back() {
        let fixed = Normalization::Fixed {
            mean: vec![0.1, 0.2, 0.3],
            std: vec![0.5, 0.25, 2.0],
        };
        for kind in [Normalization::None, fixed, Normalization::PerFrame] {
            let (mut back, scaling) = normalize(&spec(kind.clone()), ramp());
            scaling.restore(&mut back);
            let worst = back
                .data
                .iter()
                .zip(&ramp().data)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(worst < 1e-6, "{kind:?}: {worst}");
        }
    }

    #[test]
    fn per_frame_has_mean_zero_and_deviation_one() {
        let image = normalize(&spec(Normalization::PerFrame), ramp()).0;
        let n = image.data.len() as f32;
        assert!(image.data.iter().sum::<f32>().abs() / n < 1e-6);
        assert!((image.data.iter().map(|x| x * x).sum::<f32>() / n - 1.0).abs() < 1e-5);
    }

    #[test]
    fn fixed_uses_each_channels_own_constants() {
        let fixed = Normalization::Fixed {
            mean: vec![0.0, 1.0, 0.0],
            std: vec![1.0, 1.0, 0.5],
        };
        let image = normalize(&spec(fixed), Image::filled(3, 1, 1, 0.5)).0;
        assert_eq!(image.data, [0.5, -0.5, 1.0]);
    }

    #[test]
    fn odd_frames_are_extended_where_they_end() {
        let spec = spec(Normalization::None);
        let (image, placement) = fit(&spec, &Image::filled(1, 3, 5, 0.25));
        assert_eq!((image.channels, image.height, image.width), (3, 3, 5));
        assert_eq!((placement.frame, placement.input), ([5, 3], [5, 3]));
        let seen = extend(&spec, image);
        assert_eq!((seen.channels, seen.height, seen.width), (3, 4, 6));
        assert_eq!(seen.data[..7], [0.25, 0.25, 0.25, 0.25, 0.25, 0.0, 0.25]);
    }
}
