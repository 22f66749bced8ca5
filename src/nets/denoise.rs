//! Denoisers: the clean picture from a noisy one, of any size.

use super::blocks::residual_u_net;
use super::{Checked, Net};
use crate::Result;
use crate::graph::{Builder, Op, Weights};
use crate::model::{Color, ExtraInput, InputSpec, Normalization, Resize};

/// Convolutions that a user may ask for.
const DEPTHS: std::ops::RangeInclusive<usize> = 2..=64;

/// FFDNet (Zhang 2018) cut down to 6 convolutions of 24 channels, and finished as [`fast`].
pub(super) fn micro(o: &Checked) -> Result<Net> {
    shuffled(o, 24, 6, small(o.color()))
}

/// FFDNet cut down to 8 convolutions of 32 channels; for grey made residual: it predicts the noise, so that an untrained
/// network passes the picture on and a short training already helps.
///
/// In colour the noise of a cell has 12 independent values, and to carry them through so few channels leaves room for
/// little else: `micro` on frames of `candletestsrc` at sigma 20 came to 25.0 dB residual after 4,000 steps, and to
/// 33.3 dB after 800 when it predicted the picture. So it predicts how much of each value to keep, and what to add.
pub(super) fn fast(o: &Checked) -> Result<Net> {
    shuffled(o, 32, 8, small(o.color()))
}

fn small(color: Color) -> Finish {
    match color {
        Color::Gray => Finish::Noise,
        Color::Rgb => Finish::Share,
    }
}

/// FFDNet as published: 15 convolutions of 64 channels for grey, 12 of 96 for colour, the clean picture predicted
/// directly. Its batch norms are left out, as in its authors' release, where they are merged into the convolutions.
pub(super) fn ffdnet(o: &Checked) -> Result<Net> {
    match o.color() {
        Color::Gray => shuffled(o, 64, 15, Finish::Picture),
        Color::Rgb => shuffled(o, 96, 12, Finish::Picture),
    }
}

/// Planes that [`recurrent`] keeps for itself from frame to frame.
const MEMORY: usize = 8;

/// [`fast`] for video: beside the frame it sees what it made of the frame before, and planes of its own that it keeps. The new picture
/// is the old one, the frame and a correction, each pixel of the first two in shares that it learns: a scene that stands still becomes
/// a mean over time.
pub(super) fn recurrent(o: &Checked) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth) = (o.width(32)?, o.depth(8, DEPTHS)?);
    let (color, with_chroma) = (o.color(), o.options.chroma);
    let channels = color.channels();
    let mut b = Builder::new();
    let input = b.input("input", channels);
    let noise = b.input("noise", 1);
    let chroma = with_chroma.then(|| b.input("chroma", 2));
    let previous = b.input("previous", channels);
    let previous_chroma = with_chroma.then(|| b.input("previous.chroma", 2));
    let memory = b.input("memory", MEMORY);
    let now = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let before = b.node("unshuffle.previous", Op::PixelUnshuffle { factor: 2 }, &[&previous]);
    let joined = [&now, &before, &noise, &memory].into_iter();
    let joined = joined.chain(&chroma).chain(&previous_chroma);
    let mut x = b.node("join", Op::Concat, &joined.map(String::as_str).collect::<Vec<_>>());
    for i in 1..depth {
        x = b.conv(format!("conv{i}"), &x, width, 3, true);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    let mut mix = |part: &str, before: &str, now: &str, channels: usize| {
        let name = |name: &str| format!("{name}{part}");
        let [old, new] =
            [("old", before), ("new", now)].map(|(of, x_of)| share(&mut b, &name(of), &x, x_of, channels, 3));
        let correction = b.conv(name("correction"), &x, channels, 3, true);
        let sum = b.node(name("sum"), Op::Add, &[&old, &new]);
        b.node(name("cells"), Op::Add, &[&sum, &correction])
    };
    let cells = mix("", &before, &now, 4 * channels);
    let chroma = chroma.iter().zip(&previous_chroma);
    let chroma: Vec<String> = chroma.map(|(now, before)| mix(".chroma", before, now, 2)).collect();
    let output = b.node("output", Op::PixelShuffle { factor: 2 }, &[&cells]);
    let keep = b.conv("keep", &x, MEMORY, 3, true);
    let keep = b.node("keep.tanh", Op::Tanh, &[&keep]);
    let outputs = std::iter::once(&output).chain(&chroma).chain([&keep]);
    let outputs: Vec<&str> = outputs.map(String::as_str).collect();
    let mut extra = vec![CELLS_NOISE];
    let mut states = vec![(channels, 1)];
    if !chroma.is_empty() {
        extra.push(ExtraInput::Chroma);
        states.push((2, 2));
    }
    states.push((MEMORY, 2));
    let states = states.into_iter().enumerate();
    extra.extend(states.map(|(output, (channels, divide))| ExtraInput::State {
        output,
        channels,
        divide,
    }));
    Ok(Net {
        graph: b.finish(&outputs),
        input: any_size(color, 2, extra),
        given: Weights::new(),
    })
}

/// `of`, each of its values in a share between 0 and 1 that a convolution makes of `x`.
fn share(b: &mut Builder, name: &str, x: &str, of: &str, channels: usize, kernel: usize) -> String {
    let share = b.conv(format!("{name}.share"), x, channels, kernel, true);
    let share = b.node(format!("{name}.sigmoid"), Op::Sigmoid, &[&share]);
    b.node(format!("{name}.part"), Op::Mul, &[of, &share])
}

