//! Where a video is cut.

use super::Image;

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

/// What the frame before showed.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// Width and height of the frame.
    size: [usize; 2],
    before: Vec<f32>,
    /// Memory for the next.
    now: Vec<f32>,
}

impl Scene {
    /// Whether `picture`, whose noise has a standard deviation of `level` of full scale, shows something else than the one before: it is of
    /// another scene, perhaps of another size, or the first. Motion, light, and parts that come in are no cuts.
    pub fn is_cut(&mut self, picture: &Image, level: f32) -> bool {
        if std::mem::replace(&mut self.size, [picture.width, picture.height]) != self.size {
            self.before.clear();
        }
        let samples = means(picture, &mut self.now);
        let cut = !same_scene(&self.before, &self.now, level / samples.sqrt());
        std::mem::swap(&mut self.before, &mut self.now);
        cut
    }

    /// The next frame has nothing to do with this one.
    pub fn forget(&mut self) {
        self.before.clear();
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
