//! The policies folder: `*.rego` in any depth, and `data.yaml`, `data.yml` or `data.json` beside them.

use std::fs;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::PolicyError;

/// Policy and data files of an installation.
const FILES_MAX: usize = 500;
/// All of them together, bytes.
const BYTES_MAX: u64 = 8 << 20;
/// Folders within folders.
const DEPTH_MAX: usize = 8;

/// Policies and data as text, by path, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sources {
    pub policies: Vec<(String, String)>,
    /// Data files; folders between the root and the file become keys, as in OPA's bundles.
    pub data: Vec<(String, String)>,
}

impl Sources {
    /// Reads a folder; one that does not exist holds nothing.
    ///
    /// # Errors
    /// When something in it cannot be read, is no text, or is too large or deep.
    pub fn read(folder: &Path) -> Result<Self, PolicyError> {
        let mut sources = Self::default();
        let mut bytes = 0;
        if folder.exists() {
            sources.walk(folder, "", 0, &mut bytes)?;
        }
        sources.policies.sort();
        sources.data.sort();
        Ok(sources)
    }

    fn walk(
        &mut self,
        folder: &Path,
        prefix: &str,
        depth: usize,
        bytes: &mut u64,
    ) -> Result<(), PolicyError> {
        let unreadable = |path: &Path, why: &dyn std::fmt::Display| PolicyError::Unreadable {
            file: path.display().to_string(),
            why: why.to_string(),
        };
        let too_large = |what: &str, max: String| PolicyError::TooLarge { what: what.into(), max };
        if depth > DEPTH_MAX {
            return Err(too_large(prefix, format!("{DEPTH_MAX} folders in each other")));
        }
        let entries = fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
        for entry in entries {
            let path = entry.map_err(|error| unreadable(folder, &error))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            if name.starts_with('.') {
                continue;
            }
            let place = format!("{prefix}{name}");
            let meta = fs::metadata(&path).map_err(|error| unreadable(&path, &error))?;
            if meta.is_dir() {
                self.walk(&path, &format!("{place}/"), depth + 1, bytes)?;
                continue;
            }
            let is_data = matches!(name, "data.yaml" | "data.yml" | "data.json");
            if !meta.is_file() || !(is_data || name.ends_with(".rego")) {
                continue;
            }
            *bytes += meta.len();
            if *bytes > BYTES_MAX || self.policies.len() + self.data.len() >= FILES_MAX {
                let max = format!("{FILES_MAX} files of {} MiB together", BYTES_MAX >> 20);
                return Err(too_large("the policies folder", max));
            }
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            if is_data { &mut self.data } else { &mut self.policies }.push((place, text));
        }
        Ok(())
    }

    /// SHA-256 over paths and texts, hex.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for (path, text) in self.policies.iter().chain(&self.data) {
            hash.update((path.len() as u64).to_be_bytes());
            hash.update(path);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
