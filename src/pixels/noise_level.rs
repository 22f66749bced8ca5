//! How strong the noise of a picture is.

use super::color::{Coding, Weights};
use super::{Frame, Image};
use crate::kernels::team::share;

/// Side of a block.
const SIDE: usize = 8;
/// About as many blocks are looked at in a plane, whatever its size.
const BLOCKS: usize = 4096;
/// The share of blocks, those with the least texture, that the noise is measured in.
const FLATTEST: f64 = 0.025;
/// The least number of blocks to measure in.
const FEWEST: usize = 32;
/// Median of a mean of 21 squares of normal values (Wilson and Hilferty 1931): so many frequencies tell noise. The median of blocks,
/// because some that look flat have fine texture.
const MEDIAN: f64 = 0.968_6;
/// Times that the blocks are chosen anew by what was found.
const REFINEMENTS: usize = 2;
/// Pixels at 0 or 1, or at the least or the largest value of the plane, that make a block useless: noise that is cut off, at limited-range
/// black and white too, looks weaker than it is.
const CLIPPED: usize = SIDE * SIDE / 10;
/// Blocks whose mean is closer to the plane's least or largest value than so many deviations of its noise do not count either ...
const ENDS: f32 = 3.0;
/// ... where at least this share is left: else they are what the picture is of, and the rest a lamp or a title ...
const INSIDE: f64 = 0.25;
/// ... and no more than so many times their variance is taken for noise.
const MOST_INSIDE: f64 = 4.0;
/// DCT coefficients with the sum of their two frequencies in this range tell texture ...
const TEXTURE: std::ops::RangeInclusive<usize> = 2..=8;
/// ... and those from here on tell noise.
const NOISE: usize = 9;

/// Standard deviation (0..1 of full scale) of the white noise in `image`, from its flat parts; the mean of the planes' own.
///
/// After N. Ponomarenko et al., "An automatic approach to lossy compression of AVIRIS images" (IGARSS 2007): the noise is
/// measured in the high frequencies of those blocks that have the least energy in the lower ones. White noise is
/// independent from frequency to frequency, so choosing blocks by some does not bias the others. Blocks that are cut off at
/// black or white do not count. A picture smaller than a block, or more than half of one exact value (drawn, not filmed), has
/// no noise that could be told from its content: 0.
pub fn estimate_noise(image: &Image) -> f32 {
    let levels: f64 = (0..image.channels)
        .map(|i| plane_level(image.plane(i), image.width, image.height))
        .sum();
    (levels / image.channels.max(1) as f64) as f32
}

/// Standard deviation (0..1 of full scale) of the noise of a frame's red, green and blue. Of YUV it is measured in the components at their
/// own size, by way of `component`'s memory: in RGB most of it would hide, because Y is a mean of noise and chroma is coarse.
pub fn estimate_noise_in_rgb(frame: &Frame<'_>, component: &mut Image) -> f32 {
    if !frame.format.is_yuv() {
        frame.read(frame.format.color(), component);
        return estimate_noise(component);
    }
    let range = frame.colorimetry.range;
    let noise = [0, 1, 2].map(|i| {
        frame.read_component(i, component);
        let coding = if i == 0 {
            Coding::luma(range, 1)
        } else {
            Coding::chroma(range)
        };
        // A mean of more pixels has less noise.
        let shifts: u32 = frame.format.component(i).shift.into_iter().sum();
        estimate_noise(component) * 255.0 / coding.scale() * 2f32.powi(shifts as i32).sqrt()
    });
    Weights::new(frame.colorimetry.matrix).noise_in_rgb(noise)
}

/// Standard deviation (0..1 of full scale) that [`estimate_noise`] would find in flat parts with the noise `residual` on them.
#[cfg(feature = "train")]
pub(crate) fn noise_of_residual(residual: &Image) -> f32 {
    let (basis, width) = (dct_basis(), residual.width);
    let corners = |side: usize| (0..(side + 1).saturating_sub(SIDE)).step_by(SIDE);
    let (mut sum, mut count) = (0.0, 0.0);
    for plane in (0..residual.channels).map(|channel| residual.plane(channel)) {
        for y in corners(residual.height) {
            for x in corners(width) {
                sum += energies(&block(&plane[y * width + x..], width), &basis).1;
                count += 1.0;
            }
        }
    }
    f32::sqrt(sum / f32::max(count, 1.0))
}

