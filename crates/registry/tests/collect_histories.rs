//! 10,000 random histories of push, mount, tag, delete, referrers, collection and death: nothing in use is ever lost, and no byte that
//! nothing needs outlives its time.
//!
//! A death is a future that is dropped at one of its waiting points, followed by a registry opened anew from the disk. What the
//! interrupted deed did is unknown then, so two worlds are kept: `sure` has what certainly is there and keeps it for the promised
//! time, `maybe` has what possibly is there and keeps it for the longest allowed time. The registry must always lie between the two.
//! `HISTORIES=N` sets the number; a failure prints its seed, and `HISTORY_SEED=N` plays that one again.
#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "live/server.rs"]
mod server;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use humdrum_registry::collect::{BLOB_GRACE, Collecting, TOUCH_EVERY, TRASH_KEEP, UNTAGGED_GRACE};
use humdrum_registry::name::Reference;
use humdrum_registry::{Registry, RegistryError};
use humdrum_store::blobs::{BlobDigest, IndexError};
use server::{IMAGE, INDEX, image, policy, sha256};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Histories that live in one folder, one after the other: what one leaves behind is the next one's business.
const BATCH: u64 = 50;
const BLOBS: u8 = 4;
const MANIFESTS: u8 = 5;
/// An index of the images 0 and 1.
const LIST: u8 = 2;
/// Evidence about image 0, and evidence about the index.
const ABOUT_IMAGE: u8 = 3;
const ABOUT_LIST: u8 = 4;

/// SplitMix64 (Steele, Lea, Flood 2014): a good mixer is all that is needed here.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn small(&mut self, sides: u8) -> u8 {
        self.roll(u64::from(sides)) as u8
    }
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Push { repo: u8, blob: u8 },
    Mount { from: u8, to: u8, blob: u8 },
    Ask { repo: u8, blob: u8 },
    Put { repo: u8, manifest: u8, tag: Option<u8> },
    Pull { repo: u8, manifest: u8 },
    Tag { repo: u8, manifest: u8, tag: u8 },
    Untag { repo: u8, tag: u8 },
    DeleteManifest { repo: u8, manifest: u8 },
    DeleteBlob { repo: u8, blob: u8 },
}

/// What a deed answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Nothing,
    UnknownBlobs,
    /// It died on the way.
    Unknown,
}

fn deed(dice: &mut Dice) -> Deed {
    let (repo, blob, manifest, tag) =
        (dice.small(2), dice.small(BLOBS), dice.small(MANIFESTS), dice.small(2));
    match dice.roll(20) {
        0..5 => Deed::Push { repo, blob },
        5 | 6 => Deed::Mount { from: repo, to: 1 - repo, blob },
        7 => Deed::Ask { repo, blob },
        8..13 => Deed::Put { repo, manifest, tag: (dice.roll(3) > 0).then_some(tag) },
        13 => Deed::Pull { repo, manifest },
        14 => Deed::Tag { repo, manifest, tag },
        15..17 => Deed::Untag { repo, tag },
        17 | 18 => Deed::DeleteManifest { repo, manifest },
        _ => Deed::DeleteBlob { repo, blob },
    }
}

/// The content of one history: its own, so that nothing of another keeps or hides its bytes.
struct Content {
    seed: u64,
    manifests: Vec<(String, BlobDigest)>,
    blobs: Vec<BlobDigest>,
}

impl Content {
    fn new(seed: u64) -> Self {
        let mut content = Self { seed, manifests: vec![], blobs: vec![] };
        content.blobs =
            (0..BLOBS).map(|blob| sha256(&content.bytes(blob)).parse().unwrap()).collect();
        for m in 0..MANIFESTS {
            let text = content.document(m);
            let digest = sha256(text.as_bytes()).parse().unwrap();
            content.manifests.push((text, digest));
        }
        content
    }

    fn bytes(&self, blob: u8) -> Vec<u8> {
        format!("{}/{blob}", self.seed).into_bytes()
    }

    /// Config and layer of an image or a piece of evidence.
    fn blobs_of(manifest: u8) -> Vec<u8> {
        if manifest == LIST { vec![] } else { vec![manifest % BLOBS, (manifest + 1) % BLOBS] }
    }

