//! What people should know about an artifact beside its bytes: deprecated, unsigned, about to expire. Sent as `Warning`
//! headers, which docker, podman and skopeo show to their users.

use http::HeaderValue;
use humdrum_store::blobs::BlobDigest;

/// All warnings of one answer together, bytes; the limit of the distribution specification.
pub const WARNINGS_BYTES_MAX: usize = 4096;

/// Who knows. Asked on the way of every manifest request, so it must answer at once.
pub trait Notices: Send + Sync {
    /// Texts for those who push or pull this manifest.
    fn about(&self, repository: &str, manifest: &BlobDigest) -> Vec<String>;
}

/// Has nothing to say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Notices for Quiet {
    fn about(&self, _: &str, _: &BlobDigest) -> Vec<String> {
        Vec::new()
    }
}

/// `299 - "text"` for each text, as long as they fit together; what is no header text becomes `?`.
pub(crate) fn headers(texts: &[String]) -> Vec<HeaderValue> {
    let (mut values, mut bytes) = (Vec::new(), 0);
    for text in texts {
        let value = format!("299 - \"{}\"", quoted(text));
        bytes += value.len();
        if bytes > WARNINGS_BYTES_MAX {
            tracing::warn!(text, "a warning is too long to be sent");
            break;
        }
        values.push(HeaderValue::from_str(&value).expect("only printable ASCII is left"));
    }
    values
}

fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push('?'),
        }
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_header_text_within_the_limit() {
        let values = headers(&["the \"old\" one\nis \\ gone \u{e9}".to_owned()]);
        assert_eq!(values, [r#"299 - "the \"old\" one?is \\ gone ?""#]);
        let long = "x".repeat(2000);
        assert_eq!(headers(&[long.clone(), long.clone(), long]).len(), 2);
        assert!(headers(&["x".repeat(5000)]).is_empty());
    }
}
