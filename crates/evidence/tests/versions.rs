//! Properties that every version ordering has, and the vectors of those for which no peer can be installed.

#![expect(clippy::unwrap_used, reason = "a test file: a panic is the failure")]

#[path = "version_peers/generate.rs"]
mod generate;

use std::cmp::Ordering;

use humdrum_evidence::version::{Scheme, VERSION_BYTES_MAX, check, compare};
use proptest::prelude::*;

use crate::generate::{Random, changed, real};

/// The real versions that a scheme's generated ones come from.
fn names(scheme: Scheme) -> &'static [&'static str] {
    match scheme {
        Scheme::SemVer => &["semver"],
        Scheme::Npm => &["semver", "npm"],
        Scheme::Go => &["go"],
        Scheme::Pub => &["semver", "pub"],
        Scheme::Pep440 => &["pep440"],
        Scheme::Maven => &["maven"],
        Scheme::Debian => &["debian"],
        Scheme::Rpm => &["rpm"],
        Scheme::Alpine => &["alpine"],
        Scheme::RubyGems => &["rubygems"],
        Scheme::NuGet => &["nuget"],
        Scheme::Composer => &["composer"],
    }
}

#[test]
fn every_real_version_is_read() {
    for scheme in Scheme::ALL {
        for version in real(names(scheme)) {
            check(scheme, &version).unwrap();
        }
    }
}

/// Antisymmetric and transitive, on triples of one descent. Maven's own order is not transitive, and ours is the same.
#[test]
fn every_order_is_total() {
    for scheme in Scheme::ALL {
        let real = real(names(scheme));
        let mut random = Random(7);
        let mut seen = 0;
        for _ in 0..4_000 {
            let base = &real[random.below(real.len())];
            let [a, b, c] = [0; 3].map(|_| changed(scheme, base, &mut random));
            let Ok(ab) = compare(scheme, &a, &b) else { continue };
            let (Ok(bc), Ok(ac)) = (compare(scheme, &b, &c), compare(scheme, &a, &c)) else {
                continue;
            };
            seen += 1;
            assert_eq!(compare(scheme, &b, &a), Ok(ab.reverse()), "{scheme}: `{a}` and `{b}`");
            assert_eq!(compare(scheme, &a, &a), Ok(Ordering::Equal), "{scheme}: `{a}`");
            if scheme == Scheme::Maven {
                continue;
            }
            if bc == ab || bc.is_eq() {
                assert_eq!(ac, ab, "{scheme}: `{a}`, `{b}`, `{c}`");
            } else if ab.is_eq() {
                assert_eq!(ac, bc, "{scheme}: `{a}`, `{b}`, `{c}`");
            }
        }
        assert!(seen > 500, "{scheme}: only {seen} triples could be ordered");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_makes_it_panic(a in ".{0,40}", b in "[0-9a-zA-Z.~^+_:!@* -]{0,40}") {
        for scheme in Scheme::ALL {
            for (a, b) in [(&a, &b), (&a, &a), (&b, &b)] {
                if let Ok(order) = compare(scheme, a, b) {
                    prop_assert_eq!(compare(scheme, b, a), Ok(order.reverse()));
                }
            }
        }
    }
}

#[test]
fn a_long_version_is_refused_and_a_deep_one_is_read() {
    for scheme in Scheme::ALL {
        let deep = "1-".repeat(VERSION_BYTES_MAX / 2);
        let _ = compare(scheme, &deep, &deep);
        let error = compare(scheme, &format!("{deep}1"), "1").unwrap_err();
        assert_eq!(error.why, "it has more than 512 bytes");
        assert_eq!(error.version.len(), 80);
    }
    let error = check(Scheme::SemVer, "1.2.x").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`1.2.x` is no semantic version: it does not begin with MAJOR.MINOR.PATCH"
    );
}

