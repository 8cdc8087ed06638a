//! `humdrum registry lifecycle`: set, look at, preview and run the policy of a repository.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use humdrum_api::governor::Ran;
use humdrum_api::routes::lifecycle::Wanted;
use serde_json::Value;

use crate::client::Client;
use crate::commands::{block_on, me};
use crate::exit::{Exit, Failure, Outcome};
use crate::places::Places;
use crate::ui::{Tone, Ui};

#[derive(Debug, Args)]
pub(crate) struct Lifecycle {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a document the policy of a repository.
    Set {
        /// Name of the repository: that of the service.
        repository: String,
        /// The document, as JSON.
        file: PathBuf,
    },
    /// Take the policy of a repository away.
    Unset {
        /// Name of the repository.
        repository: String,
    },
    /// Print the policy of a repository.
    Show {
        /// Name of the repository.
        repository: String,
    },
    /// Every image with what would happen to it, and why; changes nothing.
    Preview {
        /// Name of the repository.
        repository: String,
        /// Another document than the one in force.
        #[arg(long, value_name = "FILE")]
        policy: Option<PathBuf>,
    },
    /// Do now what the preview shows; control does it once a day by itself. Images go to the trash first.
    Run {
        /// Name of the repository.
        repository: String,
    },
}

impl Lifecycle {
    pub(crate) fn run(self, places: &Places, ui: &Ui) -> Outcome {
        let client = Client::of(places)?;
        match self.what {
            What::Set { repository, file } => {
                let document = Some(read(&file)?);
                let answer: Value = post(&client, "set", repository.clone(), document)?;
                ui.document(&answer);
                ui.line(format!("{repository} has this policy now"));
                ui.line(format!("next: humdrum registry lifecycle preview {repository}"));
            }
            What::Unset { repository } => {
                let answer: Value = post(&client, "set", repository.clone(), None)?;
                ui.document(&answer);
                ui.line(format!("{repository} has no policy now"));
            }
            What::Show { repository } => show(&client, &repository, ui)?,
            What::Preview { repository, policy } => {
                let document = policy.as_deref().map(read).transpose()?;
                let images: Vec<Value> = post(&client, "preview", repository, document)?;
                preview(&images, ui);
            }
            What::Run { repository } => {
                let ran: Ran = post(&client, "run", repository, None)?;
                ui.document(&ran);
                ui.line(format!(
                    "{}: {} expired, {} archived, {} kept ({} of them because they are in use), {} spared because they changed",
                    ran.repository, ran.expired.len(), ran.archived.len(), ran.kept, ran.protected, ran.spared.len()
                ));
            }
        }
        Ok(Exit::Ok)
    }
}

fn post<T: serde::de::DeserializeOwned>(
    client: &Client,
    verb: &str,
    repository: String,
    document: Option<String>,
) -> Result<T, Failure> {
    let body = Wanted { repository, document, by: me() };
    block_on(client.post(&format!("/api/v1/lifecycle/{verb}"), &body))
}

fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| {
        let what = format!("`{}` cannot be read", file.display());
        Failure::new(Exit::BadInput, "file", what).cause(&error)
    })
}

fn show(client: &Client, repository: &str, ui: &Ui) -> Result<(), Failure> {
    let path = format!("/api/v1/lifecycle/policy?repository={repository}");
    let policy: Value = block_on(client.get(&path))?;
    ui.document(&policy);
    match policy["document"].as_str() {
        Some(document) => ui.line(document.trim_end()),
        None => ui.line(format!("{repository} has no policy; its environments' retention holds")),
    }
    Ok(())
}

fn preview(images: &[Value], ui: &Ui) {
    for image in images {
        ui.document(image);
        let text = |key: &str| image[key].as_str().unwrap_or_default();
        let tags: Vec<&str> =
            image["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let tags = if tags.is_empty() { "untagged".to_owned() } else { tags.join(", ") };
        let tone = if text("action") == "keep" { Tone::Good } else { Tone::Bad };
        let action = ui.tone(tone, &format!("{:7}", text("action")));
        // A digest is told by its first 12 digits everywhere.
        let short: String = text("image").chars().take("sha256:".len() + 12).collect();
        ui.line(format!("{action} {short} ({tags}): {}", text("reason")));
    }
    let count = |action: &str| images.iter().filter(|image| image["action"] == action).count();
    ui.line(format!(
        "{} images: {} would expire, {} would be archived",
        images.len(),
        count("expire"),
        count("archive")
    ));
}
