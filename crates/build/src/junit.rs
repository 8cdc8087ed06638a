//! Reads JUnit XML, the format nearly every test runner writes: which cases ran, which failed, and why.
//!
//! Read leniently, as there is no single standard: `testcase` at any depth, with `failure`, `error` or `skipped` below it.

use std::path::{Path, PathBuf};

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use serde::{Deserialize, Serialize};

/// The largest report that is read, in bytes: some hundred thousand cases.
pub const FILE_BYTES_MAX: u64 = 64 << 20;
/// The most files that one pattern may match.
pub const FILES_MAX: usize = 1_000;
/// The most failing cases that are kept by name; the count goes on.
pub const FAILED_KEPT_MAX: usize = 100;
/// How much of a failure's text is kept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 2_000;

/// What the tests said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// All cases, skipped ones included.
    pub cases: u64,
    /// Cases that failed or could not run.
    pub failures: u64,
    /// Cases that were skipped.
    pub skipped: u64,
    /// The first failing cases.
    pub failed: Vec<FailedCase>,
}

/// One failing case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCase {
    /// Class or module and name, as the runner says it.
    pub name: String,
    /// Its message, or the beginning of its text.
    pub message: String,
}

/// Why a report cannot be read. Each completes "cannot read the test report: …".
#[derive(Debug, thiserror::Error)]
pub enum JunitError {
    /// No file of this name after the tests.
    #[error("no file matches `{pattern}` after the tests")]
    Missing {
        /// What the plan says.
        pattern: String,
    },
    /// More than [`FILES_MAX`] files.
    #[error("`{pattern}` matches more than {FILES_MAX} files")]
    TooMany {
        /// What the plan says.
        pattern: String,
    },
    /// The file is larger than [`FILE_BYTES_MAX`].
    #[error("`{path}` has {bytes} bytes, more than {FILE_BYTES_MAX}")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// The file leaves the checkout, as by a link.
    #[error("`{path}` is not a plain file of the checkout")]
    Outside {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("`{path}` cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no XML.
    #[error("`{path}` is not well-formed XML at byte {at}: {problem}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        problem: String,
    },
}

/// Reads the reports that `pattern` (relative to `root`, `*` within one name) matches, as one.
///
/// # Errors
/// When there is none, or one cannot be read.
pub fn read(root: &Path, pattern: &str) -> Result<TestReport, JunitError> {
    let files = matching(root, pattern);
    if files.is_empty() {
        return Err(JunitError::Missing { pattern: pattern.to_owned() });
    }
    if files.len() > FILES_MAX {
        return Err(JunitError::TooMany { pattern: pattern.to_owned() });
    }
    let mut report = TestReport::default();
    for file in files {
        add_file(&mut report, root, &file)?;
    }
    Ok(report)
}

fn add_file(report: &mut TestReport, root: &Path, path: &Path) -> Result<(), JunitError> {
    let shown = path.strip_prefix(root).unwrap_or(path).to_path_buf();
    let unreadable = |source| JunitError::Unreadable { path: shown.clone(), source };
    let real = path.canonicalize().map_err(unreadable)?;
    let root = root.canonicalize().map_err(unreadable)?;
    let meta = std::fs::metadata(&real).map_err(unreadable)?;
    // The tests wrote it; a link in it must not show the host's files in a report.
    if !real.starts_with(&root) || !meta.is_file() {
        return Err(JunitError::Outside { path: shown });
    }
    if meta.len() > FILE_BYTES_MAX {
        return Err(JunitError::TooLarge { path: shown, bytes: meta.len() });
    }
    let text = std::fs::read(&real).map_err(unreadable)?;
    parse(&text, report).map_err(|(at, problem)| JunitError::Malformed { path: shown, at, problem })
}

/// Adds one report. Pure; for any bytes it returns.
///
/// # Errors
/// The byte and the problem when the text is no XML.
pub fn parse(text: &[u8], report: &mut TestReport) -> Result<(), (u64, String)> {
    let mut reader = Reader::from_reader(text);
    let mut open: Option<OpenCase> = None;
    loop {
        let event =
            reader.read_event().map_err(|error| (reader.error_position(), error.to_string()))?;
        match event {
            Event::Eof => return Ok(()),
            Event::Empty(tag) if tag.local_name().as_ref() == b"testcase" => {
                close(OpenCase::of(&tag), report);
            }
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                b"testcase" => open = Some(OpenCase::of(&tag)),
                name => {
                    if let Some(case) = &mut open {
                        case.child(name, &tag);
                    }
                }
            },
            Event::End(tag) if tag.local_name().as_ref() == b"testcase" => {
                if let Some(case) = open.take() {
                    close(case, report);
                }
            }
            Event::End(tag) => {
                if let Some(case) = &mut open
                    && matches!(tag.local_name().as_ref(), b"failure" | b"error")
                {
                    case.in_failure = false;
                }
            }
            Event::Text(part) => add_text(&mut open, &String::from_utf8_lossy(&part)),
            Event::CData(part) => add_text(&mut open, &String::from_utf8_lossy(&part)),
            _ => {}
        }
    }
}

#[derive(Default)]
struct OpenCase {
    name: String,
    failed: bool,
    skipped: bool,
    in_failure: bool,
    message: String,
    text: String,
}

