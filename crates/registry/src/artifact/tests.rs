//! Table tests of paths, tags, digest headers and the rule of immutability.

use super::*;

#[test]
fn paths_name_files_versions_and_lists() {
    let file = |name: &str, version: &str, file: &str| Place::File {
        name: name.into(),
        version: version.into(),
        file: file.into(),
    };
    assert_eq!(Place::parse("app/1.0/app.bin"), Ok(file("app", "1.0", "app.bin")));
    assert_eq!(Place::parse("a/b/1/x%20y"), Ok(file("a/b", "1", "x y")));
    let files = Place::Files { name: "a/b".into(), version: "1".into() };
    assert_eq!(Place::parse("a/b/1/"), Ok(files));
    assert_eq!(Place::parse("a/b/-/versions"), Ok(Place::Versions { name: "a/b".into() }));
    assert_eq!(Place::parse("a/1/x").map(|it| it.repository()), Ok("artifacts/a".into()));
    for bad in ["", "a", "a/b", "/1/x", "A/1/x", "a//1/x", "a/.1/x", "a/1%2F/x", "a/%ff/x"] {
        assert!(Place::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn tags_are_made_and_read_back() {
    let cases = ["app.bin", "a_b", "a_-b", "x y+z~1.deb", "ä", "_", "-", "%2f"];
    for version in ["1.0", "1_-rc", "_", "production-7"] {
        for file in cases {
            let made = tag(version, file).unwrap();
            assert!(is_tag(&made), "{made}");
            assert_eq!(of_tag(&made), Some((version.to_owned(), file.to_owned())));
            assert!(made.starts_with(&stem(version)));
        }
    }
    for bad in ["", ".", "..", "a/b", "a\nb", "a\u{7f}"] {
        assert!(matches!(tag("1", bad), Err(ArtifactError::File { .. })), "{bad:?}");
    }
    let long = "x".repeat(TAG_MAX);
    assert_eq!(tag("1", &long), Err(ArtifactError::TooLong { found: TAG_MAX + 3 }));
    for foreign in ["latest", "1_-a_zz", "1_-a_4", "_-x"] {
        assert_eq!(of_tag(foreign), None, "{foreign}");
    }
}

#[test]
fn a_manifest_holds_its_file() {
    let config = BlobDigest::of(Algorithm::Sha256, b"{}");
    let digest = BlobDigest::of(Algorithm::Sha512, b"x");
    let made = FileEntry { digest, size: 1, media_type: "text/plain".into() };
    let body = manifest("1", "x", &made, &config);
    assert_eq!(entry(body.as_bytes()), Some(made));
    let read = crate::manifest::parse(Some(OCI_IMAGE), body.as_bytes()).unwrap();
    assert_eq!((read.blobs.len(), read.artifact_type.as_deref()), (2, Some(ARTIFACT_TYPE)));
    assert_eq!(entry(b"{}"), None);
}

#[test]
fn digests_are_read_from_four_headers() {
    let short = BlobDigest::of(Algorithm::Sha256, b"x");
    let long = BlobDigest::of(Algorithm::Sha512, b"x");
    let read = |pairs: &[(&'static str, &str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        announced(&headers)
    };
    assert_eq!(read(&[]), Ok(None));
    assert_eq!(read(&[("content-digest", &field(&short))]), Ok(Some(short.clone())));
    let both = format!("{}, {}, md5=:AAAA:", field(&long), field(&short));
    assert_eq!(read(&[("repr-digest", &both)]), Ok(Some(long.clone())));
    assert_eq!(read(&[("docker-content-digest", long.as_str())]), Ok(Some(long.clone())));
    let upper = short.hex().to_uppercase();
    assert_eq!(read(&[("x-checksum-sha256", &upper)]), Ok(Some(short.clone())));
    let two = [("x-checksum-sha256", short.hex()), ("docker-content-digest", long.as_str())];
    assert_eq!(read(&two), Err(ArtifactError::TwoDigests));
    for (header, bad) in [
        ("content-digest", "sha-256"),
        ("content-digest", "sha-256=:AAAA:"),
        ("content-digest", "md5=:AAAA:"),
        ("repr-digest", "sha-256=AAAA"),
        ("docker-content-digest", "sha256:00"),
        ("x-checksum-sha256", "00"),
    ] {
        assert!(matches!(read(&[(header, bad)]), Err(ArtifactError::Digest { .. })), "{bad}");
    }
}

#[test]
fn media_types_are_checked() {
    let cases =
        [(None, OCTETS), (Some("Text/Plain; charset=x"), "text/plain"), (Some("a/b+c"), "a/b+c")];
    for (header, wanted) in cases {
        assert_eq!(media_type(header).as_deref(), Ok(wanted));
    }
    for bad in ["", "text", "text/", "/plain", "te xt/plain", "text/pl\"ain"] {
        assert!(media_type(Some(bad)).is_err(), "{bad}");
    }
}

#[test]
fn files_are_immutable_and_nothing_else_changes() {
    let inner: TagPolicy = Arc::new(|_, tag| match tag {
        "production" => Mutability::Immutable("x".to_owned()),
        _ => Mutability::Mutable,
    });
    let policy = guarded(inner, Arc::new(|name| name == "nightly"));
    let list = format!("sha256-{}", "a".repeat(64));
    for (repository, tag, mutable) in [
        ("artifacts/app", "1_-x", false),
        ("artifacts/app", "production", false),
        ("artifacts/app", list.as_str(), true),
        ("artifacts/nightly", "1_-x", true),
        ("artifacts/nightly", "production", false),
        ("app", "1_-x", true),
        ("app", "production", false),
        ("artifacts", "1_-x", true),
    ] {
        assert_eq!(policy(repository, tag) == Mutability::Mutable, mutable, "{repository}:{tag}");
    }
}