fn plane_level(plane: &[f32], width: usize, height: usize) -> f64 {
    if width < SIDE || height < SIDE {
        return 0.0;
    }
    let step = ((plane.len() as f64 / BLOCKS as f64).sqrt().ceil() as usize).max(2);
    let basis = dct_basis();
    let ends = plane
        .iter()
        .fold([f32::MAX, f32::MIN], |[least, most], v| [v.min(least), v.max(most)]);
    let mut rows: Vec<(usize, Vec<Block>)> = (0..=height - SIDE)
        .step_by(step)
        .map(|y| (y, Vec::with_capacity((width - SIDE) / step + 1)))
        .collect();
    share(
        rows.iter_mut(),
        4,
        || (),
        |(), (y, blocks)| {
            let corners = (0..=width - SIDE).step_by(step).map(|x| &plane[*y * width + x..]);
            blocks.extend(corners.filter_map(|corner| measure(corner, width, &basis, ends)));
        },
    );
    let blocks: Vec<Block> = rows.into_iter().flat_map(|(_, blocks)| blocks).collect();

    let constant = blocks.iter().filter(|block| block.constant).count();
    if constant * 2 > blocks.len() {
        return 0.0;
    }
    let mut blocks: Vec<Block> = blocks.into_iter().filter(|block| !block.constant).collect();
    if blocks.is_empty() {
        return 0.0;
    }
    blocks.sort_unstable_by(|a, b| a.texture.total_cmp(&b.texture));
    let mut level = flattest_noise(&blocks);
    // Where red, green and blue were cut off each by itself, luma has less noise without being cut off: close to the plane's ends.
    let (near, all) = (ENDS * level.sqrt() as f32, blocks.len());
    let inside = ends[0] + near..=ends[1] - near;
    blocks.retain(|block| inside.contains(&block.mean));
    if blocks.len() as f64 >= INSIDE * all as f64 {
        level = flattest_noise(&blocks).min(MOST_INSIDE * level);
    }
    if level.is_finite() { level.sqrt() } else { 0.0 }
}

/// The variance of white noise in `blocks`, which have more and more texture.
fn flattest_noise(blocks: &[Block]) -> f64 {
    let count = ((blocks.len() as f64 * FLATTEST) as usize)
        .max(FEWEST)
        .min(blocks.len());
    let mut level = median_noise(&blocks[..count]);
    // Where there is more noise, texture drowns in it: blocks that have no more energy in the lower frequencies than the noise alone
    // would give them count as well.
    for _ in 0..REFINEMENTS {
        let flat = blocks.partition_point(|block| f64::from(block.texture) <= level);
        if flat > count {
            level = median_noise(&blocks[..flat]);
        }
    }
    level
}

/// The variance of white noise, by the median block.
fn median_noise(blocks: &[Block]) -> f64 {
    let mut noise: Vec<f32> = blocks.iter().map(|block| block.noise).collect();
    let middle = noise.len() / 2;
    let (_, median, _) = noise.select_nth_unstable_by(middle, f32::total_cmp);
    f64::from(*median) / MEDIAN
}

/// What is known of a block.
struct Block {
    mean: f32,
    /// Mean square of the lower frequencies.
    texture: f32,
    /// Mean square of the high frequencies.
    noise: f32,
    /// One value all over.
    constant: bool,
}

/// The block whose first value is `corner[0]`, rows `stride` apart.
fn block(corner: &[f32], stride: usize) -> [[f32; SIDE]; SIDE] {
    std::array::from_fn(|y| std::array::from_fn(|x| corner[y * stride + x]))
}

