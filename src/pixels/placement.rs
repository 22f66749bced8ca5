//! Frames laid into a network's input, and maps brought back.

use super::separable::{Taps, resample};
use super::{Frame, Image, PixelFormat};
use crate::model::{Color, Resize};

/// Where a frame lies in a network's input, and how to come back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Placement {
    /// `[width, height]` of the frame in pixels.
    pub frame: [usize; 2],
    /// `[width, height]` of the network's input in pixels.
    pub input: [usize; 2],
    /// Input pixels a frame pixel, on each axis.
    pub scale: [f64; 2],
    /// Position of the frame's left top corner in the input, in input pixels; negative where cropped.
    pub offset: [f64; 2],
}

impl Placement {
    /// Places a frame of `frame` = `[width, height]` in an input of `input`, centred where it does not fit exactly; for [`Resize::Tile`]
    /// `input` is the frame, continued where it ends.
    ///
    /// # Panics
    /// If a side is 0.
    pub fn new(frame: [usize; 2], input: [usize; 2], resize: Resize) -> Self {
        assert!(
            frame.iter().chain(&input).all(|side| *side > 0),
            "cannot place {frame:?} in {input:?}"
        );
        let own = [0, 1].map(|axis| input[axis] as f64 / frame[axis] as f64);
        let scale = match resize {
            Resize::Stretch => own,
            Resize::Letterbox => [own[0].min(own[1]); 2],
            Resize::Crop => [own[0].max(own[1]); 2],
            Resize::Tile => [1.0; 2],
        };
        let offset = [0, 1].map(|axis| {
            // Exactly 0 where the axis fits, whatever the rounding of the product.
            if scale[axis] == own[axis] || resize == Resize::Tile {
                0.0
            } else {
                0.5 * (input[axis] as f64 - frame[axis] as f64 * scale[axis])
            }
        });
        Self {
            frame,
            input,
            scale,
            offset,
        }
    }

    /// The frame brought to the network's input size; letterbox borders repeat the edge.
    ///
    /// # Panics
    /// If `image` has not the frame's size.
    pub fn apply(&self, image: &Image) -> Image {
        assert_eq!(
            [image.width, image.height],
            self.frame,
            "the picture must have the frame's size"
        );
        if self.frame == self.input {
            return image.clone();
        }
        let [columns, rows] = self.taps();
        resample(image, &columns, &rows)
    }

    /// The same for the part of `frame` whose left top corner is `origin`, even if it is the whole, in `color`.
    ///
    /// # Panics
    /// If the part does not lie in the frame.
    pub fn apply_frame(&self, frame: &Frame, origin: [usize; 2], color: Color) -> Image {
        assert!(
            origin[0] + self.frame[0] <= frame.width && origin[1] + self.frame[1] <= frame.height,
            "{:?} at {origin:?} does not lie in the frame",
            self.frame
        );
        if frame.format == PixelFormat::Gray16Le {
            let ([x, y], [width, height]) = (origin, self.frame);
            let part = Frame {
                width,
                height,
                planes: vec![&frame.planes[0][y * frame.strides[0] + 2 * x..]],
                ..frame.clone()
            };
            return self.apply(&part.to_image(color));
        }
        if self.frame == self.input && self.frame == [frame.width, frame.height] {
            return frame.to_image(color);
        }
        let [columns, rows] = self.taps();
        frame.resample(color, &columns.shift(origin[0]), &rows.shift(origin[1]))
    }

    /// For each axis, what the input's pixels are made of.
    fn taps(&self) -> [Taps; 2] {
        [0, 1].map(|axis| {
            let step = 1.0 / self.scale[axis];
            Taps::triangle(
                self.frame[axis],
                self.input[axis],
                step,
                -self.offset[axis] * step,
                true,
            )
        })
    }

