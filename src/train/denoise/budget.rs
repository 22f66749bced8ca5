//! As wide a network as a machine has time for.

use std::time::{Duration, Instant};

use crate::exec::Options;
use crate::model::{Color, Model, Task, Training};
use crate::nets;
use crate::pixels::Image;
use crate::tasks::Denoiser;
use crate::train::common::Common;
use crate::{Error, Result};

/// Widths come in steps of so many channels: half a vector of the widest CPUs.
const STEP: usize = 8;
/// Most steps.
const STEPS: usize = 24;
/// A measurement takes at least so many frames, and so long.
const FRAMES: usize = 3;
const LEAST_TIME: Duration = Duration::from_millis(400);

/// Milliseconds that a frame may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Milliseconds.
    pub ms: f64,
    /// `[width, height]` of the frame.
    pub size: [usize; 2],
}

/// The largest width of `common`'s architecture with which a frame of `color` takes no longer than `budget` on this machine, and what it
/// takes in milliseconds. An error when the narrowest takes longer.
pub(super) fn widest(common: &Common, color: Color, budget: Budget, options: &Options) -> Result<(usize, f64)> {
    let time = |steps: usize| milliseconds(common, color, steps * STEP, budget.size, options);
    let narrowest = time(1)?;
    if narrowest > budget.ms {
        let [width, height] = budget.size;
        return Err(Error::Invalid(format!(
            "--budget {}: with {STEP} channels a frame of {width}x{height} takes {narrowest:.1} ms here; allow more, or choose a smaller --arch",
            budget.ms
        )));
    }
    let (mut fits, mut best, mut too_wide) = (1, narrowest, STEPS + 1);
    while too_wide - fits > 1 {
        let middle = (fits + too_wide) / 2;
        let ms = time(middle)?;
        if ms <= budget.ms {
            (fits, best) = (middle, ms);
        } else {
            too_wide = middle;
        }
    }
    Ok((fits * STEP, best))
}

/// Median time of a frame, the noise level estimated, with fresh weights.
fn milliseconds(
    common: &Common,
    color: Color,
    width: usize,
    [columns, rows]: [usize; 2],
    options: &Options,
) -> Result<f64> {
    let mut common = common.clone();
    common.net.width = Some(width);
    let net = common.build(Task::Denoise, color, 0)?;
    let model = Model {
        task: Task::Denoise,
        weights: nets::init(&net, 0)?,
        graph: net.graph,
        input: net.input,
        labels: Vec::new(),
        calibration: None,
        training: Training::default(),
    };
    let mut denoiser = Denoiser::new(&model, options)?;
    // Frames in which every block moves by itself: what remembers has most to do then.
    let frames = [37, 41].map(|step| {
        let mut frame = Image::filled(color.channels(), rows, columns, 0.0);
        let values = frame.data.iter_mut().enumerate();
        values.for_each(|(i, x)| *x = (i * step % 256) as f32 / 255.0);
        frame
    });
    denoiser.denoise(&frames[1], None)?;
    let (mut times, begun) = (Vec::new(), Instant::now());
    while times.len() < FRAMES || begun.elapsed() < LEAST_TIME {
        let start = Instant::now();
        denoiser.denoise(&frames[times.len() % 2], None)?;
        times.push(1e3 * start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