    fn children_of(manifest: u8) -> &'static [u8] {
        if manifest == LIST { &[0, 1] } else { &[] }
    }

    fn subject_of(manifest: u8) -> Option<u8> {
        match manifest {
            ABOUT_IMAGE => Some(0),
            ABOUT_LIST => Some(LIST),
            _ => None,
        }
    }

    fn document(&self, m: u8) -> String {
        if m == LIST {
            let child = |m: usize| {
                format!(r#"{{"mediaType":"{IMAGE}","digest":"{}","size":1}}"#, self.manifests[m].1)
            };
            return format!(
                r#"{{"schemaVersion":2,"mediaType":"{INDEX}","manifests":[{},{}]}}"#,
                child(0),
                child(1)
            );
        }
        let blobs = Self::blobs_of(m);
        let size = |blob: u8| self.bytes(blob).len();
        let subject = Self::subject_of(m).map_or_else(String::new, |of| {
            format!(r#","subject":{{"digest":"{}","size":1}}"#, self.manifests[usize::from(of)].1)
        });
        let (config, layer) =
            (&self.blobs[usize::from(blobs[0])], &self.blobs[usize::from(blobs[1])]);
        // The image's own mark keeps two manifests with the same blobs apart.
        let extra = format!(r#","annotations":{{"m":"{m}"}}{subject}"#);
        let text = image(config.as_str(), &[(layer.as_str(), size(blobs[1]))], &extra);
        text.replacen(r#""size":2"#, &format!(r#""size":{}"#, size(blobs[0])), 1)
    }

    fn repository(&self, repo: u8) -> String {
        format!("h{}/r{repo}", self.seed)
    }

    fn blob(&self, blob: u8) -> &BlobDigest {
        &self.blobs[usize::from(blob)]
    }

    fn manifest(&self, manifest: u8) -> &BlobDigest {
        &self.manifests[usize::from(manifest)].1
    }
}

/// Repository and blob or manifest.
type Places = BTreeSet<(u8, u8)>;

/// What is there, with the time from which its grace counts.
#[derive(Debug, Clone, Default)]
struct World {
    manifests: BTreeMap<(u8, u8), i64>,
    blobs: BTreeMap<(u8, u8), i64>,
    /// Repository, tag, manifest.
    tags: BTreeSet<(u8, u8, u8)>,
}

impl World {
    /// Manifests that something holds, and blobs that those or their own grace time hold. `slack` is added to every grace time.
    fn used(&self, now: i64, slack: i64, protected: Option<u8>) -> (Places, Places) {
        let fresh = |since: i64, grace: std::time::Duration| {
            now - since <= grace.as_millis() as i64 + slack
        };
        let mut used: Places = self
            .manifests
            .iter()
            .filter(|((repo, m), since)| {
                fresh(**since, UNTAGGED_GRACE)
                    || protected == Some(*m)
                    || self.tags.iter().any(|(r, _, to)| (r, to) == (repo, m))
            })
            .map(|(at, _)| *at)
            .collect();
        loop {
            // A digest that a listed child has is in use even where the child itself never came: evidence about it stays.
            let all = (0..2).flat_map(|repo| (0..MANIFESTS).map(move |m| (repo, m)));
            let more: Vec<_> = all
                .filter(|at| !used.contains(at))
                .filter(|(repo, m)| {
                    let held = |by: u8| used.contains(&(*repo, by));
                    let here = |m: u8| self.manifests.contains_key(&(*repo, m));
                    (here(*m) && Content::subject_of(*m).is_some_and(held))
                        || (here(LIST) && held(LIST) && Content::children_of(LIST).contains(m))
                })
                .collect();
            if more.is_empty() {
                break;
            }
            used.extend(more);
        }
        used.retain(|at| self.manifests.contains_key(at));
        let held = |repo: u8, blob: u8| {
            used.iter().any(|(r, m)| *r == repo && Content::blobs_of(*m).contains(&blob))
        };
        let blobs = self
            .blobs
            .iter()
            .filter(|((repo, blob), since)| fresh(**since, BLOB_GRACE) || held(*repo, *blob))
            .map(|(at, _)| *at)
            .collect();
        (used, blobs)
    }

    fn collect(&mut self, now: i64, slack: i64, protected: Option<u8>) {
        let (manifests, blobs) = self.used(now, slack, protected);
        self.manifests.retain(|at, _| manifests.contains(at));
        self.blobs.retain(|at, _| blobs.contains(at));
        self.tags.retain(|(repo, _, m)| self.manifests.contains_key(&(*repo, *m)));
    }

    fn touch_manifest(&mut self, repo: u8, m: u8, now: i64) {
        self.manifests.entry((repo, m)).and_modify(|since| *since = now);
    }

    /// Names a manifest; the one that had the tag loses it now.
    fn point(&mut self, repo: u8, tag: u8, m: u8, now: i64) {
        self.untag(repo, tag, Some(m), now);
        self.tags.insert((repo, tag, m));
    }

    fn untag(&mut self, repo: u8, tag: u8, but: Option<u8>, now: i64) {
        let of_tag = |at: &(u8, u8, u8)| (at.0, at.1) == (repo, tag) && Some(at.2) != but;
        for (_, _, m) in self.tags.iter().copied().filter(of_tag).collect::<Vec<_>>() {
            self.touch_manifest(repo, m, now);
        }
        self.tags.retain(|at| !of_tag(at));
    }

    fn delete_manifest(&mut self, repo: u8, m: u8, now: i64) {
        if self.manifests.remove(&(repo, m)).is_none() {
            return;
        }
        self.tags.retain(|at| (at.0, at.2) != (repo, m));
        for blob in Content::blobs_of(m) {
            self.blobs.entry((repo, blob)).and_modify(|since| *since = now);
        }
        for other in 0..MANIFESTS {
            if Content::children_of(m).contains(&other) || Content::subject_of(other) == Some(m) {
                self.touch_manifest(repo, other, now);
            }
        }
    }

    /// A deed that certainly happened.
    fn done(&mut self, deed: Deed, now: i64) {
        match deed {
            Deed::Push { repo, blob } | Deed::Ask { repo, blob } => {
                self.blobs.insert((repo, blob), now);
            }
            Deed::Mount { from, to, blob } => {
                self.blobs.entry((from, blob)).or_insert(i64::MIN / 2);
                self.blobs.insert((to, blob), now);
            }
            Deed::Put { repo, manifest, tag } => {
                for blob in Content::blobs_of(manifest) {
                    self.blobs.entry((repo, blob)).or_insert(i64::MIN / 2);
                }
                self.manifests.insert((repo, manifest), now);
                if let Some(tag) = tag {
                    self.point(repo, tag, manifest, now);
                }
            }
            Deed::Pull { repo, manifest } => drop(self.manifests.insert((repo, manifest), now)),
            Deed::Tag { repo, manifest, tag } => {
                self.manifests.entry((repo, manifest)).or_insert(i64::MIN / 2);
                self.point(repo, tag, manifest, now);
            }
            Deed::Untag { repo, tag } => self.untag(repo, tag, None, now),
            Deed::DeleteManifest { repo, manifest } => self.delete_manifest(repo, manifest, now),
            Deed::DeleteBlob { repo, blob } => drop(self.blobs.remove(&(repo, blob))),
        }
    }

    /// What is certain after a deed that died: it may have taken something away, and nothing that it adds is sure.
    fn surely_after(&mut self, deed: Deed) {
        match deed {
            Deed::Put { repo, tag: Some(tag), .. }
            | Deed::Tag { repo, tag, .. }
            | Deed::Untag { repo, tag } => {
                self.tags.retain(|at| (at.0, at.1) != (repo, tag));
            }
            Deed::DeleteManifest { repo, manifest } => {
                self.manifests.remove(&(repo, manifest));
                self.tags.retain(|at| (at.0, at.2) != (repo, manifest));
            }
            Deed::DeleteBlob { repo, blob } => drop(self.blobs.remove(&(repo, blob))),
            _ => {}
        }
    }

    /// What is possible after a deed that died: everything from before, and everything that it adds.
    fn maybe_after(&mut self, deed: Deed, now: i64) {
        let mut after = self.clone();
        after.done(deed, now);
        let latest = |mine: &mut BTreeMap<(u8, u8), i64>, other: BTreeMap<(u8, u8), i64>| {
            for (at, since) in other {
                let known = mine.entry(at).or_insert(since);
                *known = since.max(*known);
            }
        };
        // A mount or tag of what is not even possible does nothing, alive or dying.
        latest(&mut self.manifests, after.manifests);
        latest(&mut self.blobs, after.blobs);
        self.tags.extend(after.tags);
    }
}

/// One registry on the disk, its clock, and how it is opened.
struct House {
    folder: PathBuf,
    now: Arc<AtomicI64>,
}

impl House {
    fn now(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }

    fn open(&self) -> Life {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let clock = self.now.clone();
        let registry = Registry::open(&self.folder, policy()).unwrap();
        let registry = registry.with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        Life { registry, runtime }
    }

    fn files(&self) -> BTreeSet<String> {
        let of = |path: &Path| {
            let entries = std::fs::read_dir(path).into_iter().flatten();
            entries.map(|entry| entry.unwrap().path()).collect::<Vec<_>>()
        };
        let all = of(&self.folder.join("sha256"));
        all.iter()
            .flat_map(|folder| of(folder))
            .map(|file| format!("sha256:{}", file.file_name().unwrap().to_string_lossy()))
            .collect()
    }
}

/// The time between two deaths. Its threads end with it: dropping the runtime waits for those that work.
struct Life {
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

/// Polls a future so often and drops it then, at whatever point it waits; `None` when it did not come to its end.
async fn cut<T>(future: impl Future<Output = T>, polls: Option<u64>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    let mut left = polls.unwrap_or(u64::MAX);
    std::future::poll_fn(move |context| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(context).map(Some);
        if left == 0 && polled.is_pending() { std::task::Poll::Ready(None) } else { polled }
    })
    .await
}

async fn act(registry: &Registry, content: &Content, deed: Deed) -> Outcome {
    let name = |repo: u8| content.repository(repo);
    let tag_name = |tag: u8| format!("v{tag}");
    let result = match deed {
        Deed::Push { repo, blob } => {
            registry.put_blob(&name(repo), content.bytes(blob).into()).await.map(|_| true)
        }
        Deed::Mount { from, to, blob } => registry
            .mount(&name(from), &name(to), content.blob(blob))
            .await
            .map(|size| size.is_some()),
        Deed::Ask { repo, blob } => {
            registry.blob_size(&name(repo), content.blob(blob)).await.map(|size| size.is_some())
        }
        Deed::Put { repo, manifest, tag } => {
            let (text, digest) = &content.manifests[usize::from(manifest)];
            let reference =
                tag.map_or(Reference::Digest(digest.clone()), |tag| Reference::Tag(tag_name(tag)));
            let kind = if manifest == LIST { INDEX } else { IMAGE };
            registry
                .put_manifest(&name(repo), &reference, Some(kind), text.clone().into())
                .await
                .map(|_| true)
        }
        Deed::Pull { repo, manifest } => {
            let reference = Reference::Digest(content.manifest(manifest).clone());
            registry.get_manifest(&name(repo), &reference).await.map(|_| true)
        }
        Deed::Tag { repo, manifest, tag } => registry
            .tag(&name(repo), &tag_name(tag), content.manifest(manifest))
            .await
            .map(|()| true),
        Deed::Untag { repo, tag } => {
            registry.delete_manifest(&name(repo), &Reference::Tag(tag_name(tag))).await
        }
        Deed::DeleteManifest { repo, manifest } => {
            let reference = Reference::Digest(content.manifest(manifest).clone());
            registry.delete_manifest(&name(repo), &reference).await
        }
        Deed::DeleteBlob { repo, blob } => {
            registry.delete_blob(&name(repo), content.blob(blob)).await
        }
    };
    match result {
        Ok(true) => Outcome::Done,
        Ok(false)
        | Err(
            RegistryError::UnknownManifest { .. }
            | RegistryError::Index(IndexError::UnknownManifest { .. }),
        ) => Outcome::Nothing,
        Err(RegistryError::Index(IndexError::UnknownBlobs { .. })) => Outcome::UnknownBlobs,
        Err(error) => panic!("{deed:?}: {error:?}"),
    }
}

/// A history under way.
struct Story<'a> {
    house: &'a House,
    life: Option<Life>,
    content: Content,
    sure: World,
    maybe: World,
    protected: Option<u8>,
    wish: Collecting,
}

impl<'a> Story<'a> {
    fn new(house: &'a House, seed: u64, dice: &mut Dice) -> Self {
        let content = Content::new(seed);
        let protected = (dice.roll(4) == 0).then(|| dice.small(MANIFESTS));
        let digests =
            protected.iter().map(|m| content.manifest(*m).to_string()).collect::<HashSet<_>>();
        let wish = Collecting { protected: Arc::new(digests), ..Collecting::default() };
        let (sure, maybe) = (World::default(), World::default());
        Self { house, life: Some(house.open()), content, sure, maybe, protected, wish }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn die(&mut self) {
        self.life = None;
        self.life = Some(self.house.open());
    }

    /// Acts, perhaps beside a collection, perhaps until a death.
    fn step(&mut self, dice: &mut Dice) {
        let polls = (dice.roll(6) == 0).then(|| dice.roll(12));
        match dice.roll(10) {
            0..6 => {
                let deed = deed(dice);
                let life = self.life();
                let done =
                    life.runtime.block_on(cut(act(&life.registry, &self.content, deed), polls));
                self.tell(deed, done.unwrap_or(Outcome::Unknown));
                if done.is_none() {
                    self.die();
                }
            }
            6 => {
                let life = self.life();
                let done = life.runtime.block_on(cut(life.registry.collect(&self.wish), polls));
                self.tell_collected(done.map(Result::unwrap).is_some());
                if polls.is_some() {
                    self.die();
                }
            }
            7 => self.both(deed(dice), polls),
            _ => {
                let times = [MINUTE, 50 * MINUTE, 5 * HOUR, 23 * HOUR, 2 * DAY, 8 * DAY, 15 * DAY];
                self.house.now.fetch_add(times[dice.roll(7) as usize], Ordering::Relaxed);
            }
        }
    }

    /// A deed and a collection at once.
    fn both(&mut self, deed: Deed, polls: Option<u64>) {
        let life = self.life();
        let together = async {
            futures::join!(
                cut(act(&life.registry, &self.content, deed), polls),
                cut(life.registry.collect(&self.wish), polls)
            )
        };
        let (done, collected) = life.runtime.block_on(together);
        let collected = collected.map(Result::unwrap).is_some();
        println!("{} collected beside, to the end: {collected}", self.house.now());
        // In either order: what the deed was told to be there stays, and what the collection found unused may be gone.
        self.sure.collect(self.house.now(), 0, self.protected);
        self.tell(deed, done.unwrap_or(Outcome::Unknown));
        // The source of a mount was there for the mount, and may have gone right after it.
        self.sure.collect(self.house.now(), 0, self.protected);
        if done.is_none() || !collected {
            self.die();
        }
    }

    fn tell_collected(&mut self, whole: bool) {
        let (now, slack) = (self.house.now(), TOUCH_EVERY.as_millis() as i64);
        println!("{now} collected, to the end: {whole}");
        self.sure.collect(now, 0, self.protected);
        if whole {
            self.maybe.collect(now, slack, self.protected);
        }
    }

    fn tell(&mut self, deed: Deed, outcome: Outcome) {
        let now = self.house.now();
        println!("{now} {deed:?}: {outcome:?}");
        match outcome {
            Outcome::Done => {
                self.sure.done(deed, now);
                self.maybe.done(deed, now);
            }
            Outcome::Unknown => {
                self.sure.surely_after(deed);
                self.maybe.maybe_after(deed, now);
            }
            Outcome::Nothing | Outcome::UnknownBlobs => {
                self.must_be_missing(deed, outcome);
                if outcome == Outcome::Nothing {
                    self.maybe_not(deed);
                }
            }
        }
    }

    /// "There is nothing" is a lie about what is sure.
    fn must_be_missing(&self, deed: Deed, outcome: Outcome) {
        let sure = &self.sure;
        let is_sure = match deed {
            Deed::Push { .. } => true,
            Deed::Mount { from, blob, .. } => sure.blobs.contains_key(&(from, blob)),
            Deed::Ask { repo, blob } | Deed::DeleteBlob { repo, blob } => {
                sure.blobs.contains_key(&(repo, blob))
            }
            Deed::Put { repo, manifest, .. } => Content::blobs_of(manifest)
                .iter()
                .all(|blob| sure.blobs.contains_key(&(repo, *blob))),
            Deed::Pull { repo, manifest }
            | Deed::Tag { repo, manifest, .. }
            | Deed::DeleteManifest { repo, manifest } => {
                sure.manifests.contains_key(&(repo, manifest))
            }
            Deed::Untag { repo, tag } => sure.tags.iter().any(|at| (at.0, at.1) == (repo, tag)),
        };
        assert!(!is_sure, "{deed:?} answered {outcome:?}, but it is there: {sure:?}");
    }

    /// What was answered not to be there is not possible any more either.
    fn maybe_not(&mut self, deed: Deed) {
        let maybe = &mut self.maybe;
        match deed {
            Deed::Mount { from: repo, blob, .. }
            | Deed::Ask { repo, blob }
            | Deed::DeleteBlob { repo, blob } => {
                maybe.blobs.remove(&(repo, blob));
            }
            Deed::Pull { repo, manifest }
            | Deed::Tag { repo, manifest, .. }
            | Deed::DeleteManifest { repo, manifest } => {
                maybe.manifests.remove(&(repo, manifest));
            }
            Deed::Untag { repo, tag } => maybe.tags.retain(|at| (at.0, at.1) != (repo, tag)),
            Deed::Push { .. } | Deed::Put { .. } => {}
        }
    }

    /// Everything sure is there, byte for byte.
    fn check(&self) {
        let (life, content) = (self.life(), &self.content);
        life.runtime.block_on(async {
            for (repo, blob) in self.sure.blobs.keys() {
                let read = life
                    .registry
                    .blob_bytes(&content.repository(*repo), content.blob(*blob), 1 << 10)
                    .await;
                assert!(
                    read.as_ref().is_ok_and(|read| *read == content.bytes(*blob)),
                    "blob {blob} of {repo}: {read:?}"
                );
            }
            for (repo, m) in self.sure.manifests.keys() {
                let reference = Reference::Digest(content.manifest(*m).clone());
                let read = life.registry.get_manifest(&content.repository(*repo), &reference).await;
                let text = &content.manifests[usize::from(*m)].0;
                assert!(
                    read.as_ref().is_ok_and(|row| row.body == *text),
                    "manifest {m} of {repo}: {read:?}"
                );
            }
            for (repo, tag, m) in &self.sure.tags {
                let reference = Reference::Tag(format!("v{tag}"));
                let read = life.registry.get_manifest(&content.repository(*repo), &reference).await;
                let digest = read.map(|row| row.digest).ok();
                assert_eq!(digest.as_ref(), Some(content.manifest(*m)), "tag {tag} of {repo}");
            }
        });
    }

    /// All grace times pass; then nothing is left but what tags and protection hold.
    fn end(mut self) {
        self.sure.collect(self.house.now(), 0, self.protected);
        self.check();
        let longest = UNTAGGED_GRACE.max(BLOB_GRACE).max(TRASH_KEEP).as_millis() as i64;
        for _ in 0..2 {
            self.house.now.fetch_add(longest + 2 * HOUR, Ordering::Relaxed);
            let life = self.life();
            life.runtime.block_on(life.registry.collect(&self.wish)).unwrap();
            self.tell_collected(true);
        }
        self.check();
        let own: BTreeSet<String> = self.content.blobs.iter().map(ToString::to_string).collect();
        let kept: BTreeSet<String> =
            self.maybe.blobs.keys().map(|(_, blob)| self.content.blob(*blob).to_string()).collect();
        let files: BTreeSet<String> = self.house.files().intersection(&own).cloned().collect();
        assert!(files.is_subset(&kept), "bytes that nothing needs: {:?}", files.difference(&kept));
        let trash = self.life().runtime.block_on(self.life().registry.trash(10)).unwrap();
        assert!(trash.is_empty(), "{trash:?}");
        // The next history starts with nothing of this one.
        for (repo, m) in self.maybe.manifests.clone().into_keys() {
            let (life, deed) = (self.life(), Deed::DeleteManifest { repo, manifest: m });
            life.runtime.block_on(act(&life.registry, &self.content, deed));
        }
    }
}

fn history(house: &House, seed: u64) {
    let mut dice = Dice(seed);
    println!("history {seed}");
    let mut story = Story::new(house, seed, &mut dice);
    for _ in 0..8 + dice.roll(11) {
        story.step(&mut dice);
    }
    story.end();
}

/// A folder in memory where there is one: what is tested is the order of writes, and a real disk would be synced 100,000 times.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("humdrum-histories").tempdir_in(parent).unwrap()
}

fn batch(first: u64, last: u64) {
    let folder = folder();
    let house =
        House { folder: folder.path().to_owned(), now: Arc::new(AtomicI64::new(1000 * DAY)) };
    for seed in first..=last {
        let played =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| history(&house, seed)));
        if let Err(panic) = played {
            eprintln!("history {seed} failed; HISTORY_SEED={seed} plays it again");
            std::panic::resume_unwind(panic);
        }
    }
}

#[test]
fn no_history_loses_what_is_used_or_keeps_what_is_not() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("HISTORY_SEED") {
        return batch(seed - seed % BATCH, seed);
    }
    let batches = number("HISTORIES").unwrap_or(10_000).div_ceil(BATCH);
    let next = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(1, Ordering::Relaxed) * BATCH;
                    if first >= batches * BATCH {
                        return;
                    }
                    batch(first, first + BATCH - 1);
                }
            });
        }
    });
}
