//! The whole history of a repository: every blob looked at once, then each finding traced to the commits that brought it.
//!
//! First a sieve over all blobs, in all packs and on all cores, without asking where they stand. What it holds back is rare, so the
//! second part may be exact: git tells which commits have such a blob, and what lines they added. Only those count, so that a
//! secret is reported where it came in and not in every later version of its file. What no reference reaches has no commit
//! and is not reported.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{BufRead, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::git::{Repository, Stream};
use super::pack::{self, Blob, Name, Pack};
use super::staged::scan_hunk;
use super::{Scanned, SourceError, patch, threads};
use crate::secret::fragment::is_binary;
use crate::secret::rule::Origin;
use crate::secret::{Fragment, Leak, Scanner};

/// How far around new bytes the sieve looks, bytes: longer than a match of any rule but those for whole key files.
const AROUND_BYTES: usize = 4_096;

/// The findings in all commits that a reference of the repository around `folder` reaches.
pub fn scan_history(scanner: &Scanner, folder: &Path) -> Result<Scanned, SourceError> {
    let repository = Repository::open(folder)?;
    let (mut scanned, suspects) = sieve(scanner, &repository)?;
    if !suspects.is_empty() || scanner.path_rules().next().is_some() {
        let trace = trace(scanner, &repository, &suspects, &mut scanned)?;
        confirm(scanner, &repository, &trace, &mut scanned)?;
    }
    Ok(scanned.sorted())
}

/// One thread's part of the sieve.
#[derive(Default)]
struct Sieved {
    scanned: Scanned,
    suspects: Vec<(Name, u64)>,
}

/// The blobs that may have findings, each with what is equal for two that may have them in the same lines.
fn sieve(
    scanner: &Scanner,
    repository: &Repository,
) -> Result<(Scanned, HashMap<Name, u64>), SourceError> {
    let mut packs: Vec<Pack> = Vec::new();
    let mut loose = Vec::new();
    for folder in pack::folders(&repository.objects)? {
        packs.extend(pack::packs(&folder, repository.name_bytes)?);
        loose.extend(pack::loose(&folder)?);
    }
    let roots: Vec<(usize, usize)> = packs
        .iter()
        .enumerate()
        .flat_map(|(which, pack)| pack.roots().into_iter().map(move |root| (which, root)))
        .collect();
    let next = AtomicUsize::new(0);
    let work = || -> Result<Sieved, SourceError> {
        let mut part = Sieved::default();
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if let Some((which, root)) = roots.get(job) {
                let mut too_large = Vec::new();
                packs[*which].walk(*root, &mut too_large, &mut |blob| {
                    let twice = packs[..*which].iter().any(|pack| pack.contains(&blob.name));
                    part.look(scanner, blob, twice)
                })?;
                part.scanned.too_large.extend(too_large);
            } else if let Some((name, path)) = loose.get(job - roots.len()) {
                let Some(bytes) = pack::loose_blob(path)? else { continue };
                let twice = packs.iter().any(|pack| pack.contains(name));
                part.look(scanner, &Blob { name: *name, bytes: &bytes, fresh: None }, twice);
            } else {
                return Ok(part);
            }
        }
    };
    let parts: Vec<Result<Sieved, SourceError>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads()).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().expect("a scan does not panic")).collect()
    });
    let (mut scanned, mut suspects) = (Scanned::default(), HashMap::new());
    for part in parts {
        let part = part?;
        scanned.add(part.scanned);
        suspects.extend(part.suspects);
    }
    Ok((scanned, suspects))
}

impl Sieved {
    /// Whether a blob was looked at and is clean; it is remembered when it is not clean.
    fn look(&mut self, scanner: &Scanner, blob: &Blob, twice: bool) -> bool {
        self.scanned.texts += u64::from(!twice);
        if is_binary(blob.bytes) {
            return false;
        }
        let suspect = match blob.fresh {
            // All that is copied was looked at there.
            Some((fresh, true)) => around(blob.bytes, fresh).any(|range| {
                self.scanned.bytes += range.len() as u64;
                scanner.may_leak(&blob.bytes[range])
            }),
            _ => {
                self.scanned.bytes += blob.bytes.len() as u64;
                scanner.may_leak(blob.bytes)
            }
        };
        if suspect && !twice {
            self.suspects.push((blob.name, scanner.suspicion(blob.bytes)));
        }
        !suspect
    }
}

/// The parts of a text around its new bytes, joined where they touch.
fn around<'a>(
    text: &'a [u8],
    fresh: &'a [std::ops::Range<usize>],
) -> impl Iterator<Item = std::ops::Range<usize>> + 'a {
    let widened = |range: &std::ops::Range<usize>| {
        let start = range.start.saturating_sub(AROUND_BYTES);
        let end = (range.end + AROUND_BYTES).min(text.len());
        start..end
    };
    let mut rest = fresh.iter().map(widened).peekable();
    std::iter::from_fn(move || {
        let mut range = rest.next()?;
        while let Some(next) = rest.next_if(|next| next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        Some(range)
    })
}