impl OpenCase {
    fn of(tag: &BytesStart<'_>) -> OpenCase {
        let name = attribute(tag, "name").unwrap_or_default();
        let class = attribute(tag, "classname").filter(|class| !class.is_empty());
        let name = class.map_or(name.clone(), |class| format!("{class}::{name}"));
        OpenCase { name: shortened(&name), ..OpenCase::default() }
    }

    fn child(&mut self, name: &[u8], tag: &BytesStart<'_>) {
        match name {
            b"failure" | b"error" => {
                (self.failed, self.in_failure) = (true, true);
                if self.message.is_empty() {
                    self.message = attribute(tag, "message").unwrap_or_default();
                }
            }
            b"skipped" => self.skipped = true,
            _ => {}
        }
    }
}

fn add_text(open: &mut Option<OpenCase>, part: &str) {
    if let Some(case) = open.as_mut().filter(|case| case.in_failure)
        && case.text.len() < MESSAGE_BYTES_MAX
    {
        case.text.push_str(part);
    }
}

fn close(case: OpenCase, report: &mut TestReport) {
    report.cases += 1;
    report.skipped += u64::from(case.skipped && !case.failed);
    if !case.failed {
        return;
    }
    report.failures += 1;
    if report.failed.len() < FAILED_KEPT_MAX {
        let said = if case.message.trim().is_empty() { case.text } else { case.message };
        report.failed.push(FailedCase { name: case.name, message: shortened(said.trim()) });
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.try_get_attribute(name).ok()??;
    Some(found.unescape_value().map_or_else(
        |_| String::from_utf8_lossy(&found.value).into_owned(),
        std::borrow::Cow::into_owned,
    ))
}

fn shortened(text: &str) -> String {
    let end = text.char_indices().map(|(at, _)| at).find(|at| *at >= MESSAGE_BYTES_MAX);
    text[..end.unwrap_or(text.len())].to_owned()
}

/// Files whose path matches, in order of their names. A `*` stands for any part of one name, so nothing is walked
/// that the pattern does not name.
fn matching(root: &Path, pattern: &str) -> Vec<PathBuf> {
    let mut found = vec![root.to_path_buf()];
    for part in pattern.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return vec![];
        }
        found =
            found.iter().flat_map(|folder| children(folder, part)).take(FILES_MAX + 1).collect();
    }
    found.retain(|path| path.is_file());
    found
}

fn children(folder: &Path, part: &str) -> Vec<PathBuf> {
    if !part.contains('*') {
        let path = folder.join(part);
        return if path.exists() { vec![path] } else { vec![] };
    }
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.file_name());
    let mut names: Vec<_> =
        names.filter(|name| name.to_str().is_some_and(|name| fits(part, name))).collect();
    names.sort();
    names.into_iter().map(|name| folder.join(name)).collect()
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(tail) = name.strip_prefix(head) else { return false };
            let ends = tail.char_indices().map(|(at, _)| at).chain([tail.len()]);
            ends.into_iter().any(|at| fits(rest, &tail[at..]))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> TestReport {
        let mut report = TestReport::default();
        parse(text.as_bytes(), &mut report).unwrap();
        report
    }

    #[test]
    fn dialects_are_read() {
        #[rustfmt::skip]
        let cases = [
            (r#"<testsuites><testsuite><testcase name="a" classname="m"/></testsuite></testsuites>"#, 1, 0, 0, ""),
            (r#"<testsuite><testcase name="a"><skipped/></testcase><testcase name="b"/></testsuite>"#, 2, 0, 1, ""),
            (r#"<testsuite><testcase name="t" classname="m"><failure message="1 &lt; 2">trace</failure></testcase></testsuite>"#,
                1, 1, 0, "m::t: 1 < 2"),
            ("<testsuite><testcase name='t'><error><![CDATA[boom\nline 2]]></error></testcase></testsuite>",
                1, 1, 0, "t: boom\nline 2"),
            (r#"<testsuite><testcase name="t"><system-out>no failure</system-out></testcase></testsuite>"#, 1, 0, 0, ""),
        ];
        for (text, total, failures, skipped, first) in cases {
            let report = parsed(text);
            assert_eq!((report.cases, report.failures, report.skipped), (total, failures, skipped));
            let said = report.failed.first().map(|case| format!("{}: {}", case.name, case.message));
            assert_eq!(said.unwrap_or_default(), first, "{text}");
        }
    }

    #[test]
    fn patterns_match_within_names() {
        #[rustfmt::skip]
        let cases = [("*.xml", "a.xml", true), ("TEST-*.xml", "TEST-a-b.xml", true), ("a*c*e", "abcde", true),
                     ("*.xml", "a.xml.bak", false), ("a", "ab", false)];
        for (pattern, name, expected) in cases {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_link_out_of_the_checkout_is_refused() {
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.path().join("junit.xml")).unwrap();
        assert!(matches!(read(root.path(), "junit.xml"), Err(JunitError::Outside { .. })));
        assert!(matches!(read(root.path(), "../x"), Err(JunitError::Missing { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_return(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes, &mut TestReport::default());
        }

        #[test]
        fn broken_reports_return(cut in 0usize..200, flip in 0usize..200) {
            let mut text = br#"<?xml version="1.0"?><testsuites><testsuite name="s"><testcase name="a" classname="b"><failure message="m">t &amp; u</failure></testcase></testsuite></testsuites>"#.to_vec();
            let at = flip % text.len();
            text[at] ^= 0x15;
            text.truncate(cut);
            let _ = parse(&text, &mut TestReport::default());
        }
    }
}
