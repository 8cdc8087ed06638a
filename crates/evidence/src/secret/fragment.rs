//! How a file becomes the texts that rules see: binary files are left out, long ones are cut at empty lines.

use std::ops::Range;

/// Bytes in which a NUL makes a file binary; git's own rule.
pub const SNIFFED_BYTES: usize = 8_000;

/// Bytes of one text of a file, before it is prolonged to an empty line.
const CHUNK_BYTES: usize = 100_000;
/// Bytes that a text is prolonged by at most.
const PROLONGED_BYTES_MAX: usize = 25_000;
/// What gitleaks' buffered reader has in store after it read on; the next text starts with that.
const BUFFERED_BYTES: usize = 4_096;

/// Whether rules make no sense of a file.
pub fn is_binary(bytes: &[u8]) -> bool {
    memchr::memchr(0, &bytes[..bytes.len().min(SNIFFED_BYTES)]).is_some()
}

/// The texts of a file, cut where gitleaks cuts them, so that rules see the same: a secret over a cut is seen by neither.
pub(super) fn chunks(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    let mut at = 0;
    // Up to here the reader has taken bytes from the file.
    let mut taken = 0;
    while at < bytes.len() {
        let mut end = if taken > at { taken } else { (at + CHUNK_BYTES).min(bytes.len()) };
        taken = taken.max(end);
        let first = end;
        if !ends_with_empty_line(&bytes[at..end]) {
            let mut newlines = 0;
            loop {
                match bytes[end - 1] {
                    b'\n' => newlines += 1,
                    b' ' | b'\t' | b'\r' => {}
                    _ => newlines = 0,
                }
                if newlines >= 2 || end - first >= PROLONGED_BYTES_MAX || end == bytes.len() {
                    break;
                }
                if end == taken {
                    taken = (taken + BUFFERED_BYTES).min(bytes.len());
                }
                end += 1;
            }
        }
        all.push(at..end);
        at = end;
    }
    all
}

fn ends_with_empty_line(text: &[u8]) -> bool {
    let blank = text.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    blank.filter(|byte| **byte == b'\n').take(2).count() == 2
}

#[cfg(test)]
mod tests {
    use super::{Range, chunks, is_binary};

    #[test]
    fn texts_cover_the_file_and_end_at_empty_lines() {
        assert!(chunks(b"").is_empty());
        assert_eq!(chunks(b"a\nb"), vec![Range { start: 0, end: 3 }]);
        let paragraph = format!("{}\n\n", "x".repeat(998));
        let text = paragraph.repeat(400);
        let all = chunks(text.as_bytes());
        assert_eq!(all[0], 0..100_000);
        assert_eq!(all.last().unwrap().end, text.len());
        assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(all.iter().all(|range| range.end % 1_000 == 0), "{all:?}");
        let unbroken = chunks(&vec![b'x'; 300_000]);
        assert_eq!(unbroken[0], 0..125_000);
        assert_eq!(unbroken.iter().map(std::iter::ExactSizeIterator::len).sum::<usize>(), 300_000);
    }

    #[test]
    fn a_nul_early_makes_a_file_binary() {
        assert!(is_binary(b"\x7fELF\0"));
        assert!(!is_binary(b"text"));
        let mut late = vec![b'x'; 9_000];
        late[8_500] = 0;
        assert!(!is_binary(&late));
    }
}
