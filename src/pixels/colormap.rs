//! Colours for heat maps.

/// 17 even stops of the colour map "inferno" (van der Walt and Smith 2015, CC0): dark violet over red to pale yellow, its
/// lightness rising evenly, so that it reads the same in grey and to the colour-blind.
const INFERNO: [u32; 17] = [
    0x000004, 0x0b0724, 0x210c4a, 0x3d0965, 0x57106e, 0x71196e, 0x8a226a, 0xa32c61, 0xbc3754, 0xd04545, 0xe35933,
    0xf1711f, 0xf98c0a, 0xfcaa0f, 0xf9c932, 0xf2e865, 0xfcffa4,
];

/// Red, green and blue in 0..1 for a value in 0..1, linear between stops: within 0.03 of the published 256 colours.
/// Values beyond 0..1 take the colours at the ends, and what is not a number takes the lowest.
pub fn inferno(value: f32) -> [f32; 3] {
    let last = INFERNO.len() - 1;
    let position = value.clamp(0.0, 1.0) * last as f32;
    // Not a number becomes 0 here.
    let stop = (position as usize).min(last - 1);
    let part = (position - stop as f32).max(0.0);
    let (low, high) = (rgb(INFERNO[stop]), rgb(INFERNO[stop + 1]));
    std::array::from_fn(|i| low[i] + part * (high[i] - low[i]))
}

fn rgb(code: u32) -> [f32; 3] {
    [16, 8, 0].map(|shift| (code >> shift & 0xff) as f32 / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_agree_with_the_published_table() {
        // Entries of matplotlib's `_inferno_data`.
        let published = [
            (0, [0.001462, 0.000466, 0.013866]),
            (64, [0.3415, 0.062325, 0.429425]),
            (100, [0.565854, 0.143567, 0.408258]),
            (200, [0.985952, 0.61575, 0.025592]),
            (255, [0.988362, 0.998364, 0.644924]),
        ];
        for (index, expected) in published {
            let found = inferno(index as f32 / 255.0);
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 0.03, "{index}: {found:?}, {expected:?}");
            }
        }
    }

    #[test]
    fn lightness_rises_and_the_ends_hold() {
        let luma = |value: f32| {
            let [r, g, b] = inferno(value);
            0.299 * r + 0.587 * g + 0.114 * b
        };
        assert!((1..=100).all(|i| luma(i as f32 / 100.0) > luma((i - 1) as f32 / 100.0)));
        assert_eq!(inferno(-3.0), inferno(0.0));
        assert_eq!(inferno(7.0), inferno(1.0));
        assert_eq!(inferno(f32::NAN), inferno(0.0));
    }
}
