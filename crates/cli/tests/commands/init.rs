//! `humdrum init`, and what it writes: a simple project of each kind is built from it without an edit.

use humdrum_model::manifest::Manifest;

use crate::stage::Stage;

/// A file's name and text.
type File = (&'static str, &'static str);

const CARGO: &[File] = &[
    ("Cargo.toml", "[package]\nname = \"shop\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
    ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"shop\"\nversion = \"0.1.0\"\n"),
    (
        "src/main.rs",
        "fn main() {\n    println!(\"hello\");\n}\n\n#[test]\nfn adds() {\n    assert_eq!(1 + 1, 2);\n}\n",
    ),
];
const GO: &[File] = &[
    ("go.mod", "module example.com/shop\n\ngo 1.21\n"),
    ("main.go", "package main\n\nfunc main() { println(\"hello\") }\n"),
];
const NODE: &[File] = &[
    ("package.json", r#"{"name":"shop","version":"1.0.0","scripts":{"start":"node server.js"}}"#),
    (
        "package-lock.json",
        r#"{"name":"shop","version":"1.0.0","lockfileVersion":3,"packages":{"":{"name":"shop","version":"1.0.0"}}}"#,
    ),
    ("server.js", "console.log('hello')\n"),
];
const PYTHON: &[File] = &[("requirements.txt", ""), ("app.py", "print('hello')\n")];
const SITE: &[File] = &[("public/index.html", "<p>hello\n")];
const UNKNOWN: &[File] = &[("notes.txt", "hello\n")];

fn project(files: &[File]) -> Stage {
    let stage = Stage::new();
    for (name, text) in files {
        stage.write(name, text);
    }
    stage
}

#[test]
fn each_kind_gets_a_manifest_that_is_valid() {
    let kinds = [
        ("cargo", CARGO),
        ("go", GO),
        ("node", NODE),
        ("python", PYTHON),
        ("site", SITE),
        ("unknown", UNKNOWN),
    ];
    for (kind, files) in kinds {
        let stage = project(files);
        let said = stage.run(&["init", "--yes", "--json"]).ok().json();
        assert_eq!(said["kind"], kind);
        assert_eq!(said["repository"], false);
        assert!(
            said["next"]
                .as_array()
                .unwrap()
                .iter()
                .any(|next| next.as_str().unwrap().starts_with("git init"))
        );
        let text = std::fs::read_to_string(stage.repo().join("humdrum.yaml")).unwrap();
        let manifest = Manifest::parse(&text)
            .unwrap_or_else(|problems| panic!("{kind}: {problems:?}\n{text}"));
        assert_eq!(manifest.service.as_str(), said["service"].as_str().unwrap());
        stage.run(&["plan"]).ok();
    }
}

#[test]
fn a_manifest_is_never_overwritten() {
    let stage = project(SITE);
    stage.write("humdrum.yaml", "mine\n");
    assert_eq!(stage.run(&["init", "--yes"]).code, 2);
    assert_eq!(std::fs::read_to_string(stage.repo().join("humdrum.yaml")).unwrap(), "mine\n");
    // Nor written through a link that leads elsewhere.
    let other = project(SITE);
    std::os::unix::fs::symlink("elsewhere.yaml", other.repo().join("humdrum.yaml")).unwrap();
    assert_eq!(other.run(&["init", "--yes"]).code, 2);
    assert!(!other.repo().join("elsewhere.yaml").exists());
}

#[test]
fn another_folder_is_looked_at_and_nothing_else_is_written() {
    let stage = Stage::new();
    stage
        .write("api/main.go", "package main\nfunc main() {}\n")
        .write("api/go.mod", "module api\n");
    let said = stage.run(&["init", "api", "--json"]).ok().json();
    assert_eq!((said["kind"].as_str(), said["service"].as_str()), (Some("go"), Some("api")));
    assert!(stage.repo().join("api/humdrum.yaml").exists());
    assert!(!stage.repo().join("humdrum.yaml").exists() && !stage.data().exists());
}

/// `init`, commit, `build`: no edit between them.
fn builds(files: &[File], layers: &[&str]) {
    let stage = project(files);
    stage.run(&["init"]).ok();
    stage.write(".gitignore", "target\nnode_modules\n").commit("First");
    let built = stage.run(&["build", "--json", "--output", "../image"]).ok().json();
    let names: Vec<_> =
        built["layers"].as_array().unwrap().iter().map(|l| l["name"].as_str().unwrap()).collect();
    assert_eq!(names, layers);
    let digest = built["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let manifest = stage.path().join("image/blobs/sha256").join(digest);
    assert!(manifest.exists(), "the layout has the image");
    assert!(built["materials"]["plan"].is_string());
}

#[test]
fn a_cargo_project_is_built_as_init_left_it() {
    builds(CARGO, &["host", "app"]);
}

#[test]
fn a_go_project_is_built_as_init_left_it() {
    builds(GO, &["host", "app"]);
}

#[test]
fn a_node_project_is_built_as_init_left_it() {
    builds(NODE, &["host", "app"]);
}

#[test]
fn a_python_project_is_built_as_init_left_it() {
    builds(PYTHON, &["host", "deps", "app"]);
}

#[test]
fn a_site_is_built_as_init_left_it() {
    builds(SITE, &["host", "app"]);
}
