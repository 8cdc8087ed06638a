//! What is proposed for small projects of each kind.

use super::*;

fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::Builder::new().prefix("my-").tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn manifest_of(files: &[(&str, &str)]) -> (Kind, String) {
    let folder = project(files);
    let detected = detect(folder.path());
    (detected.kind, detected.manifest)
}

/// A project's kind, its files, and lines that its manifest must have.
type Case<'a> = (Kind, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn each_kind_gets_what_it_needs() {
    #[rustfmt::skip]
    let cases: [Case<'_>; 6] = [
        (Kind::Cargo, &[("Cargo.toml", "[package]\nname = \"shop\"\n"), ("src/main.rs", ""), ("Cargo.lock", "")],
            &["service: shop", "  fetch: cargo fetch --locked", "    /app/shop: target/release/shop", "  command: [/app/shop]"]),
        (Kind::Cargo, &[("Cargo.toml", "[workspace]\nmembers = [\"crates/*\"]\n"), ("crates/a/Cargo.toml", "[package]\nname='a'\n[[bin]]\nname='server'\n"), ("crates/a/src/lib.rs", "")],
            &["    /app/server: target/release/server"]),
        (Kind::Go, &[("go.mod", "module example.com/team/shop/v2\n\nrequire example.com/x v1.0.0\n"), ("cmd/shop/main.go", "package main\n")],
            &["service: shop", "  fetch: go mod download", "  run: go build -trimpath -o out/shop ./cmd/shop"]),
        (Kind::Node, &[("package.json", r#"{"name":"@team/shop","scripts":{"start":"node ./server.js --quiet"},"dependencies":{"a":"1"}}"#), ("server.js", "")],
            &["service: shop", "  fetch: npm ci --ignore-scripts", "    /app/node_modules: { from: node_modules, layer: modules }", "  command: [node, /app/server.js, \"--quiet\"]"]),
        (Kind::Python, &[("requirements.txt", "six==1.17.0 --hash=sha256:00"), ("app.py", "")],
            &["  fetch: \"python3 -m pip install --no-compile --no-deps --only-binary :all: --target deps --require-hashes -r requirements.txt\"", "    /app/deps: { from: deps, layer: deps }", "  command: [python3, /app/app.py]"]),
        (Kind::Site, &[("public/index.html", "<p>hi")],
            &["    /site: public", "  runtime: [python3]                       # copied from the build host, with its libraries"]),
    ];
    for (kind, files, lines) in cases {
        let (found, manifest) = manifest_of(files);
        assert_eq!(found, kind, "{manifest}");
        for line in lines {
            assert!(manifest.lines().any(|one| one == *line), "no line `{line}` in\n{manifest}");
        }
    }
}

#[test]
fn every_proposal_is_a_valid_manifest() {
    let projects: [&[(&str, &str)]; 7] = [
        &[("Cargo.toml", "[package]\nname = \"shop\"\n"), ("src/main.rs", "")],
        &[("go.mod", "module shop\n"), ("main.go", "package main\n")],
        &[(
            "package.json",
            r#"{"name":"shop","scripts":{"build":"tsc","test":"x: y"},"devDependencies":{"a":"1"}}"#,
        )],
        &[("requirements.txt", "six==1.17.0"), ("main.py", "")],
        &[("pyproject.toml", "[project]\nname='shop'\ndependencies=['six>=1']\n"), ("uv.lock", "")],
        &[("index.html", "hi"), ("odd: name.css", "")],
        &[("notes.txt", "")],
    ];
    for files in projects {
        let (kind, manifest) = manifest_of(files);
        let parsed = humdrum_model::manifest::Manifest::parse(&manifest);
        assert!(parsed.is_ok(), "{kind:?}: {:?}\n{manifest}", parsed.err());
    }
}

#[test]
fn names_of_services_are_made_from_anything() {
    #[rustfmt::skip]
    let cases = [("Shop_API", "shop-api"), ("1st", "st"), ("", "service"), ("--a--b--", "a-b")];
    for (text, expected) in cases {
        assert_eq!(service_name(text), expected);
    }
}
