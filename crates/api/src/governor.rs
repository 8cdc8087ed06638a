//! Who keeps the installation's rules: settings in force, lifecycle of the registry's images, and both on the record.

use std::path::{Path, PathBuf};
use std::time::Duration;

use humdrum_control::engine::Engine;
use humdrum_control::in_use::{InUse, in_use};
use humdrum_control::journal::Journal;
use humdrum_model::manifest::Problem;
use humdrum_model::settings::Settings;
use humdrum_registry::lifecycle::{Act, Lifecycle, LifecycleError, Outcome, Previewed};
use humdrum_registry::rights::InForce;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::error::ApiError;

/// Between two scheduled runs of every policy. ECR acts within a day, too.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// After a start, so that a control that is restarted often still comes to it and a start is not burdened.
const FIRST: Duration = Duration::from_secs(15 * 60);
/// Images in one event: a record is written before they go.
const GROUP: usize = 50;

/// Settings and lifecycle of one installation.
pub struct Governor {
    pub settings: InForce,
    pub lifecycle: Lifecycle,
    /// Where the settings are kept.
    file: PathBuf,
    engine: Engine,
    journal: Journal,
    /// One change of the settings, one run at a time.
    turn: Mutex<()>,
}

/// What a run of a policy did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    pub repository: String,
    pub expired: Vec<String>,
    pub archived: Vec<String>,
    /// Not what they were when they were decided on, or in use by now.
    pub spared: Vec<String>,
    /// Kept only because they are in use.
    pub protected: usize,
    pub kept: usize,
}

impl Governor {
    pub fn new(settings: InForce, file: PathBuf, lifecycle: Lifecycle, engine: Engine) -> Self {
        let journal = Journal::new(engine.store().clone());
        Self { settings, lifecycle, file, engine, journal, turn: Mutex::new(()) }
    }

    /// Puts settings in force, keeps them for the next start, and records who did. All three or none.
    ///
    /// # Errors
    /// 422 `settings` for a file that may not be used; 503 when it cannot be kept or recorded.
    pub async fn apply(&self, text: &str, actor: &str) -> Result<Vec<Problem>, ApiError> {
        let parsed = Settings::parse(text).map_err(|problems| broken(&problems))?;
        let _turn = self.turn.lock().await;
        let unusable = |error: std::io::Error| {
            let title = format!("`{}` cannot be written: {error}", self.file.display());
            ApiError::new(503, "data-folder", title).hint("humdrum doctor")
        };
        let new = self.file.with_extension("yaml.new");
        write_durably(&new, text).map_err(unusable)?;
        let body = json!({ "settings": parsed.settings });
        self.journal.record("settings_applied", &body, actor).await?;
        std::fs::rename(&new, &self.file).map_err(unusable)?;
        sync_folder(&self.file).map_err(unusable)?;
        self.settings.set(parsed.settings);
        Ok(parsed.warnings)
    }

    /// What is in use now, with reasons.
    pub fn in_use(&self) -> InUse {
        in_use(&self.engine.snapshots())
    }

    /// Sets or removes a repository's policy, and records who did.
    ///
    /// # Errors
    /// 422 for a refused document, 503 when it cannot be recorded.
    pub async fn set_policy(
        &self,
        repository: &str,
        document: Option<&str>,
        actor: &str,
    ) -> Result<(), ApiError> {
        self.lifecycle.set_policy(repository, document, actor)?;
        let body = json!({ "repository": repository, "document": document });
        Ok(self.journal.record("lifecycle_policy_set", &body, actor).await?)
    }

    /// Does what a preview shows. Each group of images is on record before it goes, and what is in use is asked again before each image.
    ///
    /// # Errors
    /// Those of the registry; what went before stays on record.
    pub async fn run(&self, repository: &str, actor: &str) -> Result<Ran, ApiError> {
        let _turn = self.turn.lock().await;
        let previewed = self.lifecycle.preview(repository, None, &self.in_use()).await?;
        let mut ran = Ran { repository: repository.into(), ..Ran::default() };
        ran.protected =
            previewed.iter().filter(|image| image.decision.action != image.decision.asked).count();
        let acts: Vec<&Previewed> =
            previewed.iter().filter(|image| image.decision.action != Act::Keep).collect();
        ran.kept = previewed.len() - acts.len();
        for group in acts.chunks(GROUP) {
            let images: Vec<_> = group.iter().map(|image| json!({
                "digest": image.decision.image, "tags": image.tags, "action": image.decision.action,
                "rule": image.decision.rule, "reason": image.decision.reason,
            })).collect();
            let body = json!({ "repository": repository, "images": images });
            self.journal.record("lifecycle_acts", &body, actor).await?;
            for image in group {
                let outcome = self.lifecycle.carry_out(repository, image, &self.in_use()).await?;
                let list = match outcome {
                    Outcome::Expired => &mut ran.expired,
                    Outcome::Archived => &mut ran.archived,
                    Outcome::Spared => &mut ran.spared,
                };
                list.push(image.decision.image.clone());
            }
        }
        if !acts.is_empty() {
            let body = serde_json::to_value(&ran).expect("plain data is always JSON");
            self.journal.record("lifecycle_ran", &body, actor).await?;
        }
        Ok(ran)
    }

    /// Runs every repository's policy and retention once a day until `stop`.
    pub async fn daily(&self, stop: CancellationToken) {
        let mut wait = FIRST;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = EVERY;
            let repositories = match self.lifecycle.repositories().await {
                Ok(repositories) => repositories,
                Err(error) => {
                    tracing::warn!(%error, "lifecycle: repositories cannot be listed");
                    continue;
                }
            };
            for repository in repositories {
                match self.run(&repository, "schedule").await {
                    Ok(ran) if ran.expired.is_empty() && ran.archived.is_empty() => {}
                    Ok(ran) => {
                        let (expired, archived) = (ran.expired.len(), ran.archived.len());
                        tracing::info!(repository, expired, archived, "lifecycle");
                    }
                    Err(error) if error.status == 404 => {}
                    Err(error) => tracing::warn!(repository, error = error.title, "lifecycle"),
                }
            }
        }
    }
}

impl From<LifecycleError> for ApiError {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Name(_) => ApiError::new(422, "repository", error.to_string()),
            LifecycleError::UnknownRepository(_) => {
                ApiError::new(404, "no-such-repository", error.to_string())
                    .hint("a repository has the name of its service")
            }
            LifecycleError::Policy(policy) => {
                let place = match policy.at.as_str() {
                    "" => String::new(),
                    at => format!(" at {at}"),
                };
                let refused = ApiError::new(422, "lifecycle-policy", format!("{policy}{place}"));
                refused.hint(policy.hint.unwrap_or("docs/registry.md describes the documents"))
            }
            LifecycleError::Registry(_) | LifecycleError::Index(_) => {
                ApiError::new(503, "registry", error.to_string()).hint("humdrum doctor")
            }
        }
    }
}

fn broken(problems: &[Problem]) -> ApiError {
    let each = problems.iter().map(|problem| {
        format!("line {}, column {}: {}", problem.line, problem.column, problem.message)
    });
    ApiError::new(422, "settings", each.collect::<Vec<_>>().join("; "))
        .hint("humdrum settings check FILE")
}

fn write_durably(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
