//! The host's proxy, certificate and package-client settings, which the fetch phase keeps. Names are recorded, values never.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::HOME;
use crate::toolchain::Found;

/// Variables that are copied by their full name, in either case.
const NAMES: [&str; 22] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
    "ftp_proxy",
    "ssl_cert_file",
    "ssl_cert_dir",
    "curl_ca_bundle",
    "requests_ca_bundle",
    "node_extra_ca_certs",
    "git_ssl_cainfo",
    "nix_ssl_cert_file",
    "goproxy",
    "gonoproxy",
    "goprivate",
    "gosumdb",
    "gonosumdb",
    "goinsecure",
    "goauth",
    "node_tls_reject_unauthorized",
    "npm_token",
    "yarn_registry",
];
/// Beginnings of the names of variables that package clients read.
const PREFIXES: [&str; 9] = [
    "cargo_http_",
    "cargo_net_",
    "cargo_registries_",
    "cargo_registry_",
    "cargo_source_",
    "pip_",
    "uv_",
    "npm_config_",
    "poetry_",
];
/// These would move what must stay in the sandbox, or ask for what only the build phase decides.
const NEVER: [&str; 8] = [
    "pip_target",
    "pip_prefix",
    "pip_user",
    "pip_cache_dir",
    "npm_config_prefix",
    "npm_config_cache",
    "uv_cache_dir",
    "uv_project_environment",
];
/// Settings files below the home folder.
const HOME_FILES: [&str; 13] = [
    ".cargo/config.toml",
    ".cargo/config",
    ".cargo/credentials.toml",
    ".npmrc",
    ".yarnrc",
    ".yarnrc.yml",
    ".config/pip/pip.conf",
    ".pip/pip.conf",
    ".config/uv/uv.toml",
    ".config/go/env",
    ".netrc",
    ".gitconfig",
    ".config/git/config",
];
/// Settings files of the whole host.
const SYSTEM_FILES: [&str; 3] = ["/etc/pip.conf", "/etc/npmrc", "/etc/gitconfig"];

/// What the fetch phase is given beside the network.
#[derive(Debug, Clone, Default)]
pub struct HostSettings {
    /// Variables with their values. The values may be secret: log and record the names only.
    pub env: BTreeMap<String, String>,
    /// Files of the host and their place inside.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl HostSettings {
    /// Collects the settings of the user who runs this process.
    pub fn collect(found: &Found) -> HostSettings {
        let home = std::env::var("HOME").unwrap_or_else(|_| "/root".into());
        HostSettings::of(std::env::vars(), Path::new(&home), found)
    }

    fn of(
        env: impl IntoIterator<Item = (String, String)>,
        home: &Path,
        found: &Found,
    ) -> HostSettings {
        let env: BTreeMap<_, _> = env.into_iter().filter(|(name, _)| is_setting(name)).collect();
        let mut files = Vec::new();
        let mut add = |source: PathBuf, target: PathBuf| {
            if source.exists() && !files.iter().any(|(_, known)| *known == target) {
                files.push((source, target));
            }
        };
        for file in HOME_FILES {
            add(home.join(file), Path::new(HOME).join(file));
        }
        for file in SYSTEM_FILES {
            add(file.into(), file.into());
        }
        for value in env.values() {
            // Certificates and local package folders that a variable names must be there under that name.
            let path = Path::new(value);
            let covered = found.shows(path) || super::ETC.iter().any(|etc| path.starts_with(etc));
            if path.is_absolute() && path.parent().is_some() && !covered {
                add(path.to_path_buf(), path.to_path_buf());
            }
        }
        HostSettings { env, files }
    }

    /// Names of the variables, sorted.
    pub fn names(&self) -> Vec<String> {
        self.env.keys().cloned().collect()
    }

    /// Paths of the settings files on the host.
    pub fn file_names(&self) -> Vec<String> {
        self.files.iter().map(|(source, _)| source.display().to_string()).collect()
    }

    /// Removes the empty places that mounted home files left, so that the build phase finds no trace of them.
    pub fn remove_places(&self, home_on_host: &Path) {
        for (_, target) in &self.files {
            if let Ok(rest) = target.strip_prefix(HOME) {
                let place = home_on_host.join(rest);
                if std::fs::metadata(&place).is_ok_and(|meta| meta.is_file() && meta.len() == 0) {
                    let _ = std::fs::remove_file(place); // What stays is an empty file.
                }
            }
        }
    }
}

fn is_setting(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let prefixed = PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    (NAMES.contains(&name.as_str()) || prefixed) && !NEVER.contains(&name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_client_settings_are_copied() {
        #[rustfmt::skip]
        let cases = [
            ("HTTPS_PROXY", true), ("no_proxy", true), ("SSL_CERT_FILE", true), ("CARGO_HTTP_CAINFO", true),
            ("PIP_INDEX_URL", true), ("npm_config_registry", true), ("NPM_CONFIG_REGISTRY", true), ("GOPROXY", true),
            ("CARGO_HOME", false), ("CARGO_MANIFEST_DIR", false), ("AWS_SECRET_ACCESS_KEY", false), ("HOME", false),
            ("PIP_TARGET", false), ("GITHUB_TOKEN", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_setting(name), expected, "{name}");
        }
    }

    #[test]
    fn files_that_variables_name_come_along() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".npmrc"), "a").unwrap();
        let bundle = home.path().join("ca.pem");
        std::fs::write(&bundle, "b").unwrap();
        let env = [
            ("PIP_CERT".to_owned(), bundle.display().to_string()),
            ("SSL_CERT_FILE".to_owned(), "/etc/ssl/certs/ca.crt".to_owned()),
        ];
        let settings = HostSettings::of(env, home.path(), &Found::default());
        let targets: Vec<_> = settings.files.iter().map(|(_, target)| target.clone()).collect();
        assert!(targets.contains(&Path::new(HOME).join(".npmrc")));
        assert!(targets.contains(&bundle));
        assert!(!targets.iter().any(|target| target.starts_with("/etc/ssl")));
    }
}
