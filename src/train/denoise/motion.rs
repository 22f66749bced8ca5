//! What moves in clips that are made of pictures.

use std::ops::Range;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::scenes::Scene;
use crate::pixels::Image;

/// Fastest motion, in pixels of the clip a frame.
const FASTEST: f32 = 8.0;
/// Share of cameras that stand still.
const STILL: f32 = 0.4;
/// Share of those that see the picture's own pixels; all others see it from a little farther away.
const EXACT: f32 = 0.5;
/// Pixels of the picture that one of the clip covers at most, a side.
const FARTHEST: f32 = 2.0;
/// Shares of moving cameras that zoom and that turn, and by how much a frame at most: of the size, and in radians.
const ZOOMING: f32 = 0.3;
const ZOOM: f32 = 0.02;
const TURNING: f32 = 0.3;
const TURN: f32 = 0.01;

/// Where something is, frame by frame: along a straight line that comes back at the borders.
struct Path {
    start: [f32; 2],
    velocity: [f32; 2],
    room: [f32; 2],
}

impl Path {
    fn draw(room: [f32; 2], speed: f32, rng: &mut Pcg64) -> Self {
        let angle = rng.random_range(0.0..std::f32::consts::TAU);
        Self {
            start: room.map(|room| rng.random::<f32>() * room),
            velocity: [speed * angle.cos(), speed * angle.sin()],
            room,
        }
    }

    fn at(&self, frame: usize) -> [f32; 2] {
        std::array::from_fn(|axis| {
            let room = self.room[axis];
            let at = (self.start[axis] + self.velocity[axis] * frame as f32).rem_euclid((2.0 * room).max(1.0));
            (if at > room { 2.0 * room - at } else { at }).clamp(0.0, room)
        })
    }
}

/// More often slow than fast.
fn speed(rng: &mut Pcg64) -> f32 {
    FASTEST * rng.random::<f32>().powi(2)
}

/// A camera that looks at a part of a picture: it stands still, or pans, zooms and turns. Motion of real things is seldom by whole pixels.
pub(super) struct Camera {
    side: usize,
    /// Of the left top corner.
    path: Path,
    /// Pixels of the picture for one of the clip, a side, at first, and by how much they grow a frame.
    scale: f32,
    zoom: f32,
    /// Radians a frame.
    turn: f32,
}

impl Camera {
    /// Of a picture of `size`, for frames of `side`.
    pub(super) fn draw(size: [usize; 2], side: usize, rng: &mut Pcg64) -> Self {
        let still = rng.random::<f32>() < STILL;
        if still && rng.random::<f32>() < EXACT {
            let path = Path::draw(size.map(|length| (length - side) as f32), 0.0, rng);
            return Self {
                path: Path {
                    start: path.start.map(f32::round),
                    ..path
                },
                side,
                scale: 1.0,
                zoom: 1.0,
                turn: 0.0,
            };
        }
        let room = size.map(|length| length as f32 / side as f32);
        let scale = rng.random_range(1.0..=room[0].min(room[1]).clamp(1.0, FARTHEST));
        let seen = scale * side as f32;
        let mut change = |share: f32, most: f32| {
            let changes = !still && rng.random::<f32>() < share;
            let change = rng.random_range(-most..=most);
            if changes { change } else { 0.0 }
        };
        let (zoom, turn) = (1.0 + change(ZOOMING, ZOOM), change(TURNING, TURN));
        let speed = if still { 0.0 } else { scale * speed(rng) };
        let path = Path::draw(size.map(|length| length as f32 - seen), speed, rng);
        #[rustfmt::skip]
        return Self { side, path, scale, zoom, turn };
    }

    /// One that pans by `speed` pixels a frame.
    pub(super) fn panning(size: [usize; 2], side: usize, speed: f32, rng: &mut Pcg64) -> Self {
        let (path, scale, zoom, turn) = (
            Path::draw(size.map(|length| (length - side) as f32), speed, rng),
            1.0,
            1.0,
            0.0,
        );
        #[rustfmt::skip]
        return Self { side, path, scale, zoom, turn };
    }

    /// Frame `frame`.
    pub(super) fn look(&self, scene: &Scene, frame: usize) -> Image {
        let (at, scale) = (self.path.at(frame), self.scale * self.zoom.powi(frame as i32));
        let side = self.side;
        if scale == 1.0 && self.turn == 0.0 && at == at.map(f32::round) {
            return scene.clean.crop(at.map(|x| x as usize), [side; 2]);
        }
        // The part of the picture that is seen, and a little more.
        let half = 0.5 * self.scale * side as f32;
        let middle = at.map(|x| x + half - 0.5);
        let reach = std::f32::consts::SQRT_2 * 0.5 * scale * side as f32 + 1.0;
        let first = middle.map(|x| (x - reach).max(0.0) as usize);
        let size = scene.clean.size();
        let end: [usize; 2] = std::array::from_fn(|axis| ((middle[axis] + reach) as usize + 2).min(size[axis]));
        let part = scene.clean.crop(first, [end[0] - first[0], end[1] - first[1]]);
        let (sin, cos) = (self.turn * frame as f32).sin_cos();
        let mut image = Image::filled(part.channels, side, side, 0.0);
        for y in 0..side {
            for x in 0..side {
                // Four samples of a pixel, so that a picture seen from farther away does not alias.
                for (u, v) in [(-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25)] {
                    let [dx, dy] = [x as f32 + u, y as f32 + v].map(|d| scale * (d - 0.5 * (side as f32 - 1.0)));
                    let place = [
                        middle[0] + cos * dx - sin * dy - first[0] as f32,
                        middle[1] + sin * dx + cos * dy - first[1] as f32,
                    ];
                    for channel in 0..part.channels {
                        image.data[(channel * side + y) * side + x] += 0.25 * part.sample(channel, place);
                    }
                }
            }
        }
        image
    }
}

