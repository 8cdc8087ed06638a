//! `humdrum verify oci:…`: a layout with its evidence, offline; one changed byte anywhere is refused with its own reason.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use humdrum_evidence::key::PrivateKey;
use humdrum_registry::Registry;
use humdrum_registry::name::Reference;
use humdrum_registry::registry::ReferrersAsk;
use humdrum_store::blobs::{BlobDigest, Mutability};
use serde_json::{Value, json};

use crate::ship::published;
use crate::stage::{Ran, Stage};

/// An image with its referrers, copied out of the data folder's registry.
struct Copied {
    stage: Stage,
    layout: PathBuf,
    image: String,
    /// By short name: `manifest`, `config`, `layer`, `signature`, `sbom`, `provenance`.
    blobs: Vec<(&'static str, String)>,
}

impl Copied {
    fn new() -> Self {
        let (stage, control, image) = published();
        control.kill();
        let layout = stage.path().join("layout");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let blobs = runtime.block_on(copy(&stage.data().join("registry"), &layout, &image));
        Self { stage, layout, image, blobs }
    }

    fn verify(&self, more: &[&str]) -> Ran {
        let reference = format!("oci:{}@{}", self.layout.display(), self.image);
        let key = self.stage.data().join("keys/signing.pub").display().to_string();
        let key: &[&str] = if more.contains(&"--key") { &[] } else { &["--key", &key] };
        self.stage.run(&[&["verify", &reference, "--json"], key, more].concat())
    }

    fn blob(&self, name: &str) -> PathBuf {
        let digest = &self.blobs.iter().find(|(known, _)| *known == name).unwrap().1;
        self.layout.join("blobs/sha256").join(digest.strip_prefix("sha256:").unwrap())
    }

    /// Changes one byte of a blob, asks, and mends it.
    fn with_changed_byte(&self, name: &str, at: fn(&[u8]) -> usize) -> Ran {
        let path = self.blob(name);
        let right = std::fs::read(&path).unwrap();
        let mut wrong = right.clone();
        let at = at(&wrong);
        wrong[at] ^= 1;
        std::fs::write(&path, wrong).unwrap();
        let ran = self.verify(&[]);
        std::fs::write(&path, right).unwrap();
        ran
    }
}

/// Copies blobs and manifests as `skopeo copy --all` and `oras copy -r` lay them out.
async fn copy(root: &Path, layout: &Path, image: &str) -> Vec<(&'static str, String)> {
    let registry = Registry::open(root, Arc::new(|_, _| Mutability::Mutable)).unwrap();
    let digest: BlobDigest = image.parse().unwrap();
    let folder = layout.join("blobs/sha256");
    std::fs::create_dir_all(&folder).unwrap();
    let mut blobs = vec![("manifest", image.to_owned())];
    let mut entries = vec![];
    let ask = ReferrersAsk { limit: 100, ..ReferrersAsk::default() };
    let referrers = registry.referrers("shop", &digest, &ask).await.unwrap();
    for one in referrers.iter().map(|referrer| referrer.digest.clone()).chain([digest.clone()]) {
        let row = registry.get_manifest("shop", &Reference::Digest(one.clone())).await.unwrap();
        std::fs::write(folder.join(one.hex()), &row.body).unwrap();
        entries.push(json!({ "mediaType": row.media_type, "digest": one.to_string(), "size": row.body.len() }));
        let document: Value = serde_json::from_slice(&row.body).unwrap();
        let named = [&document["config"]].into_iter().chain(document["layers"].as_array().unwrap());
        for (number, descriptor) in named.enumerate() {
            let blob: BlobDigest = descriptor["digest"].as_str().unwrap().parse().unwrap();
            let bytes = registry.blob_bytes("shop", &blob, 1 << 30).await.unwrap();
            std::fs::write(folder.join(blob.hex()), &bytes).unwrap();
            blobs.extend(name(&document, number).map(|name| (name, blob.to_string())));
        }
    }
    let index = json!({ "schemaVersion": 2, "manifests": entries });
    std::fs::write(layout.join("index.json"), index.to_string()).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    blobs
}

fn name(manifest: &Value, number: usize) -> Option<&'static str> {
    let Some(kind) = manifest["annotations"]["dev.sigstore.bundle.predicateType"].as_str() else {
        return Some(if number == 0 { "config" } else { "layer" });
    };
    let names = [("cosign", "signature"), ("cyclonedx", "sbom"), ("provenance", "provenance")];
    names.into_iter().find(|(sign, _)| number == 1 && kind.contains(sign)).map(|(_, name)| name)
}

