//! The patches that `git log -p -U0` and `git diff -U0` write, as the lines that they add.

use std::io::BufRead;

/// Bytes that one hunk may add; git takes larger files for binary.
const HUNK_BYTES_MAX: usize = super::FILE_BYTES_MAX as usize;

/// The lines that one place of one file gained.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Hunk {
    /// Empty for a change that is in no commit yet.
    pub(super) commit: String,
    pub(super) path: String,
    /// The first line of them in the new file.
    pub(super) line: usize,
    pub(super) text: Vec<u8>,
}

/// Reads patches; `take` gets every hunk that adds something. Lines `commit ID` at the start of a line name the commit.
pub(super) fn read(mut input: impl BufRead, mut take: impl FnMut(Hunk)) -> std::io::Result<()> {
    let mut line = Vec::new();
    let mut hunk = Hunk::default();
    let (mut removed, mut added) = (0, 0);
    let mut last_was_added = false;
    loop {
        line.clear();
        let read = input.by_ref().read_until(b'\n', &mut line)?;
        if removed > 0 || added > 0 {
            match line.first() {
                Some(b'-') if removed > 0 => (removed, last_was_added) = (removed - 1, false),
                Some(b'+') if added > 0 => {
                    (added, last_was_added) = (added - 1, true);
                    if hunk.text.len() + line.len() <= HUNK_BYTES_MAX {
                        hunk.text.extend_from_slice(&line[1..]);
                    }
                }
                Some(b'\\') => without_newline(&mut hunk, last_was_added),
                _ => (removed, added) = (0, 0),
            }
            if read > 0 {
                continue;
            }
        }
        if line.first() == Some(&b'\\') {
            without_newline(&mut hunk, last_was_added);
            continue;
        }
        if !hunk.text.is_empty() {
            take(Hunk { text: std::mem::take(&mut hunk.text), ..hunk.clone() });
        }
        if read == 0 {
            return Ok(());
        }
        if let Some(id) = line.strip_prefix(b"commit ") {
            hunk.commit = String::from_utf8_lossy(id).trim().to_owned();
        } else if let Some(path) = line.strip_prefix(b"+++ ") {
            hunk.path = new_path(path);
        } else if let Some((old, start, new)) = line.strip_prefix(b"@@ ").and_then(range) {
            (removed, added, hunk.line, last_was_added) = (old, new, start, false);
        }
    }
}

/// The line before has no end: `\ No newline at end of file`.
fn without_newline(hunk: &mut Hunk, last_was_added: bool) {
    if last_was_added && hunk.text.last() == Some(&b'\n') {
        hunk.text.pop();
    }
}

/// `-OLD[,COUNT] +NEW[,COUNT] @@`: the old count, the new start, the new count.
fn range(text: &[u8]) -> Option<(usize, usize, usize)> {
    let text =
        std::str::from_utf8(text.get(..text.iter().position(|byte| *byte == b'@')?)?).ok()?;
    let mut words = text.split_whitespace();
    let pair = |word: &str, sign: char| -> Option<(usize, usize)> {
        let word = word.strip_prefix(sign)?;
        let (start, count) = word.split_once(',').unwrap_or((word, "1"));
        Some((start.parse().ok()?, count.parse().ok()?))
    };
    let (_, old) = pair(words.next()?, '-')?;
    let (start, new) = pair(words.next()?, '+')?;
    Some((old, start, new))
}

/// The path behind `b/`; one with a space ends with a tab.
fn new_path(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let path = path(text.strip_suffix(b"\t").unwrap_or(text));
    path.strip_prefix("b/").map_or(path.clone(), str::to_owned)
}

/// A path as git writes it, C's escapes undone.
pub(super) fn path(text: &[u8]) -> String {
    let quoted = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    String::from_utf8_lossy(&quoted.map_or(text.to_vec(), unquoted)).into_owned()
}

fn unquoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let (byte, length) = match &text[at..] {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] => {
                ((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), 4)
            }
            [b'\\', b'n', ..] => (b'\n', 2),
            [b'\\', b't', ..] => (b'\t', 2),
            [b'\\', b'r', ..] => (b'\r', 2),
            [b'\\', b'a', ..] => (7, 2),
            [b'\\', b'b', ..] => (8, 2),
            [b'\\', b'v', ..] => (11, 2),
            [b'\\', b'f', ..] => (12, 2),
            [b'\\', other, ..] => (*other, 2),
            rest => (rest[0], 1),
        };
        out.push(byte);
        at += length;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Hunk, read};

    #[test]
    fn added_lines_come_with_their_place() {
        let patch = b"commit 12ab\n\ndiff --git a/x b/x\nindex 1..2 100644\n--- a/x\n+++ b/x\n@@ -1 +1,2 @@ fn\n-old\n+one\n+two\n@@ -9,0 +11 @@\n+++ b/no path\n\\ No newline at end of file\ncommit 34cd\n\ndiff --git a/s p b/s p\nnew file mode 100644\n--- /dev/null\n+++ b/s p\t\n@@ -0,0 +1 @@\n+x\ndiff --git \"a/\\303\\244\" \"b/\\303\\244\"\n--- a/y\n+++ \"b/\\303\\244\\\"\"\n@@ -3,2 +0,0 @@\n-commit no\n-a\n\\ No newline at end of file\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n";
        let mut found = Vec::new();
        read(&patch[..], |hunk| found.push(hunk)).unwrap();
        let hunk = |commit: &str, path: &str, line, text: &str| Hunk {
            commit: commit.into(),
            path: path.into(),
            line,
            text: text.into(),
        };
        assert_eq!(
            found,
            [
                hunk("12ab", "x", 1, "one\ntwo\n"),
                hunk("12ab", "x", 11, "++ b/no path"),
                hunk("34cd", "s p", 1, "x\n"),
                hunk("34cd", "\u{e4}\"", 1, "b\n"),
            ]
        );
    }
}
