//! `humdrum verify`: an image's bytes, signature, SBOM and provenance, checked anew and offline. Each demand is one line with its reason.

pub(super) mod layout;
mod stored;

use std::path::PathBuf;

use clap::Args;
use humdrum_control::clock::now;
use humdrum_control::evidence::{Question, Referrer, Required, Verification, verify};
use humdrum_control::view::{PlacementView, ReleaseView};
use humdrum_evidence::key::PublicKey;
use humdrum_evidence::trust::TrustRoot;
use humdrum_model::name::Digest;
use serde::{Deserialize, Serialize};

use super::block_on;
use crate::client::Client;
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::roles::secrets;
use crate::ui::{Tone, Ui};

/// Largest key file or trust root, bytes.
const TRUST_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// `service@sha256:…`, `service:tag`, service/environment, or a folder: `oci:DIR`, `oci:DIR:tag`, `oci:DIR@sha256:…`.
    #[arg(value_name = "REF")]
    reference: String,
    /// A public key (PEM), as cosign writes it, instead of this installation's trust root.
    #[arg(long, value_name = "FILE", conflicts_with = "trust")]
    key: Option<PathBuf>,
    /// A trust root: keys with ids and validity.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// A builder that the provenance may name; any when left out. Can be given several times.
    #[arg(long = "builder", value_name = "ID")]
    builders: Vec<String>,
}

/// What is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Subject {
    /// An OCI layout on this machine.
    Layout { folder: PathBuf, pick: Pick },
    /// In the data folder's registry.
    Stored { repository: String, pick: Pick },
    /// What an environment runs.
    Running { service: String, environment: String },
}

/// Which image of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pick {
    Only,
    Tag(String),
    Digest(Digest),
}

/// An image with everything that hangs on it.
struct Image {
    digest: Digest,
    manifest: Vec<u8>,
    /// Manifest and bundle of each referrer.
    referrers: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the bytes that the manifest names are there and are those.
    content: Check,
}

/// The answer, from here or from control: the same shape.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(default)]
    reference: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    accepted: bool,
    checks: Vec<Check>,
    #[serde(default)]
    rejected: Vec<Rejected>,
}

/// One demand and how it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Check {
    name: String,
    /// `passed` or `refused`.
    outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    detail: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Rejected {
    bundle: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predicate_type: Option<String>,
    reason: String,
    detail: String,
}

impl Check {
    fn passed(name: &str, detail: String) -> Self {
        Self { name: name.into(), outcome: "passed".into(), reason: None, detail }
    }

    fn refused(name: &str, reason: &str, detail: String) -> Self {
        Self { name: name.into(), outcome: "refused".into(), reason: Some(reason.into()), detail }
    }

    fn is_passed(&self) -> bool {
        self.outcome == "passed"
    }
}

