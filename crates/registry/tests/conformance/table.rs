//! Rows: a sentence, and the test that holds it. `UPDATE=1` writes the table into `docs/registry.md`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// One line of the table.
pub(crate) struct Row {
    pub(crate) says: &'static str,
    pub(crate) test: &'static str,
}

/// Tests with a server each, `NAME: "what holds" => |server| { … }`, and the constant that lists them.
macro_rules! rows {
    ($list:ident: $($name:ident: $says:literal => |$s:ident| $body:block)*) => {
        pub(crate) const $list: &[crate::table::Row] = &[$(crate::table::Row {
            says: $says,
            test: concat!(module_path!(), "::", stringify!($name)),
        }),*];
        $(#[tokio::test]
        async fn $name() {
            let folder = tempfile::tempdir().unwrap();
            let server = crate::server::Server::start(folder.path()).await;
            let $s = &server;
            $body
        })*
    };
}

/// The same with both algorithms: two tests for each name.
macro_rules! both {
    ($list:ident: $($name:ident: $says:literal => |$s:ident, $a:ident| $body:block)*) => {
        pub(crate) const $list: &[crate::table::Row] = &[$(
            crate::table::Row { says: $says, test: concat!(module_path!(), "::", stringify!($name), "::sha256") },
            crate::table::Row { says: $says, test: concat!(module_path!(), "::", stringify!($name), "::sha512") },
        )*];
        $(mod $name {
            #[allow(unused_imports, clippy::allow_attributes, reason = "not each test needs all of them")]
            use super::*;
            async fn holds($s: &crate::server::Server, $a: humdrum_store::blobs::Algorithm) { $body }
            #[tokio::test]
            async fn sha256() {
                let folder = tempfile::tempdir().unwrap();
                let server = crate::server::Server::start(folder.path()).await;
                holds(&server, humdrum_store::blobs::Algorithm::Sha256).await;
            }
            #[tokio::test]
            async fn sha512() {
                let folder = tempfile::tempdir().unwrap();
                let server = crate::server::Server::start(folder.path()).await;
                holds(&server, humdrum_store::blobs::Algorithm::Sha512).await;
            }
        })*
    };
}

/// The chapters of the table.
const CHAPTERS: &[(&str, &[&[Row]])] = &[
    ("The base", &[crate::ping::ROWS]),
    ("Pulling blobs", &[crate::pull::BOTH, crate::pull::ROWS]),
    ("Ranges of blobs", &[crate::ranges::BOTH, crate::ranges::ROWS]),
    ("Pushing blobs", &[crate::push::BOTH]),
    ("Upload sessions and mounts", &[crate::uploads::ROWS]),
    ("Manifests", &[crate::manifests::BOTH, crate::manifests::ROWS]),
    ("Tags", &[crate::tags::ROWS]),
    ("Referrers", &[crate::referrers::BOTH, crate::referrers::ROWS]),
    ("Deleting", &[crate::deletes::BOTH, crate::deletes::ROWS]),
    ("Error codes, warnings and limits", &[crate::errors::ROWS]),
    ("Malformed requests", &[crate::malformed::ROWS]),
    ("Tokens and credentials", &[crate::auth::ROWS]),
    ("Catalogue and extensions", &[crate::catalog::ROWS]),
    ("The suite's flow for each data set", &[crate::flow::BOTH]),
    ("The suite of 1.1.1", &[crate::legacy::ROWS]),
    ("Files by plain HTTP", &[crate::artifacts::ROWS]),
];

const BEGIN: &str = "<!-- rows: written by `UPDATE=1 cargo test -p humdrum-registry --test conformance table` -->\n";
const END: &str = "<!-- end of rows -->\n";

fn rows() -> impl Iterator<Item = &'static Row> {
    CHAPTERS.iter().flat_map(|(_, lists)| lists.iter().flat_map(|list| list.iter()))
}

fn short(test: &str) -> &str {
    test.strip_prefix("conformance::").unwrap_or(test)
}

fn rendered() -> String {
    let mut text = String::from(BEGIN);
    for (chapter, lists) in CHAPTERS {
        writeln!(text, "\n### {chapter}\n\n| what holds | test |\n|---|---|").unwrap();
        for row in lists.iter().flat_map(|list| list.iter()) {
            writeln!(text, "| {} | `{}` |", row.says, short(row.test)).unwrap();
        }
    }
    text.push('\n');
    text + END
}

#[test]
fn the_table_in_the_docs_is_the_one_of_the_tests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/registry.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) =
        page.split_once(BEGIN).expect("docs/registry.md has the mark where rows begin");
    let (_, after) = rest.split_once(END).expect("docs/registry.md has the mark where rows end");
    let wanted = format!("{before}{}{after}", rendered());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    } else {
        assert!(
            page == wanted,
            "the table is old: UPDATE=1 cargo test -p humdrum-registry --test conformance table"
        );
    }
}

/// Asks this program itself for its tests, so that a row can name none that does not run.
#[test]
fn each_row_names_a_test_and_each_test_has_a_row() {
    let own = std::env::current_exe().unwrap();
    let list = |extra: &[&str]| {
        let output =
            Command::new(&own).args(["--list", "--format", "terse"]).args(extra).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let names = text.lines().filter_map(|line| line.strip_suffix(": test"));
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    assert!(list(&["--ignored"]).is_empty(), "nothing is skipped");
    let named: Vec<String> = rows().map(|row| short(row.test).to_owned()).collect();
    let mut wanted: BTreeSet<String> = named.iter().cloned().collect();
    assert_eq!(wanted.len(), named.len(), "each row has a test of its own");
    wanted.extend(list(&[]).into_iter().filter(|name| name.starts_with("table::")));
    assert_eq!(list(&[]), wanted);
}
