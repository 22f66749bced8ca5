//! How long a video file says it is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// A file may be so many bytes shorter than its header says and still be whole: some writers count the header itself, or
/// leave out a byte of padding.
const SLACK: u64 = 16;
/// Sizes that writers leave in a RIFF header when they never come back to fill it in.
const OPEN: [u32; 3] = [0, i32::MAX as u32, u32::MAX];
/// Boxes at the top of an MP4 or QuickTime file. Others are taken for what some cameras append, and end the search.
const BOXES: [&[u8; 4]; 14] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"sidx", b"free", b"skip", b"wide", b"uuid", b"meta",
    b"udta", b"pdin",
];

/// A file and what its header promises.
#[derive(Debug, PartialEq)]
pub struct Bytes {
    pub there: u64,
    pub promised: u64,
}

/// The bytes of a file that is shorter than its container says (AVI, Matroska and WebM, MP4 and QuickTime). `None` where nothing is
/// missing, where the container gives no length (MPEG streams, anything written live), or where the file cannot be read.
pub fn cut_off(path: &Path) -> Option<Bytes> {
    let mut file = File::open(path).ok()?;
    let there = file.metadata().ok()?.len();
    let mut start = [0; 4];
    file.read_exact(&mut start).ok()?;
    let promised = match &start {
        b"RIFF" => riff(&mut file, there),
        [0x1a, 0x45, 0xdf, 0xa3] => matroska(&mut file),
        _ => boxes(&mut file, there),
    };
    let promised = promised.ok()?;
    (promised > there.saturating_add(SLACK)).then_some(Bytes { there, promised })
}

/// End of the last RIFF chunk that begins within `there` bytes: large files (OpenDML) have several. 0 for one without a length.
fn riff(file: &mut File, there: u64) -> io::Result<u64> {
    let (mut at, mut end) = (0, 0);
    while at + 8 <= there && &read_at(file, at)? == b"RIFF" {
        let size = u32::from_le_bytes(read_at(file, at + 4)?);
        if OPEN.contains(&size) {
            return Ok(0);
        }
        end = at + 8 + u64::from(size);
        at = end.next_multiple_of(2);
    }
    Ok(end)
}

/// End of the segment, 0 for one without a length.
fn matroska(file: &mut File) -> io::Result<u64> {
    let (size, segment) = element_size(file, 4)?;
    let Some(segment) = size.and_then(|size| segment.checked_add(size)) else {
        return Ok(0);
    };
    if read_at(file, segment)? != [0x18, 0x53, 0x80, 0x67] {
        return Ok(0);
    }
    let (size, data) = element_size(file, segment + 4)?;
    Ok(size.map_or(0, |size| data.saturating_add(size)))
}

/// The EBML number at `at` (`None` where all its bits are set: unknown), and where it ends.
fn element_size(file: &mut File, at: u64) -> io::Result<(Option<u64>, u64)> {
    let [first] = read_at(file, at)?;
    // One leading zero bit a byte that follows the first.
    let more = first.leading_zeros();
    if more >= 8 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut value = u64::from(first) & (0x7f >> more);
    for i in 1..=u64::from(more) {
        let [byte] = read_at(file, at + i)?;
        value = value << 8 | u64::from(byte);
    }
    let unknown = (1 << (7 * (more + 1))) - 1;
    Ok(((value != unknown).then_some(value), at + 1 + u64::from(more)))
}

/// End of the last box with samples, or with what they are, that begins within `there` bytes.
fn boxes(file: &mut File, there: u64) -> io::Result<u64> {
    let (mut at, mut end): (u64, u64) = (0, 0);
    while at.saturating_add(8) <= there {
        let name: [u8; 4] = read_at(file, at + 4)?;
        if !BOXES.contains(&&name) {
            return Ok(end);
        }
        let size = match u32::from_be_bytes(read_at(file, at)?) {
            0 => return Ok(end), // to the end of the file
            1 => u64::from_be_bytes(read_at(file, at + 8)?),
            size => size.into(),
        };
        if size < 8 {
            return Ok(end);
        }
        at = at.saturating_add(size);
        if matches!(&name, b"moov" | b"moof" | b"mdat") {
            end = at;
        }
    }
    Ok(end)
}

fn read_at<const N: usize>(file: &mut File, at: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Option<Bytes> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        cut_off(file.path())
    }

    /// Asserts that `header`, `middle` and 40 bytes more make a whole file, with anything behind it too, and one that is cut
    /// off wherever it is cut after the header by more than the slack.
    fn assert_length(header: &[u8], middle: &[u8]) {
        let whole = [header, middle, &[7; 40]].concat();
        assert_eq!(of(&whole), None);
        assert_eq!(of(&[&whole[..], b"\x00\x00\x00\x01junk that follows"].concat()), None);
        for there in header.len()..whole.len() {
            let promised = whole.len() as u64;
            let expected = (there + 16 < whole.len()).then_some(Bytes {
                there: there as u64,
                promised,
            });
            assert_eq!(of(&whole[..there]), expected);
        }
    }

    #[test]
    fn a_cut_is_seen_wherever_it_is() {
        assert_length(b"RIFF\x2c\0\0\0", b"AVI ");
        assert_length(b"RIFF\x05\0\0\0AVI d\0RIFF\x2c\0\0\0", b"AVIX");
        // A header of two bytes; a segment of 44, its length in one byte and in eight.
        assert_length(b"\x1a\x45\xdf\xa3\x82hd\x18\x53\x80\x67\xac", b"data");
        assert_length(b"\x1a\x45\xdf\xa3\x82hd\x18\x53\x80\x67\x01\0\0\0\0\0\0\x2c", b"data");
        assert_length(b"\0\0\0\x0cftypisom\0\0\0\x01mdat\0\0\0\0\0\0\0\x3c", b"data");
    }

    #[test]
    fn what_follows_the_frames_of_an_mp4_may_be_cut() {
        assert_eq!(of(b"\0\0\0\x0cftypisom\0\0\0\x09mdat.\0\0\x10\0free"), None);
    }

    #[test]
    fn what_gives_no_length_is_whole() {
        for open in [
            &b"RIFF\xff\xff\xff\xffAVI "[..],
            b"RIFF\0\0\0\0AVI and frames",
            b"RIFF\xff\xff\xff\x7fAVI and frames",
            b"\x1a\x45\xdf\xa3\x82hd\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xffdata",
            b"\x1a\x45\xdf\xa3\x82hd\x18\x53\x80\x67\xffdata",
            b"\0\0\0\x0cftypisom\0\0\0\0mdatdata",
            b"\0\0\0\x0cftypisom\0\0\x10\0what",
            b"\x47\x40\0\x10 transport stream",
            b"",
        ] {
            assert_eq!(of(open), None, "{open:?}");
        }
        assert_eq!(cut_off(Path::new("/no/such/file")), None);
    }
}