impl Verify {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let subject = read_subject(&self.reference)?;
        let mut answer = match &subject {
            Subject::Layout { folder, pick } => self.judge(layout::read(folder, pick)?, places)?,
            Subject::Stored { repository, pick } => self.stored(places, repository, pick)?,
            Subject::Running { service, environment } => {
                let digest = running(places, service, environment)?;
                self.stored(places, service, &Pick::Digest(digest))?
            }
        };
        answer.reference.clone_from(&self.reference);
        answer.accepted = answer.checks.iter().all(Check::is_passed);
        show(&answer, ui);
        ui.document(&answer);
        Ok(if answer.accepted { Exit::Ok } else { Exit::Refused })
    }

    /// Through control where it runs and nothing else is asked than it would ask itself; else from its files.
    fn stored(&self, places: &Places, repository: &str, pick: &Pick) -> Result<Answer, Failure> {
        let own_trust = self.key.is_none() && self.trust.is_none() && self.builders.is_empty();
        if own_trust && let Some(client) = stored::control(places) {
            return block_on(stored::through_control(&client, repository, pick));
        }
        self.judge(block_on(stored::read(places, repository, pick))?, places)
    }

    fn judge(&self, image: Image, places: &Places) -> Result<Answer, Failure> {
        let trust = self.trust(places)?;
        let referrers: Vec<_> = image
            .referrers
            .iter()
            .map(|(manifest, bundle)| Referrer { manifest: Some(manifest), bundle })
            .collect();
        let required = [
            Required::Signature,
            Required::Sbom,
            Required::Provenance { builders: self.builders.clone() },
        ];
        let question = Question {
            subject: &image.digest,
            manifest: &image.manifest,
            referrers: &referrers,
            trust: &trust,
            required: &required,
            at: now(),
        };
        let mut answer = answer(&verify(&question))?;
        answer.digest = image.digest.to_string();
        answer.checks.insert(1.min(answer.checks.len()), image.content);
        Ok(answer)
    }

    fn trust(&self, places: &Places) -> Result<TrustRoot, Failure> {
        if let Some(path) = &self.key {
            let bytes = small(path)?;
            let key = PublicKey::from_pem(&String::from_utf8_lossy(&bytes))
                .map_err(|error| bad_trust(path, &error))?;
            return Ok(TrustRoot::of(key));
        }
        if let Some(path) = &self.trust {
            return TrustRoot::read(&small(path)?).map_err(|error| bad_trust(path, &error));
        }
        if !secrets::trust_path(places).exists() {
            let what = format!(
                "no key is known: none was given, and `{}` is not there",
                secrets::trust_path(places).display()
            );
            return Err(Failure::new(Exit::BadInput, "no-trust", what)
                .next(format!("humdrum verify {} --key FILE", self.reference)));
        }
        secrets::trust(places)
    }
}

fn small(path: &std::path::Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(TRUST_BYTES_MAX).read_to_end(&mut bytes));
    read.map_err(|error| bad_trust(path, &error))?;
    Ok(bytes)
}

fn bad_trust(path: &std::path::Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        Exit::BadInput,
        "trust-root",
        format!("`{}` names no key that can be trusted", path.display()),
    )
    .cause(error)
    .next("--key takes a public key (PEM), --trust a trust root: docs/evidence.md")
}

/// The evidence crate's answer in the shape that is printed.
fn answer(verification: &Verification) -> Result<Answer, Failure> {
    let read = serde_json::to_value(verification).and_then(serde_json::from_value);
    read.map_err(|error| {
        Failure::new(
            Exit::Failed,
            "bug",
            "the verification cannot be shown; this is a mistake in humdrum",
        )
        .cause(&error)
    })
}

fn read_subject(text: &str) -> Result<Subject, Failure> {
    let bad = |why: &str| {
        let what = format!("`{text}` names no image: {why}");
        Failure::new(Exit::BadInput, "reference", what)
            .next("humdrum verify SERVICE@sha256:…, SERVICE/ENVIRONMENT or oci:DIR")
    };
    if let Some(rest) = text.strip_prefix("oci:") {
        let (folder, pick) = split(rest).map_err(|why| bad(&why))?;
        if folder.is_empty() {
            return Err(bad("the folder is missing"));
        }
        return Ok(Subject::Layout { folder: folder.into(), pick });
    }
    let (name, pick) = split(text).map_err(|why| bad(&why))?;
    match (&pick, name.split_once('/')) {
        (Pick::Only, Some((service, environment))) if !environment.contains('/') => {
            Ok(Subject::Running { service: service.into(), environment: environment.into() })
        }
        (Pick::Only, _) => Err(bad("neither a digest, a tag nor an environment is given")),
        _ if !humdrum_registry::name::is_repository(name) => {
            Err(bad(&format!("`{name}` is no repository")))
        }
        _ => Ok(Subject::Stored { repository: name.into(), pick }),
    }
}

/// `NAME@sha256:…`, `NAME:tag` or `NAME`.
pub(super) fn split(text: &str) -> Result<(&str, Pick), String> {
    if let Some((name, digest)) = text.split_once('@') {
        return Digest::new(digest)
            .map(|digest| (name, Pick::Digest(digest)))
            .map_err(|error| error.to_string());
    }
    match text.rsplit_once(':') {
        Some((name, tag)) if humdrum_registry::name::is_tag(tag) => {
            Ok((name, Pick::Tag(tag.into())))
        }
        Some((_, tag)) if !tag.contains('/') => Err(format!("`{tag}` is no tag")),
        _ => Ok((text, Pick::Only)),
    }
}

