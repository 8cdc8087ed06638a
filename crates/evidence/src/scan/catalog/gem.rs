//! Installed Ruby gems: `specifications/**/*.gemspec`, as `gem install` writes them (Gem::Specification#to_ruby).

use super::{Catalog, Told, file_name, text};
use crate::scan::Package;

pub const GEM: Catalog = Catalog {
    name: "gem",
    wants: |path, _| path.ends_with(".gemspec") && path.contains("specifications/"),
    read,
};

fn read(path: &str, bytes: &[u8]) -> Result<Told, String> {
    let text = text(bytes);
    let name = assigned(&text, "name").ok_or("names no gem")?;
    let version = assigned(&text, "version").ok_or("names no version")?;
    // Platform gems have `NAME-VERSION-PLATFORM` as their file's name; the platform is no part of the version.
    if !file_name(path).starts_with(&format!("{name}-{version}")) {
        return Err(format!("tells of {name} {version}, which is not what it is called"));
    }
    Ok(Told::packages(vec![Package {
        kind: "gem".into(),
        name,
        version,
        licence: assigned(&text, "licenses"),
        needs: needs(&text),
        ..Package::default()
    }]))
}

/// The first text in `s.KEY = "text".freeze` or `s.KEY = ["text".freeze, …]`.
fn assigned(text: &str, key: &str) -> Option<String> {
    let prefix = format!("s.{key} = ");
    let value = text.lines().find_map(|line| line.trim().strip_prefix(prefix.as_str()))?;
    quoted(value)
}

fn quoted(text: &str) -> Option<String> {
    let start = text.find('"')? + 1;
    let end = start + text[start..].find('"')?;
    Some(text[start..end].to_owned())
}

/// `s.add_runtime_dependency(%q<rack>.freeze, …)`, in older ones `s.add_dependency`.
fn needs(text: &str) -> Vec<String> {
    let mut names: Vec<String> = text
        .lines()
        .filter(|line| line.contains("add_runtime_dependency(") || line.contains("add_dependency("))
        .filter_map(|line| {
            let start = line.find("%q<")? + 3;
            Some(line[start..].split('>').next()?.to_owned())
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_read() {
        let text = "# -*- encoding: utf-8 -*-\nGem::Specification.new do |s|\n  s.name = \"sinatra\".freeze\n  s.version = \"3.0.5\"\n  s.licenses = [\"MIT\".freeze]\n  s.add_runtime_dependency(%q<rack>.freeze, [\"~> 2.2\"])\nend\n";
        let told = read("x/specifications/sinatra-3.0.5.gemspec", text.as_bytes()).unwrap();
        let package = &told.packages[0];
        assert_eq!((package.name.as_str(), package.version.as_str()), ("sinatra", "3.0.5"));
        assert_eq!(
            (package.licence.as_deref(), package.needs.as_slice()),
            (Some("MIT"), &["rack".to_owned()][..])
        );
        assert!(read("x/specifications/other-1.gemspec", text.as_bytes()).is_err());
    }
}
