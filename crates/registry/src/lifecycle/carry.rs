//! Carrying decisions out: the images of a repository, the preview, the expiry, one image at a time.

use std::sync::Arc;

use humdrum_model::name::EnvName;
use humdrum_store::blobs::{BlobDigest, Expiry, History, IndexError, StoredPolicy};
use serde::Serialize;

use super::evaluate::{Act, Decision, decide};
use super::image::{Image, Protected};
use super::policy::{Policy, PolicyError};
use super::retention;
use crate::name::is_repository;
use crate::observer::Deed;
use crate::registry::{About, Registry, RegistryError};
use crate::rights::InForce;

/// Lifecycle of every repository of a registry. Cheap to clone.
#[derive(Clone)]
pub struct Lifecycle {
    registry: Registry,
    history: Arc<History>,
    settings: InForce,
}

/// Why it could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    #[error("`{0}` is not a repository name")]
    Name(String),
    #[error("repository `{0}` is not known")]
    UnknownRepository(String),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// One image and what is decided about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Previewed {
    #[serde(flatten)]
    pub decision: Decision,
    pub tags: Vec<String>,
    /// Unix ms.
    pub pushed_ms: i64,
    pub pulled_ms: Option<i64>,
    pub archived: bool,
}

/// What became of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// In the trash, from which it can be restored for a while.
    Expired,
    Archived,
    /// It changed, or came into use, after it was decided on; the next run looks again.
    Spared,
}

impl Lifecycle {
    pub fn new(registry: Registry, history: Arc<History>, settings: InForce) -> Self {
        Self { registry, history, settings }
    }

    /// Every repository, by name.
    ///
    /// # Errors
    /// [`LifecycleError::Index`].
    pub async fn repositories(&self) -> Result<Vec<String>, LifecycleError> {
        Ok(self.registry.index().all_repositories().await?)
    }

    /// The policy of a repository, as it was set.
    ///
    /// # Errors
    /// [`LifecycleError::Index`] when it cannot be read.
    pub fn policy(&self, repository: &str) -> Result<Option<StoredPolicy>, LifecycleError> {
        Ok(self.history.policy(repository)?)
    }

    /// Checks a document and makes it the repository's policy, or removes the policy.
    ///
    /// # Errors
    /// [`LifecycleError::Policy`]; [`LifecycleError::Name`] for what can never be a repository.
    pub fn set_policy(
        &self,
        repository: &str,
        document: Option<&str>,
        actor: &str,
    ) -> Result<(), LifecycleError> {
        if !is_repository(repository) {
            return Err(LifecycleError::Name(repository.chars().take(300).collect()));
        }
        let stored = document.map(|document| {
            Policy::parse(document)?;
            Ok::<_, PolicyError>(StoredPolicy {
                document: document.to_owned(),
                actor: actor.to_owned(),
                set_ms: self.registry.now_ms(),
            })
        });
        Ok(self.history.set_policy(repository, stored.transpose()?.as_ref())?)
    }

    /// The images of a repository with their history.
    ///
    /// # Errors
    /// [`LifecycleError::UnknownRepository`] when it has none.
    pub async fn images(&self, repository: &str) -> Result<Vec<Image>, LifecycleError> {
        let rows = self.registry.index().images(repository).await?;
        if rows.is_empty() {
            return Err(LifecycleError::UnknownRepository(repository.chars().take(300).collect()));
        }
        let mut past = self.history.past(repository)?;
        let image = |row: humdrum_store::blobs::ImageRow| {
            let past = past.remove(&row.digest).unwrap_or_default();
            Image {
                digest: row.digest,
                tags: row.tags,
                tagged_ms: row.tagged_ms,
                pushed_ms: row.pushed_ms,
                pulled_ms: past.pulled_ms,
                archived_ms: past.archived_ms,
                activated_ms: past.activated_ms,
                archived: past.archived,
                listed_by: row.listed_by,
                subject: row.subject,
            }
        };
        Ok(rows.into_iter().map(image).collect())
    }

    /// What a run would do now: by `document`, or by the repository's policy; then by the retention of its environments.
    ///
    /// # Errors
    /// As `images`, and [`LifecycleError::Policy`].
    pub async fn preview(
        &self,
        repository: &str,
        document: Option<&str>,
        protected: &Protected,
    ) -> Result<Vec<Previewed>, LifecycleError> {
        let images = self.images(repository).await?;
        let stored = self.policy(repository)?.map(|stored| stored.document);
        let document = document.map(str::to_owned).or(stored);
        let policy = document.map(|document| Policy::parse(&document)).transpose()?;
        let (settings, now_ms) = (self.settings.get(), self.registry.now_ms());
        let home = |tag: &str| {
            let home = self.history.home(repository, tag).ok().flatten();
            home.and_then(|home| EnvName::new(home).ok())
        };
        let decisions = decide(policy.as_ref(), &images, protected, now_ms, |image| {
            retention::over(&settings, image, home, now_ms)
        });
        let previewed = images.into_iter().zip(decisions).map(|(image, decision)| Previewed {
            decision,
            tags: image.tags,
            pushed_ms: image.pushed_ms,
            pulled_ms: image.pulled_ms,
            archived: image.archived,
        });
        Ok(previewed.collect())
    }

    /// Does to one image what was decided; `protected` is asked again, since time has passed.
    ///
    /// # Errors
    /// [`LifecycleError::Index`], [`LifecycleError::Registry`].
    pub async fn carry_out(
        &self,
        repository: &str,
        image: &Previewed,
        protected: &Protected,
    ) -> Result<Outcome, LifecycleError> {
        let digest = &image.decision.image;
        if protected.contains_key(digest) || image.decision.action == Act::Keep {
            return Ok(Outcome::Spared);
        }
        if image.decision.action == Act::Archive {
            let now_ms = self.registry.now_ms();
            self.history.archive(repository, std::slice::from_ref(digest), now_ms)?;
            return Ok(Outcome::Archived);
        }
        let parsed: BlobDigest = digest.parse().map_err(IndexError::from)?;
        match self.registry.expire(repository, &parsed, &image.tags).await? {
            Expiry::Trashed(_) | Expiry::Missing => {
                self.history.forget(repository, std::slice::from_ref(digest))?;
                Ok(Outcome::Expired)
            }
            Expiry::Changed => Ok(Outcome::Spared),
        }
    }
}

impl Registry {
    /// Moves an image to the trash because its time is over; see [`humdrum_store::blobs::Index::expire`].
    async fn expire(
        &self,
        repository: &str,
        digest: &BlobDigest,
        tags: &[String],
    ) -> Result<Expiry, RegistryError> {
        let expiry = self.index().expire(repository, digest, tags, self.now_ms()).await?;
        if let Expiry::Trashed(_) = &expiry {
            self.record(Deed::ManifestDeleted, repository, About::bytes(digest, 0));
        }
        Ok(expiry)
    }
}
