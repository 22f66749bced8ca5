//! What a recurrent network keeps from frame to frame.

use crate::kernels::parts::{Claims, RowsMut};
use crate::model::ExtraInput;
use crate::pixels::{Image, Motion, Pyramid};

/// Parts of a frame, a side, whose means tell one scene from another.
const GRID: usize = 16;
/// Rows and columns of which one is looked at, in a large frame.
const STEP: usize = 4;
/// A part shows something else where its mean differs by more than this share of the scene's contrast ...
const CHANGE: f32 = 0.5;
/// ... and by more than so many standard deviations of what noise does to it.
const DEVIATIONS: f32 = 2.0;
/// Where more than this share of the parts shows something else, the scene was cut: less than one cut in a hundred is missed between
/// pictures of cbsd68, and one motion in ten by (20, 10) pixels taken for one; in video/tennis a sixth of the parts changes at most.
const CUT: f32 = 0.55;

/// Share of a new frame's estimate in the noise level.
const NEWEST: f32 = 0.1;
/// An estimate beyond this many times the level, or below it divided by this, is of other noise.
const OTHER_NOISE: f32 = 1.5;

/// States of a network on one part of a frame, and what the frame looked like. States follow what moves.
#[derive(Default)]
pub(super) struct Memory {
    /// Mean noise level over the last frames, and how many they were.
    level: Option<(f32, f32)>,
    states: Vec<State>,
    /// Width and height of the frame.
    size: [usize; 2],
    scene: Vec<f32>,
    /// Whether this frame is of another scene than the one before.
    cut: bool,
    before: Pyramid,
    /// From the frame before to this one.
    motion: Motion,
    /// Memory for the next.
    next_scene: Vec<f32>,
    now: Pyramid,
}

/// Values that leave the network as an output and come back as an input.
struct State {
    input: usize,
    output: usize,
    /// `[N, C, H, W]`.
    shape: [usize; 4],
    /// So many times smaller than the frame, a side.
    divide: usize,
    /// The channels of a pixel side by side.
    now: Vec<f32>,
    next: Vec<f32>,
    claims: Claims,
}

impl Memory {
    /// Makes ready for a frame `picture` with noise of standard deviation `level` of full scale, of whose extra inputs `shapes` are the
    /// shapes: states are zeros where they do not go on from a frame of the same scene.
    pub(super) fn expect(&mut self, picture: &Image, level: f32, extra: &[ExtraInput], shapes: &[[usize; 4]]) {
        let states = extra
            .iter()
            .zip(shapes)
            .enumerate()
            .filter_map(|(i, (extra, &shape))| match *extra {
                ExtraInput::State { output, divide, .. } => Some((i + 1, output, shape, divide)),
                ExtraInput::NoiseLevel { .. } | ExtraInput::Chroma => None,
            });
        let known = self.states.iter();
        if !states
            .clone()
            .eq(known.map(|state| (state.input, state.output, state.shape, state.divide)))
        {
            let state = |(input, output, shape, divide): (usize, usize, [usize; 4], usize)| {
                let zeros = vec![0.0; shape.iter().product()];
                State {
                    input,
                    output,
                    shape,
                    divide,
                    now: zeros.clone(),
                    next: zeros,
                    claims: Claims::default(),
                }
            };
            self.states = states.map(state).collect();
            self.scene.clear();
        }
        if self.states.is_empty() {
            return;
        }
        if std::mem::replace(&mut self.size, [picture.width, picture.height]) != self.size {
            self.scene.clear();
        }
        let samples = means(picture, &mut self.next_scene);
        self.now.read(picture);
        self.cut = !same_scene(&self.scene, &self.next_scene, level / samples.sqrt());
        if !self.cut {
            self.motion = Motion::between(&self.before, &self.now);
        } else {
            self.states.iter_mut().for_each(|state| state.now.fill(0.0));
            self.motion = Motion::default();
        }
        std::mem::swap(&mut self.scene, &mut self.next_scene);
        std::mem::swap(&mut self.before, &mut self.now);
    }

