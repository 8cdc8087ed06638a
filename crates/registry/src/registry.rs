//! The registry in process: what the endpoints do, and how builds publish without HTTP.
//!
//! Each method is durable when it resolves and tells the observer once. Write order: see `humdrum_store::blobs`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use humdrum_store::blobs::{
    Algorithm, AppendRules, BlobDigest, BlobError, Blobs, ByteStream, FileBlobs, Index, IndexError,
    ManifestRow, NewManifest, Referrer, TagPolicy, TagsPage, UploadId,
};

use crate::artifact;
use crate::collect::gate::Gate;
use crate::fallback;
use crate::manifest::{self, Manifest, ManifestError};
use crate::name::{Reference, is_repository};
use crate::observer::{Deed, Observer, RegistryEvent, Silent};

/// Publishing in process reads from memory or a local file; a disk that gives nothing for this long is broken.
const LOCAL_IDLE: Duration = Duration::from_secs(60);

/// The time, Unix ms. A test gives its own.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// A registry, acting for somebody. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
    actor: Arc<str>,
}

struct Inner {
    blobs: Arc<dyn Blobs>,
    index: Index,
    gate: Gate,
    observer: Arc<dyn Observer>,
    clock: Clock,
    sparse: bool,
}

/// Why the registry did not do it.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("`{text}` is not a repository name")]
    Name { text: String },
    #[error("the manifest is not accepted")]
    Manifest(#[from] ManifestError),
    #[error("the manifest is {found}, not {expected}")]
    WrongDigest { expected: BlobDigest, found: BlobDigest },
    #[error("blob {digest} is not in repository `{repository}`")]
    UnknownBlob { repository: String, digest: BlobDigest },
    #[error("manifest `{reference}` is not in repository `{repository}`")]
    UnknownManifest { repository: String, reference: String },
    #[error("`{path}` cannot be read")]
    Source { path: PathBuf, source: std::io::Error },
    #[error("a collection is under way already")]
    Collecting,
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// What a manifest push did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PutManifest {
    pub digest: BlobDigest,
    pub media_type: String,
    pub subject: Option<BlobDigest>,
}

/// A referrers request; see the distribution specification, end-12.
#[derive(Debug, Clone, Default)]
pub struct ReferrersAsk {
    pub artifact_type: Option<String>,
    /// Only those after this digest.
    pub last: Option<BlobDigest>,
    pub limit: u32,
}

impl Registry {
    /// Blobs in files below `root`, the index in `root/registry.db`. `policy` decides which tags move; files below `artifacts/`
    /// never do.
    ///
    /// # Errors
    /// [`RegistryError`] when the folder or the database cannot be used.
    pub fn open(root: &Path, policy: TagPolicy) -> Result<Self, RegistryError> {
        Self::open_with(root, artifact::guarded(policy, Arc::new(|_| false)))
    }

    /// As `open`, with `policy` as the only rule; see [`artifact::guarded`].
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(root: &Path, policy: TagPolicy) -> Result<Self, RegistryError> {
        let blobs = FileBlobs::open(root)?;
        let index = Index::open(&root.join("registry.db"), policy)?;
        Ok(Self::new(Arc::new(blobs), index, Arc::new(Silent)))
    }

    pub fn new(blobs: Arc<dyn Blobs>, index: Index, observer: Arc<dyn Observer>) -> Self {
        let (gate, clock) = (Gate::default(), Arc::new(wall_clock));
        let inner = Inner { blobs, index, gate, observer, clock, sparse: false };
        Self { inner: Arc::new(inner), actor: "humdrum".into() }
    }

