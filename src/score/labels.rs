//! Names of classes that mean something to the program, and which of many names counts.

/// Names of classes that mean "without defect".
pub const GOOD: [&str; 4] = ["good", "ok", "normal", "none"];
/// What is said where no name is sure enough.
pub const UNKNOWN: &str = "unknown";

/// Whether a class of this name is without defect.
pub fn is_good(name: &str) -> bool {
    GOOD.iter().any(|good| name.eq_ignore_ascii_case(good))
}

/// Of the names that a frame's regions were given and how sure they are, the place of that which stands for the frame: the surest name of a
/// defect, else [`UNKNOWN`], else what is [good](is_good). `None` where there are no names.
pub fn standing<'a>(names: impl IntoIterator<Item = (&'a str, f64)>) -> Option<usize> {
    let rank = |name: &str| match name {
        UNKNOWN => 1,
        name if is_good(name) => 0,
        _ => 2,
    };
    let ranked = names.into_iter().map(|(name, sureness)| (rank(name), sureness));
    let order = |a: &(u8, f64), b: &(u8, f64)| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    ranked.enumerate().max_by(|(_, a), (_, b)| order(a, b)).map(|(i, _)| i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_defect_stands_for_its_frame() {
        assert_eq!(
            standing([("Good", 0.9), ("crack", 0.4), ("fray", 0.5), ("unknown", 0.8)]),
            Some(2)
        );
        assert_eq!(standing([("good", 0.9), ("unknown", 0.1)]), Some(1));
        assert_eq!(standing([("good", 0.1), ("OK", 0.3)]), Some(1));
        assert_eq!(standing([]), None);
        assert!(is_good("None") && !is_good("nonesuch"));
    }
}