/// Share of what passes that is there at once, or is gone at once.
const SUDDEN: f32 = 0.3;

/// A round piece of another picture on its way through the frame.
pub(super) struct Passing {
    piece: Image,
    path: Path,
    /// When it is there.
    frames: Range<usize>,
}

impl Passing {
    /// From a picture, for `frames` frames of `side`.
    pub(super) fn draw(from: &Scene, side: usize, frames: usize, rng: &mut Pcg64) -> Self {
        let size = rng.random_range(side / 4..=side * 3 / 4).max(1);
        let [width, height] = from.clean.size();
        let at = [rng.random_range(0..=width - size), rng.random_range(0..=height - size)];
        let mut there = 0..frames;
        if rng.random::<f32>() < SUDDEN {
            let when = rng.random_range(0..=frames);
            there = if rng.random() { 0..when } else { when..frames };
        }
        Self {
            piece: from.clean.crop(at, [size; 2]),
            path: Path::draw([(side - size) as f32; 2], speed(rng), rng),
            frames: there,
        }
    }

    pub(super) fn put_on(&self, image: &mut Image, frame: usize) {
        if !self.frames.contains(&frame) {
            return;
        }
        let (size, [left, top]) = (self.piece.width, self.path.at(frame));
        let middle = 0.5 * (size as f32 - 1.0);
        for y in top as usize..(top as usize + size + 1).min(image.height) {
            for x in left as usize..(left as usize + size + 1).min(image.width) {
                let place = [x as f32 - left, y as f32 - top];
                // A pixel at the edge is of both.
                let share = (middle + 0.5 - (place[0] - middle).hypot(place[1] - middle)).clamp(0.0, 1.0);
                if share == 0.0 {
                    continue;
                }
                for channel in 0..image.channels {
                    let width = image.width;
                    let pixel = &mut image.plane_mut(channel)[y * width + x];
                    *pixel += share * (self.piece.sample(channel, place) - *pixel);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    fn scene() -> Scene {
        let value = |i: usize| {
            let (x, y) = ((i % 120) as f32, (i / 120) as f32);
            0.5 + 0.25 * (0.2 * x).sin() + 0.2 * (0.15 * y).cos()
        };
        Scene::still(&Image {
            channels: 1,
            height: 100,
            width: 120,
            data: (0..120 * 100).map(value).collect(),
        })
    }

    fn difference(a: &Image, b: &Image) -> f32 {
        let sum: f32 = a.data.iter().zip(&b.data).map(|(a, b)| (a - b).abs()).sum();
        sum / a.data.len() as f32
    }

    #[test]
    fn cameras_see_the_picture_and_some_stand_still() {
        let scene = scene();
        let (mut still, mut exact) = (0, 0);
        for number in 0..400 {
            let rng = &mut stream(3, 0, number);
            let camera = Camera::draw([120, 100], 32, rng);
            let frames = [0, 1, 7].map(|frame| camera.look(&scene, frame));
            assert!(
                frames
                    .iter()
                    .flat_map(|frame| &frame.data)
                    .all(|x| (0.0..=1.0).contains(x))
            );
            if frames[0] == frames[2] {
                still += 1;
                exact += usize::from(camera.scale == 1.0);
            } else {
                assert!(difference(&frames[0], &frames[1]) > 0.0);
            }
        }
        assert!(
            (120..200).contains(&still) && (50..110).contains(&exact),
            "{still}, {exact}"
        );
    }

    /// What a camera sees at half the size is the mean of the pixels that one of its covers.
    #[test]
    fn from_farther_away_pixels_are_means() {
        let scene = scene();
        let camera = Camera {
            side: 40,
            path: Path {
                start: [10.0, 6.0],
                velocity: [1.0, 0.0],
                room: [40.0, 20.0],
            },
            scale: 2.0,
            zoom: 1.0,
            turn: 0.0,
        };
        for frame in 0..3 {
            let seen = camera.look(&scene, frame);
            let whole = scene.clean.crop([10 + frame, 6], [80, 80]);
            let mean = |i: usize| {
                let at = i / 40 * 2 * 80 + i % 40 * 2;
                (whole.data[at] + whole.data[at + 1] + whole.data[at + 80] + whole.data[at + 81]) / 4.0
            };
            let expected = Image {
                data: (0..40 * 40).map(mean).collect(),
                ..seen.clone()
            };
            assert!(difference(&seen, &expected) < 1e-3, "{}", difference(&seen, &expected));
        }
    }

    #[test]
    fn a_piece_passes_without_leaving_a_trace() {
        let passing = Passing {
            frames: 0..6,
            ..Passing::draw(&scene(), 40, 6, &mut stream(3, 1, 0))
        };
        let ground = Image::filled(1, 40, 40, 0.0);
        let seen = [0, 5].map(|frame| {
            let mut image = ground.clone();
            passing.put_on(&mut image, frame);
            image
        });
        let area = |image: &Image| image.data.iter().filter(|x| **x > 0.0).count() as f32;
        let size = passing.piece.width as f32;
        for image in &seen {
            let share = area(image) / (size * size);
            assert!((0.6..1.0).contains(&share), "{share} of a square of {size}");
        }
        assert!(difference(&seen[0], &seen[1]) > 0.0);
        let mut gone = ground.clone();
        passing.put_on(&mut gone, 6);
        assert_eq!(gone, ground);
    }
}
