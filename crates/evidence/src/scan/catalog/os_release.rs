//! `os-release`: which distribution an image is. Format: os-release(5).

use super::{Catalog, Told, text};
use crate::scan::OsRelease;

pub const OS_RELEASE: Catalog = Catalog {
    name: "os-release",
    wants: |path, _| matches!(path, "etc/os-release" | "usr/lib/os-release"),
    read,
};

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    let text = text(bytes);
    let value = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| key.trim() == name)
            .map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned())
            .unwrap_or_default()
    };
    let os = OsRelease {
        id: value("ID"),
        version: value("VERSION_ID"),
        codename: value("VERSION_CODENAME"),
    };
    if os.id.is_empty() {
        return Err("names no ID".into());
    }
    Ok(Told { os: Some(os), ..Told::default() })
}
