//! How long it takes to match an SBOM of 10 MB with 100,000 advisories. Two processes, so that the memory
//! of making the data does not count: `advisory_time make DIR`, then `advisory_time match DIR`.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement prints its numbers, and a panic is its failure"
)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use humdrum_evidence::advisory::inventory::of_cyclonedx;
use humdrum_evidence::advisory::matching::{Database, Question, find};
use humdrum_evidence::advisory::osv;
use humdrum_evidence::advisory::shard::{self, Dates, Row, Shard};
use humdrum_evidence::key::PrivateKey;
use humdrum_evidence::trust::TrustRoot;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;

const RECORDS: usize = 100_000;
const SBOM_BYTES: usize = 10_000_000;
const ECOSYSTEMS: [(&str, &str, &str); 4] = [
    ("npm", "SEMVER", "npm"),
    ("PyPI", "ECOSYSTEM", "pypi"),
    ("Maven", "ECOSYSTEM", "maven"),
    ("Debian", "ECOSYSTEM", "deb/debian"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let folder = Path::new(&arguments[2]);
    match arguments[1].as_str() {
        "make" => make(folder),
        _ => measure(folder),
    }
}

fn now() -> Timestamp {
    "2026-11-20T12:00:00Z".parse().unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::from_scalar(&[7; 32]).unwrap()
}

/// Two records for each of 50,000 names, with ranges and twenty listed versions, as published ones have.
fn record(number: usize) -> (usize, String) {
    let of = number % ECOSYSTEMS.len();
    let (ecosystem, kind, _) = ECOSYSTEMS[of];
    let name = name(of, number / 2);
    let release = if of == 3 { ":12" } else { "" };
    let versions: Vec<String> = (0..20).map(|minor| format!("1.{minor}.{}", number % 7)).collect();
    let text = json!({
        "schema_version": "1.7.4", "id": format!("GHSA-{number:x}"), "modified": "2026-11-19T00:00:00Z",
        "aliases": [format!("CVE-2026-{number}")], "summary": format!("A made-up flaw number {number} that reads beyond the end of a buffer"),
        "details": "A longer text that nobody keeps. ".repeat(20),
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
        "affected": [{"package": {"ecosystem": format!("{ecosystem}{release}"), "name": name}, "versions": versions,
            "ranges": [{"type": kind, "events": [{"introduced": "0"}, {"fixed": format!("1.{}.0", number % 40)}, {"introduced": "2.0.0"}, {"fixed": "2.1.0"}]}]}],
    });
    (of, text.to_string())
}

fn name(of: usize, number: usize) -> String {
    // Spread over the alphabet as real names are.
    let word = format!("{:x}-package-{number}", number.wrapping_mul(2_654_435_761) & 0xffff);
    if of == 2 { format!("org.example:{word}") } else { word }
}

fn make(folder: &Path) {
    let started = Instant::now();
    let mut rows: [Vec<Row>; 4] = Default::default();
    let mut published = 0;
    for number in 0..RECORDS {
        let (of, text) = record(number);
        published += text.len();
        let read = osv::read(text.as_bytes()).unwrap();
        for one in read.statements {
            let advisory = serde_json::to_vec(&one.advisory).unwrap();
            rows[of].push(Row {
                name: one.name,
                id: read.id.clone(),
                modified: read.modified,
                advisory,
            });
        }
    }
    let dates = Dates { as_of: now(), imported_at: now(), unreadable: 0 };
    let mut kept = 0;
    for (rows, (ecosystem, ..)) in rows.into_iter().zip(ECOSYSTEMS) {
        let bytes = shard::write(ecosystem, rows, &dates, &key());
        kept += bytes.len();
        fs::write(folder.join(ecosystem), bytes).unwrap();
    }
    println!(
        "import of {RECORDS} records, {} MB of JSON: {:.1} s; shards {} MB",
        published / 1_000_000,
        started.elapsed().as_secs_f64(),
        kept / 1_000_000
    );
    let (mut components, mut bytes, mut number) = (vec![], 0, 0_usize);
    while bytes < SBOM_BYTES {
        let of = number % ECOSYSTEMS.len();
        let path = name(of, number).replace(':', "/");
        let distro = if of == 3 { "?distro=debian-12" } else { "" };
        let purl = format!("pkg:{}/{path}@1.{}.3{distro}", ECOSYSTEMS[of].2, number % 50);
        let component = json!({
            "type": "library", "bom-ref": purl, "name": path, "version": format!("1.{}.3", number % 50), "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": format!("{number:064x}")}], "licenses": [{"license": {"id": "Apache-2.0"}}],
        });
        bytes += component.to_string().len() + 1;
        components.push(component);
        number += 1;
    }
    let sbom = json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": components});
    fs::write(folder.join("sbom.json"), sbom.to_string()).unwrap();
}

fn measure(folder: &Path) {
    let trust = TrustRoot::of(key().public());
    // From files as control opens them, but with all bytes in memory: that counts against us.
    let files =
        ECOSYSTEMS.map(|(ecosystem, ..)| (ecosystem, fs::read(folder.join(ecosystem)).unwrap()));
    let started = Instant::now();
    let mut database = Database::new();
    for (ecosystem, bytes) in files {
        database.insert(ecosystem.to_owned(), Shard::open(bytes, &trust, now()).unwrap());
    }
    let opened = started.elapsed();
    let started = Instant::now();
    let sbom = fs::read(folder.join("sbom.json")).unwrap();
    let packages = of_cyclonedx(&sbom).unwrap();
    let question = Question {
        packages: &packages,
        at: now(),
        max_age: SignedDuration::from_hours(24),
        scanner: "measurement",
    };
    let answer = find(&question, &mut database).unwrap();
    let matched = started.elapsed();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    println!(
        "open 4 shards: {:.1} ms; match {} packages ({} MB SBOM): {:.0} ms, {} findings, peak {peak}",
        opened.as_secs_f64() * 1e3,
        packages.len(),
        sbom.len() / 1_000_000,
        matched.as_secs_f64() * 1e3,
        answer.report.findings.len()
    );
}