/// A [`residual_u_net`] on the picture's pixels taken two by two, and a plane of the noise level. It predicts the noise.
///
/// Its levels make more of as many operations as plain convolutions do: blind, grey, after 700 steps of 32 patches on the same pictures
/// it came to 28.46 dB on BSD68 at sigma 25 with a width of 32 (and a plain ReLU), `fast` of 5/8 of the operations to 28.38 dB after 1,500 steps.
pub(super) fn unet(o: &Checked) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth) = (o.width(64)?, o.depth(3, 1..=5)?);
    let mut b = Builder::new();
    let seen = Seen::new(&mut b, o);
    let x = residual_u_net(&mut b, &seen.cells, width, depth);
    Ok(seen.finish(b, &x, "tail", Finish::Noise, 1 << depth))
}

/// The noise level beside pixels taken two by two.
const CELLS_NOISE: ExtraInput = ExtraInput::NoiseLevel { divide: 2, limit: None };

/// What a network of pixels taken two by two sees.
struct Seen {
    color: Color,
    input: String,
    chroma: Option<String>,
    /// The pixels, two by two.
    pixels: String,
    /// Those, the noise level, and the chroma, where it comes by itself.
    cells: String,
}

/// What a network's last convolution predicts.
#[derive(Clone, Copy, PartialEq)]
enum Finish {
    /// The picture.
    Picture,
    /// The noise in it.
    Noise,
    /// What to add to the values that it keeps a share of.
    Share,
}

impl Seen {
    fn new(b: &mut Builder, o: &Checked) -> Self {
        let color = o.color();
        let input = b.input("input", color.channels());
        let noise = b.input("noise", 1);
        let chroma = o.options.chroma.then(|| b.input("chroma", 2));
        let pixels = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
        let joined = [&pixels, &noise].into_iter().chain(&chroma);
        let cells = b.node("join", Op::Concat, &joined.map(String::as_str).collect::<Vec<_>>());
        #[rustfmt::skip]
        return Self { color, input, chroma, pixels, cells };
    }

    /// The network that makes its picture of `x` by one more convolution or two, and the chroma.
    fn finish(&self, mut b: Builder, x: &str, name: &str, finish: Finish, multiple_of: usize) -> Net {
        let channels = 4 * self.color.channels();
        let mut picture = b.conv(name, x, channels, 3, true);
        if finish == Finish::Share {
            let kept = share(&mut b, "kept", x, &self.pixels, channels, 1);
            picture = b.node("cells", Op::Add, &[&kept, &picture]);
        }
        let mut picture = b.node("shuffle", Op::PixelShuffle { factor: 2 }, &[&picture]);
        if finish == Finish::Noise {
            picture = b.node("output", Op::Sub, &[&self.input, &picture]);
        }
        let mut extra = vec![CELLS_NOISE];
        let chroma = self.chroma.as_ref().map(|chroma| {
            extra.push(ExtraInput::Chroma);
            let noise = b.conv(format!("{name}.chroma"), x, 2, 3, true);
            b.node("output.chroma", Op::Sub, &[chroma, &noise])
        });
        let outputs: Vec<&str> = [&picture].into_iter().chain(&chroma).map(String::as_str).collect();
        Net {
            graph: b.finish(&outputs),
            input: any_size(self.color, multiple_of, extra),
            given: Weights::new(),
        }
    }
}

/// `depth` convolutions of `width` channels at half size, on the picture's pixels taken two by two and a plane of the
/// noise level.
fn shuffled(o: &Checked, width: usize, depth: usize, finish: Finish) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth) = (o.width(width)?, o.depth(depth, DEPTHS)?);
    let mut b = Builder::new();
    let seen = Seen::new(&mut b, o);
    let mut x = seen.cells.clone();
    for i in 1..depth {
        x = b.conv(format!("conv{i}"), &x, width, 3, true);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    Ok(seen.finish(b, &x, &format!("conv{depth}"), finish, 2))
}

/// DnCNN (Zhang 2017): 17 convolutions of 64 channels with batch norm, predicts the noise; blind to its level. The
/// published blind network has a depth of 20.
pub(super) fn dncnn(o: &Checked) -> Result<Net> {
    o.without(&["code size", "size", "yuv420"])?;
    let (width, depth, color) = (o.width(64)?, o.depth(17, DEPTHS)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let mut x = b.conv("conv1", &input, width, 3, true);
    x = b.node("relu1", Op::Relu, &[&x]);
    for i in 2..depth {
        x = b.conv(format!("conv{i}"), &x, width, 3, false);
        x = b.batch_norm(format!("norm{i}"), &x);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    x = b.conv(format!("conv{depth}"), &x, color.channels(), 3, true);
    x = b.node("output", Op::Sub, &[&input, &x]);
    Ok(Net {
        graph: b.finish(&[&x]),
        input: any_size(color, 1, Vec::new()),
        given: Weights::new(),
    })
}

fn any_size(color: Color, multiple_of: usize, extra: Vec<ExtraInput>) -> InputSpec {
    let (resize, normalization) = (Resize::Stretch, Normalization::None);
    InputSpec {
        color,
        size: None,
        multiple_of,
        resize,
        normalization,
        frames: 1,
        extra,
    }
}
