//! The referrers tag schema of the distribution specification: clients of registries without the referrers API keep the list
//! of a subject's referrers in an image index under a tag made of the subject's digest. Such lists arrive by mirroring.

use humdrum_store::blobs::{BlobDigest, ManifestRow, Referrer};
use serde::Deserialize;

use crate::manifest::{self, OCI_INDEX};

/// Longest algorithm and longest digits in a fallback tag.
const ALGORITHM_MAX: usize = 32;
const DIGITS_MAX: usize = 64;
/// Entries of one list that are looked at; a list written by clients has a few.
const LISTED_MAX: usize = 1000;

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    digest: String,
}

/// The tag under which clients list the referrers of `subject`.
pub(crate) fn tag(subject: &BlobDigest) -> String {
    let cut = |text: &str, max: usize| text[..text.len().min(max)].to_owned();
    let algorithm = cut(subject.algorithm().name(), ALGORITHM_MAX);
    format!("{algorithm}-{}", cut(subject.hex(), DIGITS_MAX))
}

/// Whether a tag has the form of the lists above, or of the signatures, attestations and SBOMs that cosign 2 pushes beside them.
pub(crate) fn is_tag(text: &str) -> bool {
    let stem = ["sig", "att", "sbom"]
        .iter()
        .find_map(|end| text.strip_suffix(end)?.strip_suffix('.'))
        .unwrap_or(text);
    let digits = stem.strip_prefix("sha256-").or_else(|| stem.strip_prefix("sha512-"));
    let hex = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    digits.is_some_and(|digits| digits.len() == DIGITS_MAX && digits.bytes().all(hex))
}

/// The digests in a list after `last`, each once.
pub(crate) fn listed(row: &ManifestRow, last: Option<&BlobDigest>) -> Vec<BlobDigest> {
    if row.media_type != OCI_INDEX {
        return vec![];
    }
    let listing: Listing =
        serde_json::from_slice(&row.body).unwrap_or(Listing { manifests: vec![] });
    let entries = listing.manifests.iter().take(LISTED_MAX);
    let mut digests: Vec<BlobDigest> =
        entries.filter_map(|entry| entry.digest.parse().ok()).collect();
    digests.retain(|digest| last.is_none_or(|last| digest > last));
    digests.sort();
    digests.dedup();
    digests
}

/// The entry of a listed manifest. What names a subject is found by that, or belongs to another one.
pub(crate) fn referrer(row: &ManifestRow) -> Option<Referrer> {
    let manifest = manifest::parse(Some(&row.media_type), &row.body).ok()?;
    manifest.subject.is_none().then(|| Referrer {
        digest: row.digest.clone(),
        media_type: row.media_type.clone(),
        artifact_type: manifest.artifact_type,
        annotations: manifest.annotations,
        size: row.body.len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use humdrum_store::blobs::Algorithm;

    use super::*;

    #[test]
    fn tags_are_cut_to_what_a_tag_can_hold() {
        let short = BlobDigest::of(Algorithm::Sha256, b"");
        assert_eq!(tag(&short), format!("sha256-{}", short.hex()));
        let long = BlobDigest::of(Algorithm::Sha512, b"");
        assert_eq!(tag(&long), format!("sha512-{}", &long.hex()[..64]));
        assert!(is_tag(&tag(&short)) && is_tag(&tag(&long)));
        assert!(is_tag(&format!("{}.sig", tag(&short))));
        for bad in ["", "sha256-", "sha256-ab.sig", "latest", &format!("{}.exe", tag(&short))] {
            assert!(!is_tag(bad), "{bad}");
        }
    }

    #[test]
    fn a_list_is_read_as_far_as_it_can_be() {
        let (a, b) =
            (BlobDigest::of(Algorithm::Sha256, b"a"), BlobDigest::of(Algorithm::Sha256, b"b"));
        let body = format!(
            r#"{{"manifests":[{{"digest":"{b}"}},{{"digest":"x"}},{{"digest":"{a}"}},{{"digest":"{b}"}}]}}"#
        );
        let row = |media_type: &str, body: &str| ManifestRow {
            digest: a.clone(),
            media_type: media_type.to_owned(),
            body: body.to_owned().into(),
            touched_ms: 0,
        };
        let mut both = vec![a.clone(), b.clone()];
        both.sort();
        assert_eq!(listed(&row(OCI_INDEX, &body), None), both);
        assert_eq!(listed(&row(OCI_INDEX, &body), Some(&both[0])), both[1..]);
        assert!(listed(&row(OCI_INDEX, "[]"), None).is_empty());
        assert!(listed(&row("other", &body), None).is_empty());
    }
}
