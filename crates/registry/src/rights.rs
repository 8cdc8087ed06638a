//! The access matrix of the settings at the registry's door, and which tags never move.
//!
//! [`Governed`] puts the settings in front of another authenticator. What it says without the request at hand (`allows`) is
//! whether a right exists in any environment: what tokens are given for. What a request names is asked in [`check`]: the
//! environment of the host, of the tags, and of the image. See `docs/decisions/2026-11-21-environments-in-the-registry.md`.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use http::{Method, StatusCode, header, request::Parts};
use humdrum_model::name::EnvName;
use humdrum_model::settings::{self, Decision, OWNER, Settings, TagRule};
use humdrum_store::blobs::{History, Mutability, TagPolicy};

use crate::RegistryState;
use crate::answer::Refused;
use crate::auth::{Action, Authenticator, Credential};
use crate::name::Reference;
use crate::routes::Call;
use crate::target::Kind;

/// The settings in force, for everybody who must heed them; replaced whole, while requests go on.
#[derive(Clone, Default)]
pub struct InForce {
    settings: Arc<RwLock<Arc<Settings>>>,
}

impl InForce {
    pub fn new(settings: Settings) -> Self {
        Self { settings: Arc::new(RwLock::new(Arc::new(settings))) }
    }

    /// As they are now; a request looks once and keeps what it saw.
    pub fn get(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// What a request is about, as far as its environments go.
#[derive(Debug, Clone, Default)]
pub struct Asked<'a> {
    /// The name that the request was sent to.
    pub host: Option<&'a str>,
    pub repository: &'a str,
    /// Tags that it names.
    pub tags: Vec<String>,
    /// Tags of the image that it names by digest, or of what that belongs to.
    pub image_tags: Vec<String>,
}

/// Another authenticator behind the access matrix.
pub struct Governed {
    inner: Arc<dyn Authenticator>,
    settings: InForce,
    history: Arc<History>,
}

impl Governed {
    pub fn new(inner: Arc<dyn Authenticator>, settings: InForce, history: Arc<History>) -> Self {
        Self { inner, settings, history }
    }

    /// The environment of a tag: that of its name, else the one it was made in.
    fn environment_of(&self, settings: &Settings, repository: &str, tag: &str) -> Option<EnvName> {
        settings.environment_of_tag(tag).cloned().or_else(|| {
            let home = self.history.home(repository, tag).ok().flatten()?;
            EnvName::new(home).ok()
        })
    }
}

fn right(action: Action) -> settings::Action {
    match action {
        Action::Pull => settings::Action::Read,
        Action::Push => settings::Action::Write,
        Action::Delete => settings::Action::Admin,
    }
}

impl Authenticator for Governed {
    fn check(&self, credential: Credential<'_>) -> Option<String> {
        self.inner.check(credential)
    }

    fn principals(&self, who: &str) -> Vec<String> {
        self.inner.principals(who)
    }

    fn allows(&self, who: &str, repository: &str, action: Action) -> bool {
        let settings = self.settings.get();
        let principals = self.principals(who);
        let somewhere = || {
            let mut environments = settings.repositories.keys();
            environments.any(|environment| {
                settings::may(&settings, &principals, right(action), environment).is_allowed()
            })
        };
        self.inner.allows(who, repository, action)
            && (principals.iter().any(|principal| principal == OWNER) || somewhere())
    }

    fn is_governed(&self, who: &str) -> bool {
        !self.principals(who).iter().any(|principal| principal == OWNER)
    }

    fn decide(&self, who: &str, action: Action, asked: &Asked<'_>) -> Result<(), String> {
        let settings = self.settings.get();
        let principals = self.principals(who);
        let may = |environment: &EnvName| match settings::may(
            &settings,
            &principals,
            right(action),
            environment,
        ) {
            Decision::Allowed => Ok(()),
            Decision::Denied { why } => Err(why),
        };
        if let Some(environment) = asked.host.and_then(|host| settings.environment_of_host(host)) {
            may(environment)?;
        }
        let of = |tag: &String| self.environment_of(&settings, asked.repository, tag);
        for environment in asked.tags.iter().filter_map(of) {
            may(&environment)?;
        }
        let image: BTreeSet<EnvName> = asked.image_tags.iter().filter_map(of).collect();
        if action == Action::Delete {
            return image.iter().try_for_each(may);
        }
        // Reading an image takes the right in one of its environments; what is in none belongs to everybody who came this far.
        let mut refused = Ok(());
        for environment in &image {
            refused = may(environment);
            if refused.is_ok() {
                return Ok(());
            }
        }
        refused
    }