    /// The same registry with somebody to tell. For a registry that is not shared yet.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        self.rebuilt(|inner| inner.observer = observer)
    }

    /// The same registry with another clock. For a registry that is not shared yet.
    #[must_use]
    pub fn with_clock(self, clock: Clock) -> Self {
        self.rebuilt(|inner| inner.clock = clock)
    }

    /// The same registry, which also takes manifests whose blobs it does not have: for a mirror that fills itself later.
    /// For a registry that is not shared yet.
    #[must_use]
    pub fn with_sparse(self, sparse: bool) -> Self {
        self.rebuilt(|inner| inner.sparse = sparse)
    }

    fn rebuilt(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::get_mut(&mut self.inner).expect("a registry is set up before it is shared"));
        self
    }

    /// The same registry, acting for `actor`: the name that events carry.
    #[must_use]
    pub fn acting_for(&self, actor: &str) -> Self {
        Self { inner: self.inner.clone(), actor: actor.into() }
    }

    pub fn now_ms(&self) -> i64 {
        (self.inner.clock)()
    }

    pub(crate) fn blobs(&self) -> &dyn Blobs {
        &*self.inner.blobs
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.inner.gate
    }

    pub(crate) fn record(&self, deed: Deed, repository: &str, about: About<'_>) {
        self.inner.observer.record(RegistryEvent {
            at_ms: self.now_ms(),
            actor: self.actor.to_string(),
            deed,
            repository: repository.to_owned(),
            digest: about.digest.cloned(),
            tag: about.tag.map(str::to_owned),
            bytes: about.bytes,
        });
    }

    // Blobs.

    /// Stores bytes in a repository and answers their sha256 digest.
    ///
    /// # Errors
    /// [`RegistryError::Name`], or that the disk or the index refused.
    pub async fn put_blob(
        &self,
        repository: &str,
        bytes: Bytes,
    ) -> Result<BlobDigest, RegistryError> {
        let digest = BlobDigest::of(Algorithm::Sha256, &bytes);
        let body = futures::stream::once(async move { Ok(bytes) });
        self.put_stream(repository, &digest, Box::pin(body)).await?;
        Ok(digest)
    }

    /// Stores a file in a repository, streaming it; `digest` is what its bytes must have.
    ///
    /// # Errors
    /// As `put_blob`; [`BlobError::WrongDigest`] when the file is another one.
    pub async fn put_blob_file(
        &self,
        repository: &str,
        path: &Path,
        digest: &BlobDigest,
    ) -> Result<u64, RegistryError> {
        let fails = |source| RegistryError::Source { path: path.to_owned(), source };
        let file = tokio::fs::File::open(path).await.map_err(fails)?;
        let body = tokio_util::io::ReaderStream::with_capacity(file, 256 << 10);
        self.put_stream(repository, digest, Box::pin(body)).await
    }

    async fn put_stream(
        &self,
        repository: &str,
        digest: &BlobDigest,
        body: ByteStream,
    ) -> Result<u64, RegistryError> {
        check_name(repository)?;
        // Bytes that a repository has are durable, so a link is enough, unless the disk or somebody altered them since: then
        // what is published now takes their place.
        if let Some(holder) = self.holders(digest, 1).await?.first()
            && self.blobs().verify(digest).await?
            && let Some(size) = self.mount(holder, repository, digest).await?
        {
            return Ok(size);
        }
        let id = UploadId::new(rand::random(), repository, digest.algorithm());
        let rules = AppendRules {
            at: None,
            length: None,
            total_max: u64::MAX,
            idle_max: LOCAL_IDLE,
            durable: false,
        };
        self.upload(&id, body, rules).await?;
        self.finish_upload(repository, &id, digest).await
    }

    /// Opens a session and fills it; a failure leaves none behind.
    pub(crate) async fn upload(
        &self,
        id: &UploadId,
        body: ByteStream,
        rules: AppendRules,
    ) -> Result<(), RegistryError> {
        self.blobs().begin(id).await?;
        match self.blobs().append(id, body, rules).await {
            Ok(_) => Ok(()),
            Err(error) => {
                // The first error is the one to tell; an abandoned session expires.
                let _ = self.blobs().cancel(id).await;
                Err(error.into())
            }
        }
    }

    /// Turns an upload session into a blob of the repository.
    pub(crate) async fn finish_upload(
        &self,
        repository: &str,
        id: &UploadId,
        digest: &BlobDigest,
    ) -> Result<u64, RegistryError> {
        let _arriving = self.inner.gate.arriving(digest).await;
        let size = self.blobs().finish(id, digest).await?;
        self.inner.index.link(repository, digest, size, self.now_ms()).await?;
        self.record(Deed::BlobPushed, repository, About::bytes(digest, size));
        Ok(size)
    }

    /// Makes a blob of one repository one of another as well; `None` when `from` does not have it.
    pub async fn mount(
        &self,
        from: &str,
        to: &str,
        digest: &BlobDigest,
    ) -> Result<Option<u64>, RegistryError> {
        let mounted = self.inner.index.mount(from, to, digest, self.now_ms()).await?;
        if let Some(blob) = mounted {
            self.record(Deed::BlobMounted, to, About::bytes(digest, blob.size));
        }
        Ok(mounted.map(|blob| blob.size))
    }

    /// Repositories that have a blob, at most `limit`.
    pub(crate) async fn holders(
        &self,
        digest: &BlobDigest,
        limit: u32,
    ) -> Result<Vec<String>, RegistryError> {
        Ok(self.inner.index.holders(digest, limit).await?)
    }

    /// The size of a blob in bytes, when the repository has it.
    pub async fn blob_size(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<Option<u64>, RegistryError> {
        let found = self.inner.index.blob(repository, digest).await?;
        let Some(blob) = found else { return Ok(None) };
        let told = self.told(repository, digest, blob.touched_ms).await?;
        Ok(told.then_some(blob.size))
    }

    /// Streams a blob of a repository.
    ///
    /// # Errors
    /// [`RegistryError::UnknownBlob`] when the repository does not have it.
    pub async fn blob(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<ByteStream, RegistryError> {
        let unknown = || RegistryError::UnknownBlob {
            repository: repository.to_owned(),
            digest: digest.clone(),
        };
        let size = self.blob_size(repository, digest).await?.ok_or_else(unknown)?;
        self.blob_range(repository, digest, 0..size).await
    }

    /// A blob as a whole, for small ones.
    ///
    /// # Errors
    /// [`RegistryError::UnknownBlob`]; [`BlobError::TooLarge`] beyond `max` bytes.
    pub async fn blob_bytes(
        &self,
        repository: &str,
        digest: &BlobDigest,
        max: u64,
    ) -> Result<Bytes, RegistryError> {
        let mut stream = self.blob(repository, digest).await?;
        let mut whole = Vec::new();
        while let Some(piece) = stream.next().await {
            let piece = piece
                .map_err(|source| BlobError::BodyLost { received: whole.len() as u64, source })?;
            if whole.len() as u64 + piece.len() as u64 > max {
                return Err(BlobError::TooLarge { max }.into());
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.into())
    }

    /// Streams a range that lies inside a blob of the repository.
    pub(crate) async fn blob_range(
        &self,
        repository: &str,
        digest: &BlobDigest,
        range: Range<u64>,
    ) -> Result<ByteStream, RegistryError> {
        let bytes = range.end - range.start;
        let stream = self.blobs().open(digest, range).await?;
        self.record(Deed::BlobPulled, repository, About::bytes(digest, bytes));
        Ok(stream)
    }

    /// Takes a blob from a repository; `false` when it was not there.
    ///
    /// # Errors
    /// [`IndexError::Immutable`] when an immutable tag needs it.
    pub async fn delete_blob(
        &self,
        repository: &str,
        digest: &BlobDigest,
    ) -> Result<bool, RegistryError> {
        let there = self.inner.index.unlink(repository, digest, self.now_ms()).await?;
        if there {
            self.record(Deed::BlobDeleted, repository, About::bytes(digest, 0));
        }
        Ok(there)
    }

    // Manifests and tags.

    /// Stores a manifest under a tag or its digest. The same manifest again is fine.
    ///
    /// # Errors
    /// [`RegistryError::Manifest`] when it is none, [`RegistryError::WrongDigest`], and those of the index: unknown blobs, an
    /// immutable tag.
    pub async fn put_manifest(
        &self,
        repository: &str,
        reference: &Reference,
        media_type: Option<&str>,
        body: Bytes,
    ) -> Result<PutManifest, RegistryError> {
        let (tags, expected) = match reference {
            Reference::Tag(tag) => (vec![tag.clone()], None),
            Reference::Digest(digest) => (vec![], Some(digest.clone())),
        };
        self.put_manifest_tagged(repository, tags, expected, media_type, body).await
    }

    /// Stores a manifest under any number of tags; `expected` is checked and chooses the algorithm of its digest.
    pub(crate) async fn put_manifest_tagged(
        &self,
        repository: &str,
        tags: Vec<String>,
        expected: Option<BlobDigest>,
        media_type: Option<&str>,
        body: Bytes,
    ) -> Result<PutManifest, RegistryError> {
        check_name(repository)?;
        let algorithm = expected.as_ref().map_or(Algorithm::Sha256, BlobDigest::algorithm);
        let digest = BlobDigest::of(algorithm, &body);
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(RegistryError::WrongDigest { expected, found: digest });
        }
        let mut manifest = manifest::parse(media_type, &body)?;
        if self.inner.sparse {
            self.excuse_missing(repository, &mut manifest).await?;
        }
        let Manifest { media_type, blobs, children, subject, artifact_type, annotations } =
            manifest;
        let put = PutManifest {
            digest: digest.clone(),
            media_type: media_type.clone(),
            subject: subject.clone(),
        };
        let bytes = body.len() as u64;
        let new = NewManifest {
            repository: repository.to_owned(),
            digest,
            media_type,
            body,
            blobs,
            children,
            subject,
            artifact_type,
            annotations,
            tags: tags.clone(),
            now_ms: self.now_ms(),
        };
        self.inner.index.put_manifest(new).await?;
        self.record(Deed::ManifestPushed, repository, About::bytes(&put.digest, bytes));
        for tag in &tags {
            self.record(Deed::Tagged, repository, About::tagged(&put.digest, tag));
        }
        Ok(put)
    }

    /// Moves blobs that are not here to what need not be here.
    async fn excuse_missing(
        &self,
        repository: &str,
        manifest: &mut Manifest,
    ) -> Result<(), RegistryError> {
        for blob in std::mem::take(&mut manifest.blobs) {
            match self.inner.index.blob(repository, &blob.digest).await? {
                Some(_) => manifest.blobs.push(blob),
                None => manifest.children.push(blob.digest),
            }
        }
        Ok(())
    }

    /// A manifest, byte for byte as it was pushed.
    ///
    /// # Errors
    /// [`RegistryError::UnknownManifest`].
    pub async fn get_manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<ManifestRow, RegistryError> {
        let row = self.manifest_row(repository, reference).await?;
        let bytes = row.body.len() as u64;
        self.record(Deed::ManifestPulled, repository, About::bytes(&row.digest, bytes));
        Ok(row)
    }

    /// As `get_manifest`, without telling the observer: a look, not a pull.
    pub(crate) async fn manifest_row(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<ManifestRow, RegistryError> {
        let row = match reference {
            Reference::Tag(tag) => self.inner.index.tagged(repository, tag).await?,
            Reference::Digest(digest) => self.inner.index.manifest(repository, digest).await?,
        };
        if let Some(row) = row
            && self.told(repository, &row.digest, row.touched_ms).await?
        {
            return Ok(row);
        }
        let (repository, reference) = (repository.to_owned(), reference.to_string());
        Err(RegistryError::UnknownManifest { repository, reference })
    }

    /// Points a tag at a manifest that is there.
    ///
    /// # Errors
    /// [`IndexError::UnknownManifest`], [`IndexError::Immutable`].
    pub async fn tag(
        &self,
        repository: &str,
        tag: &str,
        digest: &BlobDigest,
    ) -> Result<(), RegistryError> {
        self.inner.index.tag(repository, tag, digest, self.now_ms()).await?;
        self.record(Deed::Tagged, repository, About::tagged(digest, tag));
        Ok(())
    }

    /// Removes a tag, or a manifest with all its tags; `false` when it was not there.
    ///
    /// # Errors
    /// [`IndexError::Immutable`] when an immutable tag is or needs it.
    pub async fn delete_manifest(
        &self,
        repository: &str,
        reference: &Reference,
    ) -> Result<bool, RegistryError> {
        match reference {
            Reference::Tag(tag) => {
                let there = self.inner.index.delete_tag(repository, tag, self.now_ms()).await?;
                if there {
                    self.record(Deed::Untagged, repository, About::tag(tag));
                }
                Ok(there)
            }
            Reference::Digest(digest) => {
                let now_ms = self.now_ms();
                let removed = self.inner.index.delete_manifest(repository, digest, now_ms).await?;
                for tag in removed.iter().flatten() {
                    self.record(Deed::Untagged, repository, About::tagged(digest, tag));
                }
                if removed.is_some() {
                    self.record(Deed::ManifestDeleted, repository, About::bytes(digest, 0));
                }
                Ok(removed.is_some())
            }
        }
    }

    /// Tags after `last`; `None` for an unknown repository.
    pub async fn tags(
        &self,
        repository: &str,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Option<TagsPage>, RegistryError> {
        Ok(self.inner.index.tags(repository, last, limit).await?)
    }

    /// Manifests whose subject is `subject`: signatures, SBOMs, provenance. Also those that name no subject but are listed
    /// under its fallback tag, as clients of registries without referrers push them.
    pub async fn referrers(
        &self,
        repository: &str,
        subject: &BlobDigest,
        ask: &ReferrersAsk,
    ) -> Result<Vec<Referrer>, RegistryError> {
        let (kind, last) = (ask.artifact_type.as_deref(), ask.last.as_ref());
        let index = &self.inner.index;
        let mut found = index.referrers(repository, subject, kind, last, ask.limit).await?;
        let Some(listing) = index.tagged(repository, &fallback::tag(subject)).await? else {
            return Ok(found);
        };
        for digest in fallback::listed(&listing, last) {
            let row = index.manifest(repository, &digest).await?;
            let referrer = row.and_then(|row| fallback::referrer(&row));
            found
                .extend(referrer.filter(|it| {
                    kind.is_none_or(|kind| it.artifact_type.as_deref() == Some(kind))
                }));
        }
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        found.truncate(ask.limit as usize);
        Ok(found)
    }

    /// Names of repositories after `last`, in byte order.
    pub async fn repositories(
        &self,
        last: Option<&str>,
        limit: u32,
    ) -> Result<Vec<String>, RegistryError> {
        Ok(self.inner.index.repositories(last, limit).await?)
    }
}

/// What an event is about.
#[derive(Default)]
pub(crate) struct About<'a> {
    digest: Option<&'a BlobDigest>,
    tag: Option<&'a str>,
    bytes: u64,
}

impl<'a> About<'a> {
    pub(crate) fn bytes(digest: &'a BlobDigest, bytes: u64) -> Self {
        Self { digest: Some(digest), bytes, tag: None }
    }

    fn tagged(digest: &'a BlobDigest, tag: &'a str) -> Self {
        Self { digest: Some(digest), tag: Some(tag), bytes: 0 }
    }

    fn tag(tag: &'a str) -> Self {
        Self { tag: Some(tag), ..Self::default() }
    }
}

fn check_name(repository: &str) -> Result<(), RegistryError> {
    if is_repository(repository) {
        return Ok(());
    }
    Err(RegistryError::Name { text: repository.chars().take(300).collect() })
}

fn wall_clock() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    i64::try_from(now.map_or(0, |d| d.as_millis())).unwrap_or(i64::MAX)
}