/// Rules that the documentation of each ecosystem states, for the orderings without an installable peer.
#[test]
fn documented_orders_hold() {
    #[rustfmt::skip]
    let chains: &[(Scheme, &[&str])] = &[
        (Scheme::Alpine, &["1.0_alpha", "1.0_alpha1", "1.0_beta", "1.0_pre2", "1.0_rc1", "1.0_rc1_p1", "1.0", "1.0_cvs", "1.0_svn1", "1.0_git2", "1.0_hg1", "1.0_p1", "1.0_p2", "1.0a", "1.0b", "1.0.0", "1.0.1", "1.010", "1.09", "1.1", "1.1-r1", "1.1-r2", "1.2", "006", "013", "20050718"]),
        (Scheme::Alpine, &["6.4_p20231125-r0", "6.4_p20240420-r2", "6.4a"]),
        (Scheme::Alpine, &["0.1.0_alpha_pre2", "0.1.0_alpha", "0.1.0_alpha2", "0.1.3_alpha"]),
        (Scheme::NuGet,  &["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-ALPHA.2", "1.0.0-alpha.11", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0", "1.0.0.1", "1.0.1", "1.10", "2"]),
        (Scheme::Pub,    &["1.0.0-pre", "1.0.0-pre+build", "1.0.0", "1.0.0+1", "1.0.0+2", "1.0.0+900", "1.0.0+a", "1.0.0+a1", "1.0.1"]),
        (Scheme::Go,     &["go1.21rc2", "go1.21.0", "1.21.1", "v1.22.0-rc.1", "go1.22"]),
        (Scheme::Go,     &["v1.0.0-pre.0.20191109021931-daa7c04131f5", "v1.0.0", "v1.0.1-0.20191109021931-daa7c04131f5", "v1.0.1", "v2.0.0+incompatible"]),
    ];
    for (scheme, chain) in chains {
        for (index, a) in chain.iter().enumerate() {
            for b in &chain[index + 1..] {
                assert_eq!(compare(*scheme, a, b), Ok(Ordering::Less), "{scheme}: {a} < {b}");
            }
        }
    }
    #[rustfmt::skip]
    let equal = [
        (Scheme::NuGet, "1.0", "1.0.0.0"), (Scheme::NuGet, "1.0.0-Beta+a", "1.0.0-beta+b"), (Scheme::NuGet, "1.01.1", "1.1.1"),
        (Scheme::Alpine, "1-r1", "1-r01"), (Scheme::Alpine, "02.0", "2.0"), (Scheme::Go, "v2.0.0+incompatible", "2.0.0"), (Scheme::Go, "go1.22", "1.22.0"),
        (Scheme::SemVer, "v4", "4.0.0"), (Scheme::Pep440, "1.0-1", "1.0.post1"), (Scheme::Maven, "1.0.Final", "1"), (Scheme::Composer, "v1.0", "1.0.0.0"),
    ];
    for (scheme, a, b) in equal {
        assert_eq!(compare(scheme, a, b), Ok(Ordering::Equal), "{scheme}: {a} = {b}");
    }
}

#[test]
fn ecosystems_have_their_order() {
    #[rustfmt::skip]
    let cases = [
        ("crates.io", Some(Scheme::SemVer)), ("Debian:12", Some(Scheme::Debian)), ("Ubuntu:22.04:LTS", Some(Scheme::Debian)), ("Alpine:v3.19", Some(Scheme::Alpine)),
        ("Red Hat:enterprise_linux:9::baseos", Some(Scheme::Rpm)), ("Rocky Linux:8", Some(Scheme::Rpm)), ("Packagist", Some(Scheme::Composer)), ("Go", Some(Scheme::Go)),
        ("Packagist:https://packages.drupal.org/8", Some(Scheme::Composer)), ("Linux", None), ("", None), ("debian", None),
    ];
    for (ecosystem, scheme) in cases {
        assert_eq!(Scheme::of_ecosystem(ecosystem), scheme, "{ecosystem}");
    }
}