    fn made_under(&self, host: &str, repository: &str, tags: &[String]) -> Result<(), String> {
        let settings = self.settings.get();
        let Some(environment) = settings.environment_of_host(host) else { return Ok(()) };
        let strangers: Vec<String> =
            tags.iter().filter(|tag| settings.environment_of_tag(tag).is_none()).cloned().collect();
        if strangers.is_empty() {
            return Ok(());
        }
        self.history
            .claim(repository, &strangers, environment.as_str())
            .map_err(|error| error.to_string())
    }
}

/// The tags that never move, by the settings in force. Where a tag was made is asked of `history`; when that cannot be read, nothing moves.
pub fn tag_policy(settings: InForce, history: Arc<History>) -> TagPolicy {
    Arc::new(move |repository, tag| {
        let settings = settings.get();
        let rule = match settings.environment_of_tag(tag) {
            Some(_) => settings.tag_rule(tag, None),
            None => match history.home(repository, tag) {
                Ok(home) => {
                    let home = home.and_then(|home| EnvName::new(home).ok());
                    settings.tag_rule(tag, home.as_ref())
                }
                Err(error) => {
                    TagRule::Immutable(format!("where it was made cannot be read: {error}"))
                }
            },
        };
        match rule {
            TagRule::Movable => Mutability::Mutable,
            TagRule::Immutable(why) => Mutability::Immutable(why),
        }
    })
}

/// What a method needs. `write` is enough to push: who may only write sees nothing, and so has nothing to read on the way.
pub(crate) fn needed(method: &Method) -> &'static [Action] {
    match *method {
        Method::GET | Method::HEAD => &[Action::Pull],
        Method::DELETE => &[Action::Delete],
        _ => &[Action::Push],
    }
}

/// The name that the request was sent to: HTTP/2 has it in the address, HTTP/1.1 in a header.
fn host(parts: &Parts) -> Option<&str> {
    let header = parts.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    parts.uri.authority().map(|authority| authority.as_str()).or(header)
}

/// Asks for the environments that a request names; records where new tags are made.
///
/// Clients look before they push (`HEAD`). Who may write and not read is told that nothing is there, and the push goes on.
pub(crate) async fn check(call: &Call<'_>, kind: &Kind) -> Result<(), Refused> {
    let Call { state, who, repository, parts, .. } = call;
    let auth = state.auth.authenticator();
    let mut asked = Asked { host: host(parts), repository, tags: vec![], image_tags: vec![] };
    let looked = match kind {
        Kind::Manifest(text) => text.parse::<Reference>().ok(),
        Kind::Referrers(digest) => digest.parse().ok().map(Reference::Digest),
        _ => None,
    };
    if let Some(Reference::Tag(tag)) = &looked {
        asked.tags.push(tag.clone());
    }
    let puts = parts.method == Method::PUT && matches!(kind, Kind::Manifest(_));
    if puts {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let named = form_urlencoded::parse(query).filter(|(key, _)| key == "tag");
        asked.tags.extend(named.map(|(_, tag)| tag.into_owned()));
    }
    let actions = match kind {
        // An upload is its writer's own.
        Kind::Upload(_) => &[Action::Push],
        _ => needed(&parts.method),
    };
    for action in actions.iter().filter(|_| auth.is_governed(&who.name)) {
        if *action != Action::Push {
            asked.image_tags = image_tags(state, repository, looked.as_ref(), *action).await?;
        }
        if let Err(why) = auth.decide(&who.name, *action, &asked) {
            let blind = parts.method == Method::HEAD
                && auth.decide(&who.name, Action::Push, &asked).is_ok();
            return Err(if blind { unseen(kind) } else { denied(why) });
        }
    }
    if puts {
        claim(state, &asked).await?;
    }
    Ok(())
}

/// Tags of the image that is read or deleted. A tag that goes leaves its image, so only the tag itself matters then.
async fn image_tags(
    state: &RegistryState,
    repository: &str,
    looked: Option<&Reference>,
    action: Action,
) -> Result<Vec<String>, Refused> {
    let digest = match looked {
        Some(Reference::Digest(digest)) => digest.clone(),
        Some(Reference::Tag(tag)) if action == Action::Pull => {
            match state.registry.index().tagged(repository, tag).await? {
                Some(row) => row.digest,
                None => return Ok(vec![]),
            }
        }
        _ => return Ok(vec![]),
    };
    Ok(state.registry.index().tags_above(repository, &digest).await?)
}

/// Before the tags exist: a death in between leaves a claim on a tag that nobody made, and the next maker's claim replaces it.
async fn claim(state: &RegistryState, asked: &Asked<'_>) -> Result<(), Refused> {
    let Some(host) = asked.host else { return Ok(()) };
    let mut fresh = vec![];
    for tag in &asked.tags {
        if state.registry.index().tagged(asked.repository, tag).await?.is_none() {
            fresh.push(tag.clone());
        }
    }
    let auth = state.auth.authenticator().clone();
    let (host, repository) = (host.to_owned(), asked.repository.to_owned());
    let work = tokio::task::spawn_blocking(move || auth.made_under(&host, &repository, &fresh));
    let failed = |why: String| {
        tracing::error!(why, "where a tag is made could not be recorded");
        let text = "the registry failed; its log says why";
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", text)
    };
    work.await.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

/// Who may not read is refused; who may still write is told, when looking, that nothing is there.
pub(crate) fn refusal(call: &Call<'_>, kind: &Kind, why: String) -> Refused {
    let Call { state, who, repository, parts, .. } = call;
    let blind = parts.method == Method::HEAD && state.auth.may(who, repository, Action::Push);
    if blind { unseen(kind) } else { denied(why) }
}

fn denied(why: String) -> Refused {
    Refused::new(StatusCode::FORBIDDEN, "DENIED", why)
}

fn unseen(kind: &Kind) -> Refused {
    match kind {
        Kind::Blob(_) => Refused::blob_unknown("nothing that you may read"),
        _ => Refused::manifest_unknown("nothing that you may read"),
    }
}
