//! Lock files of any content: an error or a graph, never a panic, and never an edge to nowhere.

use humdrum_evidence::ecosystem::{SourceFile, read_all};
use proptest::prelude::*;

const NAMES: [&str; 8] = [
    "Cargo.lock",
    "package-lock.json",
    "package.json",
    "go.mod",
    "go.sum",
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
];

const REAL: [&[u8]; 8] = [
    include_bytes!("locks/cargo/Cargo.lock"),
    include_bytes!("locks/npm-v1/package-lock.json"),
    include_bytes!("locks/npm-v1/package.json"),
    include_bytes!("locks/go/go.mod"),
    include_bytes!("locks/go/go.sum"),
    include_bytes!("locks/requirements/requirements.txt"),
    include_bytes!("locks/poetry/poetry.lock"),
    include_bytes!("locks/uv/uv.lock"),
];

fn check(files: &[SourceFile<'_>]) {
    let Ok((graphs, _)) = read_all(files) else { return };
    for lock in graphs {
        let count = lock.graph.packages.len();
        let indices = lock
            .graph
            .roots
            .iter()
            .chain(lock.graph.edges.values().flatten())
            .chain(lock.graph.edges.keys());
        assert!(indices.copied().all(|index| index < count), "{}", lock.path);
    }
}

proptest! {
    #[test]
    fn changed_files_are_survived(
        which in 0..NAMES.len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut bytes = REAL[which].to_vec();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if cuts {
            bytes.truncate(cut.index(bytes.len()));
        }
        let files: Vec<SourceFile<'_>> = NAMES
            .iter()
            .enumerate()
            .map(|(index, path)| SourceFile { path, bytes: if index == which { &bytes } else { REAL[index] } })
            .collect();
        check(&files);
    }

    #[test]
    fn any_text_is_survived(which in 0..NAMES.len(), text in "[ -~\n]{0,200}") {
        check(&[SourceFile { path: NAMES[which], bytes: text.as_bytes() }]);
    }
}

#[test]
fn deep_nesting_is_an_error() {
    let deep = format!(
        "{{\"lockfileVersion\":1,\"dependencies\":{}",
        "{\"a\":{\"dependencies\":".repeat(100_000)
    );
    let files = [SourceFile { path: "package-lock.json", bytes: deep.as_bytes() }];
    assert!(read_all(&files).is_err());
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(read_all(&[SourceFile { path: "uv.lock", bytes: deep.as_bytes() }]).is_err());
}
