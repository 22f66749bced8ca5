//! What a model's card says of its making.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::data;

/// Today in UTC, ISO 8601.
pub fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    date(seconds / 86_400)
}

/// The day `days` after 1970-01-01 in the Gregorian calendar.
fn date(days: u64) -> String {
    let leap = |y: u64| (y.is_multiple_of(4) && !y.is_multiple_of(100)) || y.is_multiple_of(400);
    let (mut year, mut left) = (1970, days);
    while left >= 365 + u64::from(leap(year)) {
        left -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year:04}-{month:02}-{:02}", left + 1)
}

/// The processor's name and the number of threads in use.
pub fn hardware() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, n)| n.trim()));
    let threads = rayon::current_num_threads();
    format!("{}, {threads} threads", name.unwrap_or("unknown processor"))
}

/// The command line as the card shows it: without what does not change the model (`-o`, `--resume`, `--log`,
/// `--checkpoint-every`), so that the same training gives the same file wherever it is written.
pub fn command(arguments: impl Iterator<Item = String>) -> String {
    let valued = ["-o", "--output", "--log", "--checkpoint-every"];
    let mut words = vec!["gst-candle".to_owned()];
    let mut arguments = arguments.skip(1);
    while let Some(word) = arguments.next() {
        if valued.contains(&word.as_str()) {
            arguments.next();
            continue;
        }
        let joined = valued.iter().any(|v| match v.strip_prefix("--") {
            Some(_) => word.strip_prefix(v).is_some_and(|rest| rest.starts_with('=')),
            None => word.starts_with(v) && !word.starts_with("--"),
        });
        if word != "--resume" && !joined {
            words.push(quoted(word));
        }
    }
    words.join(" ")
}

/// `word` as a shell takes it.
fn quoted(word: String) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Seeds of a run's streams: what is drawn for one purpose never depends on another.
pub mod purpose {
    use super::data::random::stream;
    use rand::Rng;

    /// A seed for `purpose` in a run with `seed`.
    pub fn seed(seed: u64, purpose: u64) -> u64 {
        stream(seed, u64::MAX, purpose).next_u64()
    }

    /// Order of the samples.
    pub const ORDER: u64 = 1;
    /// Crops, turns, noise, defects.
    pub const AUGMENT: u64 = 2;
    /// Noise and defects of the validation.
    pub const VALIDATE: u64 = 3;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_gregorian() {
        // date -u -d @$((DAYS * 86400)) +%F
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(11_017), "2000-03-01");
        assert_eq!(date(19_722), "2023-12-31");
        assert_eq!(date(20_088), "2024-12-31");
    }

    #[test]
    fn the_command_leaves_out_where_it_goes() {
        let line =
            "/usr/bin/gst-candle train denoise pictures -o a.safetensors --steps 10 --resume --log=x -ob --outputs c";
        let words = line.split(' ').map(String::from);
        assert_eq!(
            command(words),
            "gst-candle train denoise pictures --steps 10 --outputs c"
        );
        assert_eq!(
            command(["x", "it's", "a b"].map(String::from).into_iter()),
            r"gst-candle 'it'\''s' 'a b'"
        );
    }
}
