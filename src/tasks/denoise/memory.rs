//! What a recurrent network keeps from frame to frame.

use crate::kernels::parts::{Claims, RowsMut};
use crate::model::ExtraInput;
use crate::pixels::{Image, Motion, Pyramid, Scene};

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
    scene: Scene,
    /// Whether this frame is of another scene than the one before.
    cut: bool,
    before: Pyramid,
    /// From the frame before to this one.
    motion: Motion,
    /// Memory for the next.
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
            self.scene.forget();
        }
        if self.states.is_empty() {
            return;
        }
        self.now.read(picture);
        self.cut = self.scene.is_cut(picture, level);
        if !self.cut {
            self.motion = Motion::between(&self.before, &self.now);
        } else {
            self.states.iter_mut().for_each(|state| state.now.fill(0.0));
            self.motion = Motion::default();
        }
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
        self.scene.forget();
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