    /// The noise level over time, with this frame's estimate: the mean of the first frames, then one in which each new frame has a tenth.
    pub(super) fn level(&mut self, estimate: f32) -> f32 {
        let same = |level: f32| (level / OTHER_NOISE..=level * OTHER_NOISE).contains(&estimate);
        let (level, frames) = self.level.filter(|(level, _)| same(*level)).unwrap_or((estimate, 0.0));
        let level = level + f32::max(NEWEST, 1.0 / (frames + 1.0)) * (estimate - level);
        self.level = Some((level, frames + 1.0));
        level
    }

    /// The next frame has nothing to do with this one.
    pub(super) fn forget(&mut self) {
        self.level = None;
        self.scene.clear();
    }

    /// Whether the frame that was expected last has nothing to do with the one before it.
    pub(super) fn is_cut(&self) -> bool {
        self.cut
    }

    /// The states, for the rows of a run.
    pub(super) fn kept(&mut self) -> Vec<Kept<'_>> {
        let motion = &self.motion;
        self.states
            .iter_mut()
            .map(|state| {
                let [_, channels, _, width] = state.shape;
                Kept {
                    input: state.input,
                    output: state.output,
                    shape: state.shape,
                    divide: state.divide,
                    motion,
                    now: &state.now,
                    next: RowsMut::new(&mut state.next, channels * width, &mut state.claims),
                }
            })
            .collect()
    }

    /// What was written is what the next frame reads.
    pub(super) fn turn(&mut self) {
        for state in &mut self.states {
            std::mem::swap(&mut state.now, &mut state.next);
        }
    }
}

/// One state during a run.
pub(super) struct Kept<'a> {
    pub(super) input: usize,
    pub(super) output: usize,
    shape: [usize; 4],
    divide: usize,
    motion: &'a Motion,
    now: &'a [f32],
    next: RowsMut<'a>,
}

impl Kept<'_> {
    /// Row `row` of item `item` as the frame before left it, moved to where it is now.
    pub(super) fn read(&self, item: usize, row: usize, out: &mut [f32]) {
        let [_, channels, rows, width] = self.shape;
        let item = &self.now[item * rows * width * channels..][..rows * width * channels];
        self.motion.carry_row(item, [width, channels], self.divide, row, out);
    }

    /// Row `row` of item `item` for the next frame.
    pub(super) fn keep(&self, item: usize, row: usize, values: &[f32]) {
        let row = item * self.shape[2] + row;
        self.next.take(row..row + 1).copy_from_slice(values);
    }
}

/// Means of the parts over all planes. Returns how many values each is the mean of, about.
fn means(picture: &Image, means: &mut Vec<f32>) -> f32 {
    let [width, height] = [picture.width, picture.height];
    let step = (width.min(height) / (4 * GRID)).clamp(1, STEP);
    let (mut sums, mut counts) = ([0.0f32; GRID * GRID], [0.0f32; GRID * GRID]);
    for plane in (0..picture.channels).map(|channel| picture.plane(channel)) {
        for (y, row) in plane.chunks(width).enumerate().step_by(step) {
            for (x, value) in row.iter().enumerate().step_by(step) {
                let part = y * GRID / height * GRID + x * GRID / width;
                sums[part] += value;
                counts[part] += 1.0;
            }
        }
    }
    means.clear();
    // A part of a small picture may have no pixel.
    means.extend(sums.iter().zip(&counts).map(|(sum, count)| sum / count.max(1.0)));
    (counts.iter().sum::<f32>() / (GRID * GRID) as f32).max(1.0)
}