    /// A map of the input's size (or any size that covers the same area) brought back to the frame's own pixels, bilinear
    /// and antialiased as [`Image::resize`]. Where a crop saw nothing, the map is 0.
    ///
    /// # Panics
    /// If a side of the map is 0.
    pub fn restore(&self, map: &Image) -> Image {
        assert!(
            map.width > 0 && map.height > 0,
            "a map of {}x{} covers nothing",
            map.width,
            map.height
        );
        let size = [map.width, map.height];
        if self.frame == self.input && self.frame == size {
            return map.clone();
        }
        let [columns, rows] = [0, 1].map(|axis| {
            let fineness = size[axis] as f64 / self.input[axis] as f64;
            let (step, start) = (self.scale[axis] * fineness, self.offset[axis] * fineness);
            Taps::triangle(size[axis], self.frame[axis], step, start, false)
        });
        resample(map, &columns, &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::{Image, Placement, Resize};

    const MODES: [Resize; 3] = [Resize::Stretch, Resize::Letterbox, Resize::Crop];

    fn filled_rectangle(size: [usize; 2], [x0, y0, x1, y1]: [usize; 4]) -> Image {
        let mut image = Image::filled(1, size[1], size[0], 0.0);
        for y in y0..y1 {
            image.data[y * size[0]..][x0..x1].fill(1.0);
        }
        image
    }

    /// Left, top, right and bottom of what is brighter than a half.
    fn bounds(image: &Image) -> [usize; 4] {
        let bright = || (0..image.data.len()).filter(|i| image.data[*i] > 0.5);
        let (x, y) = (|i: usize| i % image.width, |i: usize| i / image.width);
        [
            bright().map(x).min().unwrap(),
            bright().map(y).min().unwrap(),
            bright().map(x).max().unwrap() + 1,
            bright().map(y).max().unwrap() + 1,
        ]
    }

    #[test]
    fn geometry() {
        let place = |resize| Placement::new([640, 480], [256, 256], resize);
        let stretch = place(Resize::Stretch);
        assert_eq!((stretch.scale, stretch.offset), ([0.4, 256.0 / 480.0], [0.0, 0.0]));
        let letterbox = place(Resize::Letterbox);
        assert_eq!((letterbox.scale, letterbox.offset), ([0.4, 0.4], [0.0, 32.0]));
        let crop = place(Resize::Crop);
        assert_eq!(crop.scale, [256.0 / 480.0; 2]);
        assert!((crop.offset[0] + (640.0 * 256.0 / 480.0 - 256.0) / 2.0).abs() < 1e-9 && crop.offset[1] == 0.0);
    }

    #[test]
    fn a_planted_rectangle_comes_back() {
        for (frame, input) in [
            ([640, 480], [256, 256]),
            ([481, 321], [256, 192]),
            ([200, 511], [128, 256]),
            ([97, 64], [256, 256]),
            ([333, 77], [160, 96]),
        ] {
            for resize in MODES {
                let placement = Placement::new(frame, input, resize);
                // In the middle, where a crop sees it, but off the centre.
                let [w, h] = frame;
                let side = w.min(h);
                let (x0, y0) = (w / 2 - side / 5, h / 2 - side / 3);
                let wanted = [x0, y0, x0 + side / 2, y0 + side / 2];
                let input_picture = placement.apply(&filled_rectangle(frame, wanted));
                assert_eq!([input_picture.width, input_picture.height], input);
                for part in [1, 2] {
                    let map = input_picture.resize(input[0] / part, input[1] / part);
                    let got = bounds(&placement.restore(&map));
                    // Half a pixel of the map is as much as an edge can move, and one of the frame is always granted.
                    let allowed = [0, 1].map(|axis| (0.5 * part as f64 / placement.scale[axis]).max(1.0));
                    for i in 0..4 {
                        let moved = got[i].abs_diff(wanted[i]) as f64;
                        assert!(
                            moved <= allowed[i % 2],
                            "{frame:?} {input:?} {resize:?}: {got:?}, not {wanted:?}"
                        );
                    }
                }
            }
        }
    }

    /// A ramp is its own bilinear interpolation, so positions can be read off it to a fraction of a pixel.
    #[test]
    fn ramps_come_back_without_shift() {
        let (frame, input) = ([120, 90], [64, 40]);
        let mut ramps = Image::filled(3, frame[1], frame[0], 0.0);
        for i in 0..frame[0] * frame[1] {
            ramps.plane_mut(0)[i] = (i % frame[0]) as f32;
            ramps.plane_mut(1)[i] = (i / frame[0]) as f32;
        }
        for resize in MODES {
            let placement = Placement::new(frame, input, resize);
            let map = placement.apply(&ramps);
            let back = placement.restore(&map.resize(32, 20));
            for (x, y) in [(60, 45), (50, 40), (70, 50)] {
                let got = [0, 1].map(|axis| back.plane(axis)[y * frame[0] + x]);
                let shift = [got[0] - x as f32, got[1] - y as f32];
                assert!(shift.iter().all(|s| s.abs() < 0.05), "{resize:?} ({x}, {y}): {got:?}");
            }
        }
    }

    #[test]
    fn letterbox_repeats_the_edge() {
        let mut image = Image::filled(1, 10, 20, 0.5);
        image.data[..20].fill(0.2);
        image.data[9 * 20..].fill(0.9);
        let out = Placement::new([20, 10], [20, 20], Resize::Letterbox).apply(&image);
        assert!(
            out.data[..6 * 20].iter().all(|v| *v == 0.2),
            "{:?}",
            &out.data[..6 * 20]
        );
        assert_eq!(out.data[6 * 20..14 * 20], image.data[20..9 * 20]);
        assert!(out.data[14 * 20..].iter().all(|v| *v == 0.9));
    }

    #[test]
    fn crop_is_zero_where_it_saw_nothing() {
        let placement = Placement::new([40, 10], [10, 10], Resize::Crop);
        let back = placement.restore(&Image::filled(1, 5, 5, 0.7));
        for (i, value) in back.data.iter().enumerate() {
            let seen = (15..25).contains(&(i % 40));
            assert_eq!(*value, if seen { 0.7 } else { 0.0 });
        }
    }

    #[test]
    fn extreme_shapes_stay_finite_and_small() {
        for frame in [[1, 1], [1, 4096], [4096, 1], [3, 2]] {
            for resize in MODES {
                let placement = Placement::new(frame, [64, 48], resize);
                let out = placement.apply(&Image::filled(3, frame[1], frame[0], 0.3));
                assert_eq!(out, Image::filled(3, 48, 64, 0.3));
                let back = placement.restore(&Image::filled(1, 48, 64, 0.3));
                assert!(
                    back.data
                        .iter()
                        .all(|v| *v == 0.3 || (resize == Resize::Crop && *v == 0.0))
                );
                assert!(back.data.contains(&0.3));
            }
        }
    }
}
