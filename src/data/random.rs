//! Random numbers that a seed fixes: every draw belongs to a stream named by what it is for.
//!
//! Nothing here keeps a state between steps, so a resumed run needs none, and threads cannot change the draws.

use rand_pcg::Pcg64;

/// The generator of item `item` of step `step`, in a run with `seed`. Streams are independent of each other.
pub fn stream(seed: u64, step: u64, item: u64) -> Pcg64 {
    let mix = |x: u64| {
        // SplitMix64's finaliser (Steele, Lea, Flood 2014): near inputs give unrelated outputs.
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    let a = mix(seed.wrapping_add(0x9e37_79b9_7f4a_7c15));
    let b = mix(a ^ step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let c = mix(b ^ item.wrapping_mul(0xd1b5_4a32_d192_ed03));
    Pcg64::new((u128::from(a) << 64) | u128::from(c), u128::from(mix(b ^ c)))
}

#[cfg(test)]
mod tests {
    use super::stream;
    use rand::Rng;

    #[test]
    fn streams_repeat_and_differ() {
        let first = |seed, step, item| stream(seed, step, item).next_u64();
        assert_eq!(first(1, 2, 3), first(1, 2, 3));
        let all = [
            first(1, 2, 3),
            first(1, 2, 4),
            first(1, 3, 3),
            first(2, 2, 3),
            first(0, 0, 0),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|b| a != b));
        }
    }
}