/// The proven release; before an environment has one, the release that takes its traffic.
fn serving(view: &PlacementView) -> Option<&ReleaseView> {
    let stable = view.slots.iter().find(|slot| Some(slot.slot) == view.stable);
    let most = || view.slots.iter().filter(|slot| slot.weight > 0).max_by_key(|slot| slot.weight);
    stable.or_else(most)?.release.as_ref()
}

/// The digest of what an environment runs.
fn running(places: &Places, service: &str, environment: &str) -> Result<Digest, Failure> {
    let plain = |text: &str| {
        humdrum_model::name::ServiceName::new(text)
            .map_err(|error| Failure::new(Exit::BadInput, "reference", error.to_string()))
    };
    let (service, environment) = (plain(service)?, plain(environment)?);
    let client = Client::of(places)?;
    let view: PlacementView =
        block_on(client.get(&format!("/api/v1/placements/{service}/{environment}")))?;
    let none = || {
        Failure::new(Exit::BadInput, "nothing-runs", format!("{} has no release yet", view.id))
            .next("humdrum status")
    };
    let release = serving(&view).ok_or_else(none)?;
    Digest::new(release.digest.clone()).map_err(|error| {
        Failure::new(Exit::Failed, "answer", "control named no digest").cause(&error)
    })
}

fn show(answer: &Answer, ui: &Ui) {
    ui.line(format!("{}  {}", answer.reference, ui.tone(Tone::Quiet, &answer.digest)));
    for check in &answer.checks {
        let (word, tone) =
            if check.is_passed() { ("passed ", Tone::Good) } else { ("refused", Tone::Bad) };
        let reason = check.reason.as_ref().map(|reason| format!("{reason}: ")).unwrap_or_default();
        ui.line(format!("  {}  {:<12} {reason}{}", ui.tone(tone, word), check.name, check.detail));
    }
    for one in &answer.rejected {
        ui.line(format!(
            "  {}  {} ({}): {}",
            ui.tone(Tone::Quiet, "ignored"),
            one.bundle,
            one.reason,
            one.detail
        ));
    }
    let refused = answer.checks.iter().filter(|check| !check.is_passed()).count();
    ui.line(match refused {
        0 => ui.tone(Tone::Good, "Verified."),
        _ => ui.tone(Tone::Bad, &format!("Refused: {refused} of {} checks.", answer.checks.len())),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_or_refused_with_a_reason() {
        let hex = "0123456789abcdef".repeat(4);
        let digest = Pick::Digest(Digest::new(format!("sha256:{hex}")).unwrap());
        let stored = |name: &str, pick: Pick| Subject::Stored { repository: name.into(), pick };
        let layout = |name: &str, pick: Pick| Subject::Layout { folder: name.into(), pick };
        let running = Subject::Running { service: "shop".into(), environment: "dev".into() };
        #[rustfmt::skip]
        let good = [
            (format!("shop@sha256:{hex}"),       stored("shop", digest.clone())),
            (format!("team/shop@sha256:{hex}"),  stored("team/shop", digest.clone())),
            ("shop:commit-1".into(),             stored("shop", Pick::Tag("commit-1".into()))),
            ("shop/dev".into(),                  running),
            ("oci:out".into(),                   layout("out", Pick::Only)),
            ("oci:./a/b:v1".into(),              layout("./a/b", Pick::Tag("v1".into()))),
            (format!("oci:/x@sha256:{hex}"),     layout("/x", digest)),
        ];
        for (text, expected) in good {
            assert_eq!(read_subject(&text).unwrap(), expected, "{text}");
        }
        for bad in ["shop", "shop@sha256:12", "shop:..", "Shop:v1", "oci:", "a/b/c", ""] {
            assert_eq!(read_subject(bad).unwrap_err().exit, Exit::BadInput, "{bad}");
        }
    }
}
