//! Catalogs: which files tell of installed packages, one file per kind in `catalog/`.
//!
//! A reader takes bytes and says what stands there, or why it cannot tell; it never guesses from names of files alone.

use super::{Head, OsRelease, Package};

pub mod apk;
pub mod cargo;
pub mod composer;
pub mod dotnet;
pub mod dpkg;
pub mod gem;
pub mod golang;
pub mod java;
pub mod npm;
pub mod os_release;
pub mod python;
pub mod rpm;

/// One kind of file.
pub struct Catalog {
    /// For notes: `dpkg`, `python`.
    pub name: &'static str,
    /// Whether a file should be read, by its path (from the root, no leading slash) and head.
    pub wants: fn(&str, Head) -> bool,
    /// What stands in it; the error is a clause for a note.
    pub read: fn(&str, &[u8]) -> Result<Told, String>,
}

/// What one file told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    pub packages: Vec<Package>,
    pub os: Option<OsRelease>,
    /// Parts of the file that cannot be read, as clauses.
    pub notes: Vec<String>,
}

/// Every catalog.
pub fn all() -> &'static [Catalog] {
    &[
        os_release::OS_RELEASE,
        dpkg::DPKG,
        apk::APK,
        rpm::RPM,
        python::PYTHON,
        npm::NPM,
        golang::GOLANG,
        cargo::CARGO,
        java::JAVA,
        gem::GEM,
        composer::COMPOSER,
        dotnet::DOTNET,
    ]
}

impl Told {
    fn packages(packages: Vec<Package>) -> Self {
        Self { packages, ..Self::default() }
    }
}

/// A text that is almost always UTF-8; what is not is replaced, because names and versions are ASCII.
fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The name of a file without its folders.
fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// An executable in the format of Linux.
fn is_elf(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x7fELF")
}

/// Paragraphs of `Name: value` lines as dpkg and Python write them; a line that begins with a space continues the value.
fn paragraphs(text: &str) -> impl Iterator<Item = Vec<(&str, String)>> {
    text.split("\n\n").map(fields).filter(|fields| !fields.is_empty())
}

fn fields(paragraph: &str) -> Vec<(&str, String)> {
    let mut fields: Vec<(&str, String)> = vec![];
    for line in paragraph.lines() {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push('\n');
                value.push_str(line.trim());
            }
        } else if let Some((name, value)) = line.split_once(':') {
            fields.push((name.trim(), value.trim().to_owned()));
        }
    }
    fields
}

fn field<'a>(fields: &'a [(&str, String)], name: &str) -> Option<&'a str> {
    let found = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
}
