//! Measures a gate over many findings: document, shipped policies, decision. `bench/gate.sh` runs it and `opa` beside it.
//!
//! Usage: `gate_findings FINDINGS REPEATS [FOLDER]`; with a folder it also writes `input.json` and the policies there.

use std::time::Instant;

use humdrum_model::finding::{Finding, FindingKind, ScanReport, Severity};
use humdrum_model::gate::{Fact, Facts, Scan, ScanMode, check};
use humdrum_model::name::{Digest, EnvName};
use humdrum_policy::document::Document;
use humdrum_policy::shipped::SHIPPED;
use humdrum_policy::{Policies, Sources};
use jiff::Timestamp;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let findings = arguments.next().map_or(Ok(5_000), |text| text.parse())?;
    let repeats = arguments.next().map_or(Ok(50), |text| text.parse::<usize>())?;
    let facts = facts(findings)?;
    if let Some(folder) = arguments.next() {
        std::fs::write(format!("{folder}/input.json"), serde_json::to_vec(&Document::of(&facts))?)?;
        for shipped in SHIPPED {
            std::fs::write(format!("{folder}/{}.rego", shipped.name), shipped.text)?;
        }
    }
    let mut policies = Policies::load(&Sources::default())?;
    let mut times: Vec<f64> = vec![];
    let mut denied = 0;
    for _ in 0..repeats {
        let mut facts = facts.clone();
        let begun = Instant::now();
        facts.policy = Some(policies.evaluate(&facts));
        let results = check(&facts, &facts.environment.clone(), facts.at);
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        denied = results.iter().filter(|result| !result.passed).count();
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let text = serde_json::json!({
        "findings": findings, "denied": denied, "repeats": repeats,
        "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1.0),
    });
    std::io::Write::write_all(&mut std::io::stdout(), format!("{text}\n").as_bytes())?;
    Ok(())
}

/// Findings as scans of large images have them: one in a thousand critical, one in fifty new and fixable.
fn facts(count: usize) -> Result<Facts, Box<dyn std::error::Error>> {
    let at: Timestamp =
        "2026-11-21T12:00:00Z".parse().map_err(|error: jiff::Error| error.to_string())?;
    let fine = || Fact::Verified { detail: "verified".into() };
    let findings = (0..count)
        .map(|n| Finding {
            kind: FindingKind::Vulnerability,
            rule: format!("GHSA-{n}"),
            aliases: vec![format!("CVE-2026-{n}")],
            severity: match n % 1_000 {
                0 => Severity::Critical,
                n if n % 3 == 0 => Severity::High,
                n if n % 3 == 1 => Severity::Medium,
                _ => Severity::Low,
            },
            score: Some(5.0),
            title: format!("a library does in case {n} what nobody expected of it"),
            fingerprint: format!("f-{n}"),
            package: Some(format!("pkg:deb/debian/lib{n}@1.{n}.0?arch=amd64")),
            fixed_in: (n % 2 == 0).then(|| format!("1.{n}.1")),
            place: None,
            link: Some(format!("https://osv.example/GHSA-{n}")),
        })
        .collect();
    let report = ScanReport {
        kind: FindingKind::Vulnerability,
        scanner: "humdrum".into(),
        at,
        data_as_of: Some(at),
        failed: None,
        findings,
    };
    Ok(Facts {
        service: "shop".into(),
        owner: "team-shop".into(),
        vulnerability_scan: ScanMode::Blocking,
        known: (0..count).filter(|n| n % 25 != 0).map(|n| format!("f-{n}")).collect(),
        scans: vec![Scan { report, attestation: fine() }],
        signature: fine(),
        sbom: fine(),
        provenance: fine(),
        ..Facts::unknown(at, EnvName::new("production")?, Digest::of(b"image"))
    })
}
