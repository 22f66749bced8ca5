//! How a part looks: a turned steel flange with a hole, an engraved ring and six bolt holes, and its defect.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::DefectKind;
use crate::data::random::stream;

/// Outer radius.
pub const RADIUS: f32 = 0.30;
/// Distance from the middle beyond which neither part nor shadow reaches.
pub const REACH: f32 = RADIUS + 0.075;
const HOLE: f32 = 0.105;
const RING: f32 = 0.172;
const RING_HALF: f32 = 0.009;
const BOLT_CIRCLE: f32 = 0.235;
const BOLT: f32 = 0.021;
const COUNTERSINK: f32 = 0.031;
const CHAMFER: f32 = 0.013;
/// Where the shadow lies.
const SHADOW: [f32; 2] = [0.018, 0.026];
/// Towards the light, y downwards.
const LIGHT: [f32; 2] = [-0.55, -0.835];
/// Direction of the bright fans on turned metal.
const FAN: [f32; 2] = [0.80, -0.60];
/// Item of the parts' random streams; frames use their rows' numbers.
const PARTS: u64 = u64::MAX;
/// Entries of the radial profile.
const PROFILE: usize = 768;

/// What a part does to a pixel of the belt below it.
pub struct Over {
    /// Factor on the belt.
    pub shadow: f32,
    /// Share of the pixel the part covers.
    pub cover: f32,
    /// The part's colour.
    pub color: [f32; 3],
}

/// Everything that is a part's own, from the seed and its number.
pub struct Look {
    pub index: u64,
    /// How far it lies from its place.
    pub shift: [f32; 2],
    pub defect: Option<Defect>,
    brightness: f32,
    tint: [f32; 3],
    bolts: [[f32; 2]; 6],
    /// By distance from the middle: reflectance, and slope towards the outside.
    profile: Vec<[f32; 2]>,
    /// Pixels a unit.
    unit: f32,
}

impl Look {
    pub fn new(seed: u64, index: u64, defect_rate: f64, unit: f32) -> Self {
        let mut rng = stream(seed, index, PARTS);
        let mut jitter = |most: f32| rng.random_range(-most..=most);
        let shift = [jitter(0.012), jitter(0.02)];
        let turn = jitter(0.14);
        let brightness = 1.0 + jitter(0.06);
        let warmth = jitter(0.015);
        let bolts = std::array::from_fn(|i| {
            let angle = turn + i as f32 * std::f32::consts::FRAC_PI_3;
            [BOLT_CIRCLE * angle.cos(), BOLT_CIRCLE * angle.sin()]
        });
        let profile = profile(unit, &mut rng);
        let defect = (rng.random::<f64>() < defect_rate).then(|| Defect::draw(turn, unit, &mut rng));
        let tint = [1.0 + warmth, 1.0, 1.01 - warmth];
        Self {
            index,
            shift,
            defect,
            brightness,
            tint,
            bolts,
            profile,
            unit,
        }
    }

    /// What the part does at (`dx`, `dy`) from its middle.
    pub fn shade(&self, dx: f32, dy: f32) -> Over {
        let r = (dx * dx + dy * dy).sqrt().max(1e-6);
        let mut outside = (r - RADIUS).max(HOLE - r);
        let mut chip_edge = 0.0;
        let mut stain = None;
        if let Some(defect) = self.defect.as_ref().filter(|d| d.near(dx, dy)) {
            let depth = defect.depth(dx, dy);
            if defect.kind == DefectKind::Chip {
                outside = outside.max(depth);
                chip_edge = (1.0 + depth / 0.010).clamp(0.0, 1.0);
            } else {
                stain = Some((defect.dark, (depth * self.unit / defect.feather + 0.5).clamp(0.0, 1.0)));
            }
        }
        let shadow = self.shadow(dx, dy);
        let cover = (0.5 - outside * self.unit).clamp(0.0, 1.0);
        if cover == 0.0 {
            return Over {
                shadow,
                cover,
                color: [0.0; 3],
            };
        }
        let mut value = self.metal(dx, dy, r);
        value += chip_edge * (0.30 - 0.5 * value);
        let mut color = self.tint.map(|tint| value * tint);
        if let Some((dark, amount)) = stain {
            let target = if dark { [0.13, 0.105, 0.09] } else { [0.97, 0.97, 0.95] };
            for (color, target) in color.iter_mut().zip(target) {
                *color += 0.85 * amount * (target - *color);
            }
        }
        Over { shadow, cover, color }
    }

