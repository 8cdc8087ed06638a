//! Crates in Rust programs that were built with `cargo auditable`: its list stands in a section of the program.
//!
//! Format: rust-secure-code/cargo-auditable, `PARSING.md`: zlib-compressed JSON in the section `.dep-v0`.

use std::io::Read;

use serde::Deserialize;

use super::{Catalog, Told, is_elf};
use crate::scan::Package;

/// The list of a very large program has 300 KB; more is refused, because compressed bytes can promise anything.
const LIST_BYTES_MAX: u64 = 8 << 20;

pub const CARGO: Catalog =
    Catalog { name: "cargo auditable", wants: |_, head| head.executable && head.size > 64, read };

#[derive(Deserialize)]
struct List {
    packages: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    name: String,
    version: String,
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    dependencies: Vec<usize>,
}

fn read(_: &str, bytes: &[u8]) -> Result<Told, String> {
    if !is_elf(bytes) {
        return Ok(Told::default());
    }
    let compressed = match auditable_extract::raw_auditable_data(bytes) {
        Ok(compressed) => compressed,
        Err(auditable_extract::Error::NoAuditData | auditable_extract::Error::NotAnExecutable) => {
            return Ok(Told::default());
        }
        Err(error) => return Err(error.to_string()),
    };
    let mut json = vec![];
    flate2::read::ZlibDecoder::new(compressed)
        .take(LIST_BYTES_MAX)
        .read_to_end(&mut json)
        .map_err(|error| error.to_string())?;
    let list: List = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
    // Build dependencies are not in the program.
    let packages = list.packages.iter().filter(|entry| entry.kind.as_deref() != Some("build"));
    let packages = packages.map(|entry| Package {
        kind: "cargo".into(),
        name: entry.name.clone(),
        version: entry.version.clone(),
        needs: entry
            .dependencies
            .iter()
            .filter_map(|at| list.packages.get(*at))
            .map(|needed| needed.name.clone())
            .collect(),
        ..Package::default()
    });
    Ok(Told::packages(packages.collect()))
}
