//! The conveyor belt, its side rails and the light.

/// Octaves of the belt's texture: cell size in units, amplitude.
const OCTAVES: [(f64, f32); 3] = [(0.0045, 0.030), (0.014, 0.020), (0.13, 0.022)];
/// Distance between the belt's ribs.
const RIB: f64 = 0.0525;
/// Width of a side rail.
const RAIL: f32 = 0.045;
/// Tints of belt and rails.
const BELT_TINT: [f32; 3] = [0.94, 1.0, 1.05];
const RAIL_TINT: [f32; 3] = [0.98, 1.0, 1.02];

/// The belt at one moment. What depends on the column alone is worked out once a frame.
pub struct Belt {
    seed: u64,
    height: usize,
    /// Pixels a unit.
    unit: f32,
    octaves: Vec<Octave>,
    /// The ribs' brightness at each column.
    ribs: Vec<f32>,
    /// The lamp's part that falls on each column.
    light: Vec<f32>,
}

/// Value noise on a lattice that moves with the belt.
struct Octave {
    cell_px: f64,
    amplitude: f32,
    /// Number of the first lattice column in sight.
    first: i64,
    /// Lattice column and place behind it (0..1) of each pixel.
    columns: Vec<(usize, f32)>,
}

/// The two lines of an octave's lattice around a row, blended along the row to the pixels.
#[derive(Default)]
pub struct Lines {
    /// Number of the upper one; `None` before the first row.
    line: Option<i64>,
    above: Vec<f32>,
    below: Vec<f32>,
    lattice: Vec<f32>,
}

impl Belt {
    /// The belt after it has run `run` units to the right.
    pub fn new(seed: u64, width: usize, height: usize, unit: f32, run: f64) -> Self {
        let octaves = OCTAVES
            .iter()
            .filter_map(|&(cell, amplitude)| Octave::new(cell, amplitude, width, unit, run));
        let rib = |x: usize| {
            let at = ((x as f64 + 0.5) / f64::from(unit) - run) / RIB;
            (0.010 * (4.0 * (at - at.floor() - 0.5).abs() - 1.0)) as f32
        };
        let light = |x: usize| {
            let u = 2.0 * (x as f32 + 0.5) / width as f32 - 1.0;
            1.06 - 0.13 * u * u - 0.03 * u
        };
        let (ribs, light) = ((0..width).map(rib).collect(), (0..width).map(light).collect());
        Self {
            seed,
            height,
            unit,
            octaves: octaves.collect(),
            ribs,
            light,
        }
    }

    /// Draws belt and rails. `texture` is what earlier rows left, of this belt alone: quick where rows follow each other.
    pub fn draw_row(&self, y: usize, row: &mut [&mut [f32]; 3], texture: &mut Vec<Lines>) {
        // Distance from the nearer edge decides between rail and belt.
        let edge = (y as f32 + 0.5).min(self.height as f32 - y as f32 - 0.5) / self.unit;
        if edge < RAIL {
            let across = edge / RAIL;
            let gloss = 0.10 * (-((across - 0.55) / 0.12).powi(2)).exp();
            let value = if across > 0.9 {
                0.08
            } else {
                0.24 + 0.06 * across + gloss
            };
            for (plane, tint) in row.iter_mut().zip(RAIL_TINT) {
                plane.fill(value * tint);
            }
            return;
        }
        // The rail's shadow on the belt.
        let shade = 1.0 - 0.45 * (-(edge - RAIL) / 0.02).exp();
        let [red, green, blue] = row;
        green
            .iter_mut()
            .zip(&self.ribs)
            .for_each(|(out, rib)| *out = 0.17 + rib);
        texture.resize_with(self.octaves.len(), Lines::default);
        for (number, (octave, lines)) in self.octaves.iter().zip(texture).enumerate() {
            octave.add(self.seed ^ number as u64, y, green, lines);
        }
        for ((red, green), blue) in red.iter_mut().zip(green.iter_mut()).zip(blue.iter_mut()) {
            let value = *green * shade;
            [*red, *green, *blue] = BELT_TINT.map(|tint| value * tint);
        }
    }

    /// The lamp above the middle: brighter there, darker in the corners.
    pub fn light_row(&self, y: usize, row: &mut [&mut [f32]; 3]) {
        let v = 2.0 * (y as f32 + 0.5) / self.height as f32 - 1.0;
        let down = 0.13 * v * v + 0.03 * v;
        for plane in row {
            plane
                .iter_mut()
                .zip(&self.light)
                .for_each(|(value, light)| *value *= light - down);
        }
    }
}

impl Octave {
    /// `None` when it is too fine to be seen: it fades then instead of flickering.
    fn new(cell: f64, amplitude: f32, width: usize, unit: f32, run: f64) -> Option<Self> {
        let cell_px = cell * f64::from(unit);
        let amplitude = amplitude * (cell_px as f32 / 1.5).min(1.0);
        let left = -run / cell;
        let first = left.floor();
        let column = |x: usize| {
            let at = left - first + (x as f64 + 0.5) / cell_px;
            (at as usize, at.fract() as f32)
        };
        let columns = (0..width).map(column).collect();
        (amplitude >= 0.002).then_some(Self {
            cell_px,
            amplitude,
            first: first as i64,
            columns,
        })
    }

    /// Adds row `y`.
    fn add(&self, seed: u64, y: usize, row: &mut [f32], lines: &mut Lines) {
        let at_y = (y as f64 + 0.5) / self.cell_px;
        let (line, down) = (at_y as i64, at_y.fract() as f32);
        let Lines {
            above, below, lattice, ..
        } = lines;
        if lines.line == Some(line - 1) {
            std::mem::swap(above, below);
            self.expand(seed, line + 1, lattice, below);
        } else if lines.line != Some(line) {
            self.expand(seed, line, lattice, above);
            self.expand(seed, line + 1, lattice, below);
        }
        lines.line = Some(line);
        for ((out, above), below) in row.iter_mut().zip(above).zip(below) {
            *out += *above + down * (*below - *above);
        }
    }

    /// A line of the lattice at every pixel.
    fn expand(&self, seed: u64, line: i64, lattice: &mut Vec<f32>, out: &mut Vec<f32>) {
        let count = self.columns.last().map_or(0, |&(column, _)| column as i64 + 2);
        let value = |i| self.amplitude * hash(seed, self.first.wrapping_add(i), line);
        lattice.clear();
        lattice.extend((0..count).map(value));
        out.clear();
        let pixels = self.columns.iter();
        out.extend(pixels.map(|&(i, t)| lattice[i] + t * (lattice[i + 1] - lattice[i])));
    }
}

/// A value in -1..1 for a lattice point.
fn hash(seed: u64, x: i64, y: i64) -> f32 {
    let mut h = seed ^ (x as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (y as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    h = (h ^ (h >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    h ^= h >> 32;
    (h >> 40) as f32 * (2.0 / 16_777_216.0) - 1.0
}