/// `None` for a block that is cut off at black or white, or at the plane's own `ends`.
fn measure(corner: &[f32], stride: usize, basis: &[[f32; SIDE]; SIDE], ends: [f32; 2]) -> Option<Block> {
    let block = block(corner, stride);
    let values = block.as_flattened();
    let constant = values.iter().all(|v| *v == values[0]);
    let at = |ends: [f32; 2]| values.iter().filter(|v| ends.contains(v)).count();
    if at([0.0, 1.0]) > CLIPPED || !constant && at(ends) > CLIPPED {
        return None;
    }
    let (texture, noise) = energies(&block, basis);
    Some(Block {
        mean: values.iter().sum::<f32>() / values.len() as f32,
        texture,
        noise,
        constant,
    })
}

/// Mean squares of a block's lower frequencies and of its high ones.
fn energies(block: &[[f32; SIDE]; SIDE], basis: &[[f32; SIDE]; SIDE]) -> (f32, f32) {
    // Down the columns, then along the rows: `dct[v][u] = sum over y, x of basis[v][y] · basis[u][x] · block[y][x]`.
    let (mut texture, mut noise, mut counts) = (0.0, 0.0, [0.0; 2]);
    for (v, down) in basis.iter().enumerate() {
        let mut mixed = [0.0f32; SIDE];
        for (weight, row) in down.iter().zip(block) {
            for (mixed, value) in mixed.iter_mut().zip(row) {
                *mixed += weight * value;
            }
        }
        for (u, along) in basis.iter().enumerate() {
            let value: f32 = along.iter().zip(&mixed).map(|(weight, value)| weight * value).sum();
            if TEXTURE.contains(&(u + v)) {
                texture += value * value;
                counts[0] += 1.0;
            } else if u + v >= NOISE {
                noise += value * value;
                counts[1] += 1.0;
            }
        }
    }
    (texture / counts[0], noise / counts[1])
}