fn reasons(ran: &Ran) -> Vec<String> {
    let report = ran.json();
    let checks = report["checks"].as_array().unwrap().clone();
    checks
        .iter()
        .filter_map(|check| {
            Some(format!("{} {}", check["name"].as_str()?, check["reason"].as_str()?))
        })
        .collect()
}

#[test]
fn a_good_image_is_accepted_and_every_changed_byte_refused() {
    let copied = Copied::new();
    let good = copied.verify(&[]).ok();
    assert_eq!(reasons(&good), Vec::<String>::new());
    assert_eq!(good.json()["accepted"], true);
    let middle = |bytes: &[u8]| bytes.len() / 2;
    // Inside the signed statement, where a byte is a letter of base64.
    let payload =
        |bytes: &[u8]| String::from_utf8_lossy(bytes).find("\"payload\":\"").unwrap() + 200;
    let signature = |bytes: &[u8]| String::from_utf8_lossy(bytes).find("\"sig\":\"").unwrap() + 30;
    type At = fn(&[u8]) -> usize;
    #[rustfmt::skip]
    let cases: [(&str, At, &str); 8] = [
        ("manifest",   middle,    "manifest manifest_digest_mismatch"),
        ("config",     middle,    "content blob_digest_mismatch"),
        ("layer",      middle,    "content blob_digest_mismatch"),
        ("signature",  payload,   "signature bundle_digest_mismatch"),
        ("signature",  signature, "signature bundle_digest_mismatch"),
        ("sbom",       payload,   "sbom bundle_digest_mismatch"),
        ("provenance", payload,   "provenance bundle_digest_mismatch"),
        ("provenance", signature, "provenance bundle_digest_mismatch"),
    ];
    for (blob, at, reason) in cases {
        let ran = copied.with_changed_byte(blob, at);
        assert_eq!(ran.code, 3, "{blob}: {ran:?}");
        assert!(reasons(&ran).iter().any(|found| found == reason), "{blob}: {:?}", reasons(&ran));
    }
    copied.verify(&[]).ok();
}

#[test]
fn what_is_missing_or_signed_by_a_stranger_has_its_own_reason() {
    let copied = Copied::new();
    let other = copied.stage.path().join("other.pub");
    let key = PrivateKey::from_scalar(&[9; 32]).unwrap().public();
    std::fs::write(&other, key.to_pem()).unwrap();
    let ran = copied.verify(&["--key", &other.display().to_string()]);
    assert_eq!(
        (ran.code, reasons(&ran)),
        (
            3,
            vec![
                "signature untrusted_key".into(),
                "sbom untrusted_key".into(),
                "provenance untrusted_key".into()
            ]
        )
    );

    let layer = copied.blob("layer");
    std::fs::rename(&layer, layer.with_extension("away")).unwrap();
    assert_eq!(reasons(&copied.verify(&[])), ["content missing_blob"]);
    std::fs::rename(layer.with_extension("away"), &layer).unwrap();

    // The image alone: the referrers are no longer named.
    let index = copied.layout.join("index.json");
    let mut document: Value = serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap();
    let (images, referrers): (Vec<Value>, Vec<Value>) = document["manifests"]
        .as_array()
        .unwrap()
        .iter()
        .cloned()
        .partition(|entry| entry["digest"] == copied.image.as_str());
    document["manifests"] = json!(images);
    std::fs::write(&index, document.to_string()).unwrap();
    let ran = copied.verify(&[]);
    assert_eq!(
        (ran.code, reasons(&ran)),
        (
            3,
            vec![
                "signature missing_signature".into(),
                "sbom missing_sbom".into(),
                "provenance missing_provenance".into()
            ]
        )
    );

    // As registries without the referrers API hold them: below a tag, in an index.
    let list = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": referrers }).to_string();
    let digest = humdrum_model::name::Digest::of(list.as_bytes());
    std::fs::write(copied.layout.join("blobs/sha256").join(digest.hex()), &list).unwrap();
    let tag = copied.image.replace(':', "-");
    let annotations = json!({ "org.opencontainers.image.ref.name": tag });
    let entry = json!({ "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest.as_str(), "size": list.len(), "annotations": annotations });
    document["manifests"] = json!([images[0], entry]);
    std::fs::write(&index, document.to_string()).unwrap();
    copied.verify(&[]).ok();
    // Only one image is left to be meant, so it need not be named.
    copied.stage.run(&["verify", &format!("oci:{}", copied.layout.display())]).ok();
}