/// Where the suspects came in.
#[derive(Default)]
struct Trace {
    /// New files: the blob, and the commits and paths at which all of it is new.
    whole: BTreeMap<Name, Vec<(String, String)>>,
    /// Changed files: the commit and its paths.
    changed: BTreeMap<String, BTreeSet<String>>,
    /// What merges made that none of their parents had.
    merged: BTreeMap<Name, Vec<(String, String)>>,
}

/// Asks git which commits have a suspect. A path that is a finding by itself is one at once.
fn trace(
    scanner: &Scanner,
    repository: &Repository,
    suspects: &HashMap<Name, u64>,
    scanned: &mut Scanned,
) -> Result<Trace, SourceError> {
    let arguments = [
        "-c",
        "log.showRoot=true",
        "log",
        "--all",
        "--full-history",
        "--raw",
        "-r",
        "--no-abbrev",
        "--no-renames",
        "--diff-merges=combined",
        "--no-ext-diff",
        "--no-color",
        "--format=commit %H",
    ];
    let (stream, output) = Stream::start(&repository.folder, &arguments, None)?;
    let unreadable = |source| SourceError::Unreadable { path: repository.folder.clone(), source };
    let mut trace = Trace::default();
    let mut commit = Commit::default();
    for line in output.split(b'\n') {
        let line = line.map_err(unreadable)?;
        if let Some(id) = line.strip_prefix(b"commit ") {
            trace.take(std::mem::take(&mut commit));
            commit.id = String::from_utf8_lossy(id).into_owned();
        } else if let Some(change) = Change::read(&line) {
            commit.deletes |= change.status == b'D';
            if change.status == b'D' || change.status == b'T' {
                continue;
            }
            if !change.merge
                && scanner.path_rules().any(|rule| {
                    rule.path.as_ref().is_some_and(|path| path.is_match(change.path.as_bytes()))
                })
            {
                let origin = Origin { path: &change.path, commit: &commit.id };
                scanned.leaks.extend(scanner.scan(&Fragment { origin, text: b"", line: 1 }));
            }
            let Some(suspicion) = suspects.get(&change.new) else { continue };
            // Most versions of a file only keep what an earlier one brought.
            let kept = change.status == b'M' && suspects.get(&change.old) == Some(suspicion);
            if change.merge || !kept {
                commit.changes.push(change);
            }
        }
    }
    trace.take(commit);
    stream.end()?;
    Ok(trace)
}

/// The changes of one commit that have a suspect.
#[derive(Default)]
struct Commit {
    id: String,
    deletes: bool,
    changes: Vec<Change>,
}

/// One file of a commit, as `--raw` tells it.
struct Change {
    merge: bool,
    status: u8,
    /// Of one parent; nothing where it had none.
    old: Name,
    new: Name,
    path: String,
}

impl Change {
    /// `:MODE MODE OLD NEW STATUS<tab>PATH`; a merge has a colon, a mode and a name for each of its parents.
    fn read(line: &[u8]) -> Option<Self> {
        let parents = line.iter().take_while(|byte| **byte == b':').count();
        let tab = line.iter().position(|byte| *byte == b'\t').filter(|_| parents > 0)?;
        let words: Vec<&str> = std::str::from_utf8(&line[parents..tab]).ok()?.split(' ').collect();
        // Modes and names of the parents and of the result, and the status.
        let [.., old, new, status] = words[..] else { return None };
        let status = status.bytes().next()?;
        let path = patch::path(&line[tab + 1..]);
        Some(Self {
            merge: parents > 1,
            status,
            old: pack::name(old)?,
            new: pack::name(new)?,
            path,
        })
    }
}

impl Trace {
    fn take(&mut self, commit: Commit) {
        for change in commit.changes {
            let place = (commit.id.clone(), change.path);
            if change.merge {
                self.merged.entry(change.new).or_default().push(place);
            } else if change.status == b'A' && !commit.deletes {
                self.whole.entry(change.new).or_default().push(place);
            } else {
                // An added file may be a moved one, of which only the changed lines are new: git knows.
                self.changed.entry(place.0).or_default().insert(place.1);
            }
        }
    }
}