/// The orthonormal DCT-II of `N` values: `[frequency][position]`.
pub(crate) fn dct_basis<const N: usize>() -> [[f32; N]; N] {
    let n = N as f64;
    std::array::from_fn(|u| {
        let norm = if u == 0 { (1.0 / n).sqrt() } else { (2.0 / n).sqrt() };
        std::array::from_fn(|x| {
            let angle = std::f64::consts::PI * (2 * x + 1) as f64 * u as f64 / (2.0 * n);
            (norm * angle.cos()) as f32
        })
    })
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::data::random::stream;
    use crate::model::Color;
    use crate::pixels::{Colorimetry, FrameMut, PixelFormat, Range};

    fn noisy(image: &Image, sigma: f32, item: u64) -> Image {
        let mut rng = stream(11, 0, item);
        let mut noise = || -> f32 { StandardNormal.sample(&mut rng) };
        Image {
            data: image.data.iter().map(|v| v + sigma / 255.0 * noise()).collect(),
            ..image.clone()
        }
    }

    /// Waves, an edge and a textured quarter.
    fn scene(channels: usize, height: usize, width: usize) -> Image {
        let mut image = Image::filled(channels, height, width, 0.0);
        for (i, value) in image.data.iter_mut().enumerate() {
            let (x, y) = ((i % width) as f32, (i / width % height) as f32);
            *value = 0.5 + 0.2 * (x / 40.0).sin() + 0.1 * (y / 25.0).cos() + if x > y { 0.1 } else { 0.0 };
            if x < width as f32 / 2.0 && y < height as f32 / 2.0 {
                *value += 0.1 * (x * 1.9).sin() * (y * 2.3).sin();
            }
        }
        image
    }

    #[test]
    fn synthetic_pictures() {
        println!("seed 11");
        for (item, [channels, height, width]) in [[1, 240, 320], [3, 121, 97], [1, 64, 64]].into_iter().enumerate() {
            for sigma in [1.0, 5.0, 15.0, 25.0, 60.0] {
                let got = 255.0 * estimate_noise(&noisy(&scene(channels, height, width), sigma, item as u64));
                assert!(
                    (got / sigma - 1.0).abs() < 0.1,
                    "{channels}x{height}x{width}: {got}, not {sigma}"
                );
            }
        }
        assert!(255.0 * estimate_noise(&scene(1, 240, 320)) < 0.1);
    }

    #[test]
    fn cut_off_and_drawn_parts_do_not_count() {
        // A third under-exposed and a third over-exposed, to limited-range black and white and a little, then to 0 and 255 and far:
        // their blocks look flat and free of noise.
        let (height, width) = (240, 360);
        let mut image = Image::default();
        for (parts, codes) in [([0.05, 0.5, 0.93], 16.0..=235.0), ([-0.2, 0.5, 1.2], 0.0..=255.0)] {
            image = Image::filled(1, height, width, 0.5);
            for (i, value) in image.data.iter_mut().enumerate() {
                *value = parts[i % width / 120];
            }
            image = noisy(&image, 10.0, 3);
            let cut = |v: f32| (255.0 * v).clamp(*codes.start(), *codes.end()).round() / 255.0;
            image.data.iter_mut().for_each(|v| *v = cut(*v));
            let got = 255.0 * estimate_noise(&image);
            assert!((got / 10.0 - 1.0).abs() < 0.1, "{codes:?}: {got}, not 10");
        }
        // Bars of one value, such as limited-range black, do not hide the noise of the rest.
        image.plane_mut(0)[..60 * width].fill(16.0 / 255.0);
        let got = 255.0 * estimate_noise(&image);
        assert!((got / 10.0 - 1.0).abs() < 0.1, "with bars: {got}, not 10");
        // A drawing has none, though its few uneven blocks are all edges.
        let mut drawing = Image::filled(1, height, width, 0.3);
        drawing.data.iter_mut().step_by(37).take(200).for_each(|v| *v = 0.9);
        assert_eq!(estimate_noise(&drawing), 0.0);
    }

    /// Highlights that red, green and blue were cut off in, each by itself: their luma has less noise than the rest. And a dark frame, most
    /// of which is nearly black and as noisy as anything, with something bright in it.
    #[test]
    fn parts_near_black_and_white_count_where_there_is_little_else() {
        println!("seed 11");
        let (height, width) = (240, 320);
        let cut = |image: &mut Image, black: f32| {
            let code = |v: f32| (255.0 * v).round().clamp(black, 255.0) / 255.0;
            image.data.iter_mut().for_each(|v| *v = code(*v));
        };
        let mut bright = scene(3, height, width);
        let highlight = |i: usize| (i / width % height) < height / 4;
        let values = bright.data.iter_mut().enumerate();
        values.for_each(|(i, value)| *value = if highlight(i) { 0.97 } else { 0.8 * *value });
        let mut bright = noisy(&bright, 15.0, 9);
        cut(&mut bright, 0.0);
        let got = 255.0 * estimate_noise(&bright.to_color(Color::Gray));
        let luma = 15.0 * (0.299f32.powi(2) + 0.587f32.powi(2) + 0.114f32.powi(2)).sqrt();
        assert!((got / luma - 1.0).abs() < 0.1, "{got}, not {luma}");
        for sigma in [3.0, 8.0] {
            let mut dark = Image::filled(1, height, width, (16.0 + 2.5 * sigma) / 255.0);
            for (i, value) in dark.data.iter_mut().enumerate() {
                let (x, y) = (i % width, i / width);
                if (100..150).contains(&x) && (80..130).contains(&y) {
                    *value = 0.6 + 0.2 * (x as f32 * 1.7).sin() * (y as f32 * 2.1).cos();
                }
            }
            let mut dark = noisy(&dark, sigma, 10);
            cut(&mut dark, 16.0);
            let got = 255.0 * estimate_noise(&dark);
            assert!((got / sigma - 1.0).abs() < 0.15, "{got}, not {sigma}");
        }
    }

    #[test]
    fn tiny_and_broken_pictures() {
        assert_eq!(estimate_noise(&Image::filled(1, 1, 1, 0.5)), 0.0);
        assert_eq!(estimate_noise(&Image::filled(3, 7, 4096, 0.5)), 0.0);
        assert_eq!(estimate_noise(&Image::filled(1, 100, 100, f32::NAN)), 0.0);
        let sigma = 255.0 * estimate_noise(&noisy(&Image::filled(1, 8, 8, 0.5), 20.0, 5));
        assert!((10.0..30.0).contains(&sigma), "one block: {sigma}");
    }

    /// White noise in RGB, seen as a camera's frames in YUV; and noise in Y alone.
    #[test]
    fn frames_in_yuv_are_as_noisy_as_their_colours() {
        println!("seed 11");
        let (width, height) = (320, 240);
        let clean = scene(3, height, width);
        let picture = noisy(&clean, 15.0, 7);
        for format in [
            PixelFormat::I420,
            PixelFormat::Nv12,
            PixelFormat::Y42b,
            PixelFormat::Y444,
            PixelFormat::Rgb,
        ] {
            for range in [Range::Full, Range::Limited] {
                let colorimetry = Colorimetry {
                    range,
                    ..Default::default()
                };
                let estimate = |picture: &Image, flat: bool| {
                    let strides: Vec<usize> = (0..format.planes()).map(|_| 3 * width).collect();
                    let mut planes = vec![vec![128u8; 3 * width * height]; format.planes()];
                    let written = planes.iter_mut().map(Vec::as_mut_slice).collect();
                    let mut frame =
                        FrameMut::new(format, width, height, written, strides.clone(), colorimetry).unwrap();
                    frame.write(picture);
                    if flat {
                        planes[1..].iter_mut().for_each(|plane| plane.fill(128));
                    }
                    let planes = planes.iter().map(Vec::as_slice).collect();
                    let frame = Frame::new(format, width, height, planes, strides, colorimetry).unwrap();
                    255.0 * estimate_noise_in_rgb(&frame, &mut Image::default())
                };
                let got = estimate(&picture, false);
                assert!((got / 15.0 - 1.0).abs() < 0.1, "{format:?} {range:?}: {got}, not 15");
                if format.is_yuv() {
                    let gray = noisy(&clean.to_color(Color::Gray), 12.0, 8).to_color(Color::Rgb);
                    let got = estimate(&gray, true);
                    assert!((got / 12.0 - 1.0).abs() < 0.1, "{format:?} {range:?}: {got}, not 12");
                }
            }
        }
    }

    /// Gaussian noise on the grey BSD68 test set.
    #[cfg(feature = "train")]
    #[test]
    fn natural_pictures() {
        let data = std::env::var("GST_CANDLE_DATA").unwrap_or_else(|_| "../shared/data".into());
        let folder = std::path::Path::new(&data).join("denoise/bsd68");
        let Ok(files) = std::fs::read_dir(&folder) else {
            println!("skipped: no {}", folder.display());
            return;
        };
        let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let pictures: Vec<Image> = files.iter().map(|file| read(file)).collect();
        println!("{:>5} {:>8} {:>8} {:>8}", "sigma", "mean", "|error|", "worst");
        for sigma in [0.0f32, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 25.0, 40.0, 60.0] {
            let pairs = pictures.iter().enumerate();
            let got: Vec<f32> = pairs
                .map(|(i, p)| 255.0 * estimate_noise(&noisy(p, sigma, i as u64)))
                .collect();
            let mean = |f: &dyn Fn(f32) -> f32| got.iter().map(|g| f(*g)).sum::<f32>() / got.len() as f32;
            let (average, error) = (mean(&|g| g), mean(&|g| (g - sigma).abs()));
            let worst = got.iter().map(|g| (g - sigma).abs()).fold(0.0, f32::max);
            println!("{sigma:>5} {average:>8.2} {error:>8.2} {worst:>8.2}");
            let most = if sigma < 5.0 { 0.7 } else { 0.1 * sigma };
            assert!(error < most, "sigma {sigma}: mean error {error}");
        }
    }

    #[cfg(feature = "train")]
    fn read(file: &std::path::Path) -> Image {
        let picture = image::open(file).unwrap().into_luma8();
        let data = picture.pixels().map(|p| f32::from(p.0[0]) / 255.0).collect();
        Image {
            channels: 1,
            height: picture.height() as usize,
            width: picture.width() as usize,
            data,
        }
    }
}