/// Whether two frames with these means, which noise moves by a deviation of `noise`, show the same scene, perhaps in another light; never
/// where there is no frame before.
fn same_scene(before: &[f32], now: &[f32], noise: f32) -> bool {
    if before.len() != now.len() || now.is_empty() {
        return false;
    }
    let n = now.len() as f32;
    let contrast = |means: &[f32]| {
        let mean = means.iter().sum::<f32>() / n;
        means.iter().map(|x| (x - mean).abs()).sum::<f32>() / n
    };
    let mut differences: [f32; GRID * GRID] = std::array::from_fn(|i| now[i] - before[i]);
    // Between two frames noise counts twice.
    let chance = DEVIATIONS * noise * std::f32::consts::SQRT_2;
    let most = f32::max(CHANGE * (contrast(before) + contrast(now)) / 2.0, chance);
    let (_, &mut lighter, _) = differences.select_nth_unstable_by(GRID * GRID / 2, f32::total_cmp);
    let changed = differences.iter().filter(|x| (*x - lighter).abs() > most).count();
    changed as f32 <= CUT * n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::noise::add_gaussian;
    use crate::data::random::stream;

    fn picture(width: usize, value: impl Fn(usize, usize) -> f32) -> Image {
        let data = (0..width * width).map(|i| value(i % width, i / width)).collect();
        Image {
            channels: 1,
            height: width,
            width,
            data,
        }
    }

    #[test]
    fn levels_are_means_until_the_noise_is_another() {
        let mut memory = Memory::default();
        assert_eq!(memory.level(10.0), 10.0);
        assert_eq!(memory.level(12.0), 11.0);
        for i in 0..100 {
            memory.level(if i % 2 == 0 { 9.0 } else { 11.0 });
        }
        assert!((memory.level(10.0) - 10.0).abs() < 0.2, "single estimates come and go");
        assert_eq!(memory.level(40.0), 40.0, "the lights went out");
        memory.forget();
        assert_eq!(memory.level(35.0), 35.0);
        assert_eq!(memory.level(0.0), 0.0);
        assert_eq!(memory.level(0.0), 0.0);
    }

    #[test]
    fn a_cut_is_told_from_motion_light_and_noise() {
        let waves = |x: usize, y: usize| 0.5 + 0.3 * (x as f32 / 23.0).sin() * (y as f32 / 17.0).cos();
        let mut rng = stream(6, 0, 0);
        println!("seed 6");
        // Bright, and as dark as a tenth of it; small and large; without noise and with much.
        for (side, dark, level) in [
            (64, 1.0, 0.1),
            (200, 1.0, 0.0),
            (200, 1.0, 0.2),
            (200, 0.1, 0.01),
            (400, 0.1, 0.02),
        ] {
            let zoom = 200 / side.min(200);
            let mut seen = |value: &dyn Fn(usize, usize) -> f32| {
                let mut picture = picture(side, |x, y| dark * value(x * zoom, y * zoom));
                add_gaussian(&mut picture, level, &mut rng);
                let mut out = Vec::new();
                let samples = means(&picture, &mut out);
                (out, level / samples.sqrt())
            };
            let mut same = |a: &dyn Fn(usize, usize) -> f32, b: &dyn Fn(usize, usize) -> f32| {
                let ((before, noise), (now, _)) = (seen(a), seen(b));
                same_scene(&before, &now, noise)
            };
            let case = format!("{side} pixels, {dark} of the light, noise {level}");
            assert!(same(&waves, &waves), "{case}: noise");
            assert!(same(&waves, &|x, y| waves(x + 6, y + 3)), "{case}: motion");
            assert!(same(&waves, &|x, y| waves(x, y) + 0.2), "{case}: light");
            let with_part = |x: usize, y: usize| {
                if (40..120).contains(&x) && y > 80 {
                    0.0
                } else {
                    waves(x, y)
                }
            };
            assert!(same(&waves, &with_part), "{case}: a part comes in");
            assert!(same(&|_, _| 0.5, &|_, _| 0.5), "{case}: nothing to see");
            assert!(!same(&waves, &|x, y| waves(y + 90, x + 200)), "{case}: a cut");
        }
        assert!(!same_scene(&[], &[0.5; GRID * GRID], 0.0), "the first frame");
        let mut out = Vec::new();
        means(&picture(3, waves), &mut out);
        assert_eq!(out.len(), GRID * GRID, "small pictures");
    }
}