    /// Brightness of the bare metal, bolt holes included.
    fn metal(&self, dx: f32, dy: f32, r: f32) -> f32 {
        let facing = (dx * LIGHT[0] + dy * LIGHT[1]) / r;
        let at = r * ((PROFILE - 2) as f32 / (1.05 * RADIUS));
        let i = (at as usize).min(PROFILE - 2);
        let t = (at - i as f32).min(1.0);
        let [[a0, s0], [a1, s1]] = [self.profile[i], self.profile[i + 1]];
        let (reflectance, slope) = (a0 + t * (a1 - a0), s0 + t * (s1 - s0));
        let mut value = self.brightness * reflectance * (0.88 + 0.36 * fan(dx / r, dy / r)) + slope * facing;
        if (r - BOLT_CIRCLE).abs() < COUNTERSINK + 0.01 {
            for [bx, by] in self.bolts {
                let (x, y) = (dx - bx, dy - by);
                let d2 = x * x + y * y;
                if d2 < (COUNTERSINK + 0.01).powi(2) {
                    let d = d2.sqrt().max(1e-6);
                    let inside = |radius: f32| (0.5 + (radius - d) * self.unit).clamp(0.0, 1.0);
                    let wall = 0.42 - 0.26 * (x * LIGHT[0] + y * LIGHT[1]) / d;
                    value += inside(COUNTERSINK) * (wall - value);
                    value += inside(BOLT) * (0.055 - value);
                }
            }
        }
        value
    }

    /// Factor on the belt where the part takes the light away.
    fn shadow(&self, dx: f32, dy: f32) -> f32 {
        let (x, y) = (dx - SHADOW[0], dy - SHADOW[1]);
        let r = (x * x + y * y).sqrt();
        let outside = (r - RADIUS).max(HOLE - r);
        1.0 - 0.62 * smoothstep(0.030, -0.022, outside)
    }
}

/// How much of the bright fans falls in the direction (`x`, `y`), a unit vector.
fn fan(x: f32, y: f32) -> f32 {
    let along = x * FAN[0] + y * FAN[1];
    (along * along) * (along * along)
}

/// Reflectance and slope from the middle outwards, with the turning tool's fine marks.
fn profile(unit: f32, rng: &mut Pcg64) -> Vec<[f32; 2]> {
    const MARKS: usize = 120;
    let marks: [f32; MARKS] = std::array::from_fn(|_| rng.random_range(-1.0..=1.0));
    let fade = (RADIUS * unit / MARKS as f32 / 1.2).min(1.0);
    let soft = (1.0 / unit).max(0.002);
    let band =
        |r: f32, from: f32, to: f32| smoothstep(from - soft, from + soft, r) * smoothstep(to + soft, to - soft, r);
    (0..PROFILE)
        .map(|i| {
            let r = i as f32 * 1.05 * RADIUS / (PROFILE - 2) as f32;
            let at = (r / RADIUS * MARKS as f32).min(MARKS as f32 - 1.001);
            let k = at as usize;
            let mark = marks[k] + (at - k as f32) * (marks[k + 1] - marks[k]);
            let plain = 0.68 - 0.10 * smoothstep(RING - soft, RING + soft, r);
            let groove = band(r, RING - RING_HALF, RING + RING_HALF);
            let reflectance = (plain - 0.24 * groove) * (1.0 + 0.035 * fade * mark);
            let slope = 0.22 * band(r, RADIUS - CHAMFER, 1.1 * RADIUS) - 0.24 * band(r, 0.0, HOLE + CHAMFER)
                + 0.20 * (band(r, RING - RING_HALF, RING) - band(r, RING, RING + RING_HALF));
            [reflectance, slope]
        })
        .collect()
}

/// A defect in its part's own coordinates.
#[derive(Debug, Clone)]
pub struct Defect {
    pub kind: DefectKind,
    /// `[x0, y0, x1, y1]` around what can be seen of it.
    pub bounds: [f32; 4],
    /// Whether it is darker than the metal.
    dark: bool,
    /// Pixels over which its edge fades.
    feather: f32,
    middle: [f32; 2],
    /// Unit vector along it.
    axis: [f32; 2],
    /// Half length and half width of a scratch; radius twice for the others.
    size: [f32; 2],
    /// A scratch's sag, or the phase of an outline's waves.
    shape: f32,
}

