//! The data sets of the suite: blobs, manifests in the order of their push, their tags, and the referrers they make.

use base64::Engine as _;
use humdrum_store::blobs::Algorithm;
use serde_json::{Map, Value, json};

use crate::server::{IMAGE, INDEX};
use crate::wire::{digest, noise};

pub(crate) const EXAMPLE: &str = "application/vnd.example.oci.conformance.v1";
pub(crate) const EXAMPLE_2: &str = "application/vnd.example.oci.conformance.v2";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const ELSEWHERE: &str = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip";

/// A manifest to push.
pub(crate) struct Piece {
    pub(crate) media_type: &'static str,
    pub(crate) digest: String,
    pub(crate) body: String,
    pub(crate) tags: Vec<String>,
    pub(crate) subject: Option<String>,
    /// As the referrers list must give it.
    pub(crate) artifact_type: Option<String>,
    pub(crate) annotations: Value,
}

pub(crate) struct Data {
    pub(crate) algorithm: Algorithm,
    pub(crate) blobs: Vec<(String, Vec<u8>)>,
    pub(crate) manifests: Vec<Piece>,
    seed: u64,
}

/// What is special about a manifest.
#[derive(Clone, Default)]
pub(crate) struct Shape {
    pub(crate) tag: &'static str,
    pub(crate) artifact_type: Option<&'static str>,
    pub(crate) subject: Option<Value>,
    pub(crate) annotations: Vec<(String, String)>,
    /// Content of each layer; the media type of all.
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) uncompressed: bool,
    /// Descriptors hold their content as well.
    pub(crate) with_data: bool,
    /// Documents have fields that nobody knows.
    pub(crate) custom: bool,
}

impl Data {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, blobs: vec![], manifests: vec![], seed: 1 }
    }

    pub(crate) fn noise(&mut self, length: usize) -> Vec<u8> {
        self.seed += 1;
        noise(self.seed, length)
    }

    fn descriptor(&self, media_type: &str, bytes: &[u8], with_data: bool) -> Value {
        let digest = digest(self.algorithm, bytes);
        let mut value = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        if with_data {
            value["data"] = json!(base64::engine::general_purpose::STANDARD.encode(bytes));
        }
        value
    }

    fn blob(&mut self, media_type: &str, bytes: Vec<u8>, with_data: bool) -> Value {
        let value = self.descriptor(media_type, &bytes, with_data);
        let digest = value["digest"].as_str().unwrap().to_owned();
        if !self.blobs.iter().any(|(other, _)| *other == digest) {
            self.blobs.push((digest, bytes));
        }
        value
    }

    /// An image of random layers.
    pub(crate) fn image(&mut self, mut shape: Shape, layers: usize) -> Value {
        shape.layers = (0..layers).map(|_| self.noise(300)).collect();
        let media_type = if shape.uncompressed { LAYER } else { LAYER_GZIP };
        let mut config = json!({ "architecture": "amd64", "os": "linux", "author": self.seed });
        if shape.custom {
            config["org.example.unknown"] = json!([1, { "x": null }]);
        }
        let config = self.blob(CONFIG, config.to_string().into_bytes(), shape.with_data);
        self.manifest(config, media_type, shape)
    }

    /// An artifact: the empty config, and layers of a type of their own.
    pub(crate) fn artifact(&mut self, shape: Shape, media_type: &str) -> Value {
        let config = self.blob(EMPTY, b"{}".to_vec(), shape.with_data);
        self.manifest(config, media_type, shape)
    }

    fn manifest(&mut self, config: Value, media_type: &str, shape: Shape) -> Value {
        let layers: Vec<Value> = shape
            .layers
            .iter()
            .map(|layer| self.blob(media_type, layer.clone(), shape.with_data))
            .collect();
        let listed = shape
            .artifact_type
            .map_or_else(|| config["mediaType"].as_str().unwrap().to_owned(), str::to_owned);
        let body =
            json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": layers });
        self.piece(IMAGE, body, Some(listed), shape)
    }

    pub(crate) fn index(&mut self, children: &[Value], shape: Shape) -> Value {
        let body = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": children });
        let listed = shape.artifact_type.map(str::to_owned);
        self.piece(INDEX, body, listed, shape)
    }

    fn piece(
        &mut self,
        media_type: &'static str,
        mut body: Value,
        listed: Option<String>,
        shape: Shape,
    ) -> Value {
        if let Some(kind) = shape.artifact_type {
            body["artifactType"] = json!(kind);
        }
        if let Some(subject) = &shape.subject {
            body["subject"] = subject.clone();
        }
        let annotations: Map<String, Value> =
            shape.annotations.into_iter().map(|(k, v)| (k, json!(v))).collect();
        if !annotations.is_empty() {
            body["annotations"] = Value::Object(annotations.clone());
        }
        if shape.custom {
            body["org.example.unknown"] = json!({ "deep": [true] });
        }
        let body = body.to_string();
        let value = self.descriptor(media_type, body.as_bytes(), shape.with_data);
        let tags = if shape.tag.is_empty() { vec![] } else { vec![shape.tag.to_owned()] };
        self.manifests.push(Piece {
            media_type,
            digest: digest(self.algorithm, body.as_bytes()),
            body,
            tags,
            subject: shape.subject.map(|subject| subject["digest"].as_str().unwrap().to_owned()),
            artifact_type: listed,
            annotations: Value::Object(annotations),
        });
        value
    }

    /// Two images for two platforms, and their index.
    pub(crate) fn platforms(&mut self, shape: Shape) -> Value {
        let child = Shape { tag: "", subject: None, annotations: vec![], ..shape.clone() };
        let children: Vec<Value> = ["amd64", "arm64"]
            .iter()
            .map(|platform| {
                let mut value = match shape.artifact_type {
                    Some(_) => {
                        let layers = vec![self.noise(300)];
                        self.artifact(Shape { layers, ..child.clone() }, EXAMPLE)
                    }
                    None => self.image(child.clone(), 2),
                };
                value["platform"] = json!({ "os": "linux", "architecture": platform });
                value
            })
            .collect();
        self.index(&children, shape)
    }

    /// A layer that by its licence lives elsewhere.
    pub(crate) fn with_layers_elsewhere(&mut self, tag: &'static str) {
        let ghost = digest(self.algorithm, &self.noise(9));
        let elsewhere = json!({ "mediaType": ELSEWHERE, "digest": ghost, "size": 123_456,
                                "urls": ["https://store.example.com/blobs/x"] });
        let bytes = self.noise(300);
        let layer = self.blob(LAYER_GZIP, bytes, false);
        let config = self.blob(CONFIG, b"{\"os\":\"linux\"}".to_vec(), false);
        let listed = Some(CONFIG.to_owned());
        let body = json!({ "schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": [elsewhere, layer] });
        self.piece(IMAGE, body, listed, Shape { tag, ..Shape::default() });
    }
}

/// Annotations that no other manifest has.
pub(crate) fn annotated(own: &str) -> Vec<(String, String)> {
    vec![
        ("org.opencontainers.conformance".to_owned(), "hello conformance test".to_owned()),
        (format!("org.example.{own}"), own.to_owned()),
    ]
}
