//! Lines and columns of a match.

use super::decode::Part;

/// Where a match is, lines counted from 0 within the text, columns from 1 in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start_line: usize,
    pub(super) end_line: usize,
    pub(super) start_column: usize,
    pub(super) end_column: usize,
}

/// The lines of a text; counted only when something was found in it.
pub(super) struct Lines<'a> {
    text: &'a [u8],
    newlines: std::cell::OnceCell<Vec<usize>>,
}

impl<'a> Lines<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, newlines: std::cell::OnceCell::new() }
    }

    fn newlines(&self) -> &[usize] {
        self.newlines.get_or_init(|| memchr::memchr_iter(b'\n', self.text).collect())
    }

    pub(super) fn region(&self, place: Part) -> Region {
        let newlines = self.newlines();
        // A match that starts with a line's end belongs to the next line.
        let start_line = newlines.partition_point(|at| *at <= place.start);
        let end_line = newlines.partition_point(|at| *at < place.end).max(start_line);
        let column = |line: usize, at: usize| {
            let start = line.checked_sub(1).map_or(0, |line| newlines[line] + 1);
            (at + 1).saturating_sub(start).max(1)
        };
        Region {
            start_line,
            end_line,
            start_column: column(start_line, place.start),
            end_column: column(end_line, place.end.saturating_sub(1)),
        }
    }

    /// The whole lines of a region; a last line that has no end ends with the match when it began on an earlier one.
    pub(super) fn text(&self, region: &Region, place: Part) -> &'a [u8] {
        let newlines = self.newlines();
        let start = region.start_line.checked_sub(1).map_or(0, |line| newlines[line] + 1);
        let end = newlines.get(region.end_line).copied().unwrap_or(self.text.len());
        &self.text[start.min(end)..end.max(place.end).min(self.text.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::{Lines, Part};

    #[test]
    fn lines_and_columns_of_a_match() {
        let text = b"ab\ncde\n\nf";
        let lines = Lines::new(text);
        #[rustfmt::skip]
        let cases = [
            // start end  line  columns  the lines' text
            (0, 2, (0, 0), (1, 2), &b"ab"[..]),
            (3, 6, (1, 1), (1, 3), b"cde"),
            (4, 5, (1, 1), (2, 2), b"cde"),
            (0, 5, (0, 1), (1, 2), b"ab\ncde"),
            (2, 5, (1, 1), (1, 2), b"cde"),
            (8, 9, (3, 3), (1, 1), b"f"),
        ];
        for (start, end, at, columns, expected) in cases {
            let place = Part { start, end };
            let region = lines.region(place);
            assert_eq!((region.start_line, region.end_line), at, "{start}..{end}");
            assert_eq!((region.start_column, region.end_column), columns, "{start}..{end}");
            assert_eq!(lines.text(&region, place), expected, "{start}..{end}");
        }
    }
}