/// Scans what is new at the places that were traced, now with path and commit.
fn confirm(
    scanner: &Scanner,
    repository: &Repository,
    trace: &Trace,
    scanned: &mut Scanned,
) -> Result<(), SourceError> {
    each_blob(repository, trace.whole.keys(), |name, bytes| {
        for (commit, path) in &trace.whole[name] {
            let origin = Origin { path, commit };
            scanned.leaks.extend(scanner.scan(&Fragment { origin, text: bytes, line: 1 }));
        }
    })?;
    let mut hunks = Scanned::default();
    each_hunk(repository, &trace.changed, |hunk| {
        if trace.changed.get(&hunk.commit).is_some_and(|paths| paths.contains(&hunk.path)) {
            scan_hunk(scanner, &hunk, &mut hunks);
        }
    })?;
    scanned.leaks.append(&mut hunks.leaks);
    if trace.merged.is_empty() {
        return Ok(());
    }
    let key = |leak: &Leak| (leak.rule.clone(), leak.path.clone(), leak.secret.clone());
    let known: HashSet<_> = scanned.leaks.iter().map(key).collect();
    let mut new: HashMap<_, Leak> = HashMap::new();
    each_blob(repository, trace.merged.keys(), |name, bytes| {
        for (commit, path) in &trace.merged[name] {
            let origin = Origin { path, commit };
            for leak in scanner.scan(&Fragment { origin, text: bytes, line: 1 }) {
                if !known.contains(&key(&leak)) {
                    new.insert((key(&leak), commit.clone()), leak);
                }
            }
        }
    })?;
    scanned.leaks.extend(new.into_values());
    Ok(())
}

/// The bytes of some blobs, by `git cat-file`.
fn each_blob<'a>(
    repository: &Repository,
    names: impl Iterator<Item = &'a Name>,
    mut take: impl FnMut(&Name, &[u8]),
) -> Result<(), SourceError> {
    let names: Vec<&Name> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let wanted: String =
        names.iter().map(|name| hex::encode(&name[..repository.name_bytes]) + "\n").collect();
    let arguments = ["cat-file", "--batch"];
    let (stream, mut output) =
        Stream::start(&repository.folder, &arguments, Some(wanted.into_bytes()))?;
    let unreadable = |source| SourceError::Unreadable { path: repository.folder.clone(), source };
    let damaged =
        |what: &str| SourceError::Damaged { path: repository.objects.clone(), what: what.into() };
    for name in names {
        let mut head = String::new();
        output.read_line(&mut head).map_err(unreadable)?;
        let size = head.trim_end().rsplit(' ').next().and_then(|size| size.parse::<usize>().ok());
        let size =
            size.ok_or_else(|| damaged(&format!("git says `{}` of a blob", head.trim_end())))?;
        let mut bytes = vec![0; size + 1];
        output.read_exact(&mut bytes).map_err(unreadable)?;
        take(name, &bytes[..size]);
    }
    drop(output);
    stream.end()
}

/// The hunks of some commits, as `git log -p` shows them, with moved files known.
fn each_hunk(
    repository: &Repository,
    commits: &BTreeMap<String, BTreeSet<String>>,
    take: impl FnMut(patch::Hunk),
) -> Result<(), SourceError> {
    if commits.is_empty() {
        return Ok(());
    }
    let wanted: String = commits.keys().map(|commit| format!("{commit}\n")).collect();
    let arguments = [
        "-c",
        "log.showRoot=true",
        "log",
        "-p",
        "-U0",
        "--full-history",
        "--no-walk=unsorted",
        "--stdin",
        "--diff-filter=tuxdb",
        "--no-ext-diff",
        "--no-textconv",
        "--no-color",
        "--format=commit %H",
    ];
    let (stream, output) =
        Stream::start(&repository.folder, &arguments, Some(wanted.into_bytes()))?;
    patch::read(output, take)
        .map_err(|source| SourceError::Unreadable { path: repository.folder.clone(), source })?;
    stream.end()
}

#[cfg(test)]
mod tests {
    use super::{Change, around};

    #[test]
    fn a_raw_line_is_read_for_one_parent_and_for_two() {
        let (a, b) = ("1".repeat(40), "2".repeat(40));
        let line = format!(":100644 100644 {a} {b} M\tx y");
        let change = Change::read(line.as_bytes()).unwrap();
        assert_eq!(
            (change.merge, change.status, change.path.as_str(), change.new[0]),
            (false, b'M', "x y", 0x22)
        );
        let line = format!("::100644 100644 100644 {a} {a} {b} MM\t\"\\303\\244\"");
        let change = Change::read(line.as_bytes()).unwrap();
        assert_eq!((change.merge, change.path.as_str(), change.new[0]), (true, "ä", 0x22));
        assert!(Change::read(b"").is_none());
        assert!(Change::read(b":garbage\tx").is_none());
    }

    #[test]
    fn what_is_around_new_bytes_is_joined() {
        let text = vec![b'x'; 100_000];
        let found: Vec<_> = around(&text, &[10..20, 5_000..5_000, 50_000..50_100]).collect();
        assert_eq!(found, [0..9_096, 45_904..54_196]);
    }
}