impl Defect {
    fn draw(turn: f32, unit: f32, rng: &mut Pcg64) -> Self {
        let kind = DefectKind::ALL[rng.random_range(0..DefectKind::ALL.len())];
        let mut range = |from: f32, to: f32| rng.random_range(from..=to);
        // Between two bolts, so that neither hides the other.
        let gap = (range(0.0, 6.0).floor() + 0.5 + range(-0.16, 0.16)) * std::f32::consts::FRAC_PI_3 + turn;
        let (distance, size) = match kind {
            DefectKind::Scratch => (
                range(0.205, 0.235),
                [range(0.065, 0.105), range(0.0045, 0.0065).max(0.7 / unit)],
            ),
            DefectKind::Spot => (range(0.205, 0.250), [range(0.026, 0.038).max(1.2 / unit); 2]),
            DefectKind::Chip => (range(1.00, 1.04) * RADIUS, [range(0.044, 0.060).max(1.5 / unit); 2]),
        };
        // A scratch runs askew: neither along the tool's marks nor across them.
        let lean = gap + std::f32::consts::FRAC_PI_2 + range(-0.7, 0.7);
        let shape = if kind == DefectKind::Scratch {
            range(-0.25, 0.25)
        } else {
            range(0.0, std::f32::consts::TAU)
        };
        let mut defect = Self {
            kind,
            bounds: [0.0; 4],
            // A bright scratch would drown in the bright fans.
            dark: kind != DefectKind::Scratch || range(0.0, 1.0) < 0.3 || fan(gap.cos(), gap.sin()) > 0.25,
            feather: if kind == DefectKind::Spot {
                (0.006 * unit).max(1.0)
            } else {
                1.0
            },
            middle: [distance * gap.cos(), distance * gap.sin()],
            axis: [lean.cos(), lean.sin()],
            size,
            shape,
        };
        defect.bounds = defect.find_bounds();
        defect
    }

    /// Whether the defect may touch the point.
    fn near(&self, dx: f32, dy: f32) -> bool {
        let [x, y] = [dx - self.middle[0], dy - self.middle[1]];
        x * x + y * y < (1.35 * self.size[0]).powi(2)
    }

    /// How deep inside the defect the point lies; negative outside.
    fn depth(&self, dx: f32, dy: f32) -> f32 {
        let [x, y] = [dx - self.middle[0], dy - self.middle[1]];
        let [length, width] = self.size;
        if self.kind == DefectKind::Scratch {
            let u = x * self.axis[0] + y * self.axis[1];
            let v = y * self.axis[0] - x * self.axis[1];
            let part = (u / length).clamp(-1.0, 1.0);
            let v = v - self.shape * length * (part * part - 0.5);
            let taper = width * (1.0 - 0.6 * part * part);
            return taper - (v * v + (u - part * length).powi(2)).sqrt();
        }
        let angle = y.atan2(x);
        let wave = 0.13 * (3.0 * angle + self.shape).sin() + 0.07 * (7.0 * angle - 2.0 * self.shape).sin();
        length * (1.0 + wave) - (x * x + y * y).sqrt()
    }

    /// The box around the points inside both defect and part, on a fine grid.
    fn find_bounds(&self) -> [f32; 4] {
        const STEPS: i32 = 40;
        let reach = 1.35 * self.size[0];
        let [mx, my] = self.middle;
        let mut bounds = [f32::MAX, f32::MAX, f32::MIN, f32::MIN];
        for i in -STEPS..=STEPS {
            for j in -STEPS..=STEPS {
                let (x, y) = (
                    mx + reach * i as f32 / STEPS as f32,
                    my + reach * j as f32 / STEPS as f32,
                );
                // Half a grid step counts as inside, so that thin ones are not missed.
                if self.depth(x, y) > -0.5 * reach / STEPS as f32 && x * x + y * y < RADIUS * RADIUS {
                    bounds = [bounds[0].min(x), bounds[1].min(y), bounds[2].max(x), bounds[3].max(y)];
                }
            }
        }
        bounds
    }
}

/// 0 at `from`, 1 at `to`, smooth between; `from` may be the larger.
fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}
