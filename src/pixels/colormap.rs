//! Colours for heat maps.

/// A colour map: which colour stands for a value in 0..1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ColorMap {
    /// Dark violet over red to pale yellow, its lightness rising evenly, so that it reads the same in grey and to the colour-blind.
    #[default]
    Inferno,
    /// Dark violet over green to yellow, its lightness rising evenly.
    Viridis,
    /// Blue over green to dark red. Tells more steps apart by hue, but is darkest at both ends.
    Turbo,
}

/// 17 even stops of the colour map "inferno" (van der Walt and Smith 2015, CC0).
const INFERNO: [u32; 17] = [
    0x000004, 0x0b0724, 0x210c4a, 0x3d0965, 0x57106e, 0x71196e, 0x8a226a, 0xa32c61, 0xbc3754, 0xd04545, 0xe35933,
    0xf1711f, 0xf98c0a, 0xfcaa0f, 0xf9c932, 0xf2e865, 0xfcffa4,
];

/// 17 even stops of the colour map "viridis" (van der Walt, Smith and Firing 2015, CC0).
const VIRIDIS: [u32; 17] = [
    0x440154, 0x48186a, 0x472d7b, 0x424086, 0x3b528b, 0x33638d, 0x2c728e, 0x26828e, 0x21918c, 0x1f9f88, 0x27ad81,
    0x3dbc74, 0x5cc863, 0x81d34d, 0xaadc32, 0xd5e21a, 0xfde725,
];

/// 17 even stops of the colour map "turbo" (Mikhailov 2019).
const TURBO: [u32; 17] = [
    0x30123b, 0x4040a2, 0x466be3, 0x4294ff, 0x28bceb, 0x18ddc2, 0x32f298, 0x6dfe62, 0xa4fc3c, 0xcbed34, 0xecd13a,
    0xfdae35, 0xfb8122, 0xec530f, 0xd23105, 0xac1701, 0x7a0403,
];

/// Colours that the colour-blind tell apart, too (Okabe and Ito 2008), black left out.
const CLASSES: [u32; 7] = [0xd55e00, 0x56b4e9, 0xf0e442, 0xcc79a7, 0x009e73, 0xe69f00, 0x0072b2];

/// Red, green and blue in 0..1 for a class.
pub fn class_color(class: usize) -> [f32; 3] {
    let color = CLASSES[class % CLASSES.len()];
    [16, 8, 0].map(|shift| (color >> shift & 0xff) as f32 / 255.0)
}

impl ColorMap {
    /// Red, green and blue in 0..1 for a value in 0..1, linear between stops: within 0.03 of the published 256 colours.
    /// Values beyond 0..1 take the colours at the ends, and what is not a number takes the lowest.
    pub fn color(self, value: f32) -> [f32; 3] {
        let stops = match self {
            Self::Inferno => &INFERNO,
            Self::Viridis => &VIRIDIS,
            Self::Turbo => &TURBO,
        };
        let last = stops.len() - 1;
        let position = value.clamp(0.0, 1.0) * last as f32;
        // Not a number becomes 0 here.
        let stop = (position as usize).min(last - 1);
        let part = (position - stop as f32).max(0.0);
        let (low, high) = (rgb(stops[stop]), rgb(stops[stop + 1]));
        std::array::from_fn(|i| low[i] + part * (high[i] - low[i]))
    }
}

fn rgb(code: u32) -> [f32; 3] {
    [16, 8, 0].map(|shift| (code >> shift & 0xff) as f32 / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_agree_with_the_published_tables() {
        // Entries of matplotlib's tables of 256 colours.
        let published = [
            (ColorMap::Inferno, 0, [0.001462, 0.000466, 0.013866]),
            (ColorMap::Inferno, 64, [0.3415, 0.062325, 0.429425]),
            (ColorMap::Inferno, 100, [0.565854, 0.143567, 0.408258]),
            (ColorMap::Inferno, 200, [0.985952, 0.61575, 0.025592]),
            (ColorMap::Inferno, 255, [0.988362, 0.998364, 0.644924]),
            (ColorMap::Viridis, 0, [0.267004, 0.004874, 0.329415]),
            (ColorMap::Viridis, 64, [0.229739, 0.322361, 0.545706]),
            (ColorMap::Viridis, 100, [0.166617, 0.463708, 0.558119]),
            (ColorMap::Viridis, 200, [0.440137, 0.811138, 0.340967]),
            (ColorMap::Viridis, 255, [0.993248, 0.906157, 0.143936]),
            (ColorMap::Turbo, 0, [0.18995, 0.07176, 0.23217]),
            (ColorMap::Turbo, 64, [0.15844, 0.73551, 0.92305]),
            (ColorMap::Turbo, 100, [0.24797, 0.96423, 0.54303]),
            (ColorMap::Turbo, 200, [0.95801, 0.39958, 0.08831]),
            (ColorMap::Turbo, 255, [0.4796, 0.01583, 0.01055]),
        ];
        for (map, index, expected) in published {
            let found = map.color(index as f32 / 255.0);
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 0.03, "{map:?} {index}: {found:?}, {expected:?}");
            }
        }
    }

    #[test]
    fn lightness_rises_and_the_ends_hold() {
        for map in [ColorMap::Inferno, ColorMap::Viridis] {
            let luma = |value: f32| {
                let [r, g, b] = map.color(value);
                0.299 * r + 0.587 * g + 0.114 * b
            };
            assert!((1..=100).all(|i| luma(i as f32 / 100.0) > luma((i - 1) as f32 / 100.0)));
            assert_eq!(map.color(-3.0), map.color(0.0));
            assert_eq!(map.color(7.0), map.color(1.0));
            assert_eq!(map.color(f32::NAN), map.color(0.0));
        }
    }
}
