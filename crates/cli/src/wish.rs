//! What people's commands have in common: who, why, to whom, and the answer.

use humdrum_control::view::{PlacementView, StatusView};
use humdrum_model::hold::HoldSubject;
use humdrum_model::name::{Digest, EnvName, ServiceName};
use humdrum_model::release::ReleaseId;
use serde::Serialize;
use serde_json::Value;

use crate::client::Client;
use crate::commands::{block_on, me};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::Ui;

/// A person's wish on its way to control.
pub(crate) struct Wish {
    pub(crate) client: Client,
    pub(crate) body: humdrum_api::routes::placements::Wish,
    ui: Ui,
}

impl Wish {
    pub(crate) fn new(places: &Places, ui: &Ui, why: String) -> Result<Self, Failure> {
        let key = Some(format!("{:016x}", rand::random::<u64>()));
        Ok(Self {
            client: Client::of(places)?,
            body: humdrum_api::routes::placements::Wish { by: me(), why, key },
            ui: *ui,
        })
    }

    pub(crate) fn send(&self, path: &str) -> Outcome {
        self.send_body(path, &self.body)
    }

    pub(crate) fn send_body(&self, path: &str, body: &impl Serialize) -> Outcome {
        let answer: Value = block_on(self.client.post(path, body))?;
        self.ui.document(&answer);
        let sentences =
            answer.get("sentences").and_then(Value::as_array).cloned().unwrap_or_default();
        sentences
            .iter()
            .filter_map(Value::as_str)
            .filter(|text| !text.is_empty())
            .for_each(|text| self.ui.line(text));
        if let Some(next) = answer.get("next").and_then(Value::as_str) {
            self.ui.line(format!("next: {next}"));
        }
        Ok(Exit::Ok)
    }
}

/// The placement that was named, or the only one that fits.
pub(crate) fn pick(
    client: &Client,
    named: Option<String>,
    what: &str,
    fits: impl Fn(&PlacementView) -> bool,
) -> Result<String, Failure> {
    if let Some(name) = named {
        if name.split('/').count() == 2 {
            return Ok(name);
        }
        return Err(Failure::new(
            Exit::BadInput,
            "placement",
            format!("`{name}` is not service/environment"),
        )
        .next("humdrum status"));
    }
    let status: StatusView = block_on(client.get("/api/v1/status"))?;
    let fitting: Vec<String> = status
        .placements
        .iter()
        .filter(|placement| fits(placement))
        .map(|placement| placement.id.clone())
        .collect();
    match fitting.as_slice() {
        [one] => Ok(one.clone()),
        [] => {
            Err(Failure::new(Exit::BadInput, "none", format!("nothing {what}"))
                .next("humdrum status"))
        }
        several => Err(Failure::new(
            Exit::BadInput,
            "several",
            format!("more than one {what}: {}", several.join(", ")),
        )
        .next("name one of them")),
    }
}

/// `release:r-…`, `digest:sha256:…`, `service:NAME`, `env:NAME`.
pub(crate) fn subject(text: &str) -> Result<HoldSubject, Failure> {
    let bad = |why: String| {
        Failure::new(Exit::BadInput, "subject", format!("`{text}` cannot be held: {why}"))
            .next("humdrum hold --help")
    };
    let named = |error: humdrum_model::name::NameError| bad(error.to_string());
    match text.split_once(':') {
        Some(("release", id)) if id.starts_with("r-") => {
            Ok(HoldSubject::Release(ReleaseId(id.into())))
        }
        Some(("digest", digest)) => Ok(HoldSubject::Digest(Digest::new(digest).map_err(named)?)),
        Some(("service", name)) => Ok(HoldSubject::Service(ServiceName::new(name).map_err(named)?)),
        Some(("env" | "environment", name)) => {
            Ok(HoldSubject::Environment(EnvName::new(name).map_err(named)?))
        }
        _ => Err(bad("say release:r-…, digest:sha256:…, service:NAME or env:NAME".into())),
    }
}
