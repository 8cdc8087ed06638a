//! Static sites: the folder with `index.html`, served by Python's own server.

use std::path::Path;

use super::Proposal;

pub(super) fn propose(folder: &Path) -> Option<Proposal> {
    let usual = [".", "public", "site", "dist", "_site", "www", "docs"];
    let place = usual.into_iter().find(|name| folder.join(name).join("index.html").exists())?;
    let files =
        if place == "." { root_files(folder) } else { vec![("/site".into(), place.into(), "app")] };
    let server =
        ["python3", "-m", "http.server", "--bind", "127.0.0.1", "--directory", "/site", "{port}"];
    Some(Proposal {
        intro: "A static site.",
        files,
        runtime: Some("python3"),
        command: server.map(str::to_owned).to_vec(),
        health: "/",
        notes: vec![
            "Python's server suits small sites; a `build.base` with a web server carries more"
                .into(),
        ],
        ..Proposal::default()
    })
}

/// All but hidden files and the manifest, which is nobody's page.
fn root_files(folder: &Path) -> Vec<(String, String, &'static str)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.') && name != "humdrum.yaml" && name != "node_modules");
    names.sort();
    names.into_iter().map(|name| (format!("/site/{name}"), name, "app")).collect()
}
