//! How long the preview of a large repository takes: 100,000 images, ten rules, a thousand of them in use.
//!
//! `cargo run --release -p humdrum-registry --example lifecycle_preview`

use std::time::Instant;

use humdrum_registry::lifecycle::{Act, Image, Policy, Protected, evaluate};

const IMAGES: i64 = 100_000;
const ROUNDS: usize = 7;
const DAY_MS: i64 = 24 * 3_600_000;

fn images() -> Vec<Image> {
    let image = |i: i64| {
        let team = i % 9;
        let mut tags = vec![format!("commit-{i:010x}")];
        if i % 2 == 0 {
            tags.push(format!("team{team}-{i}"));
        }
        if i % 10 == 0 {
            tags.push(format!("production-{i:016x}"));
        }
        Image {
            digest: format!("sha256:{:064x}", i.wrapping_mul(0x9e37_79b9)),
            tags: if i % 7 == 0 { vec![] } else { tags },
            pushed_ms: i * DAY_MS / 270,
            pulled_ms: (i % 3 == 0).then_some(i * DAY_MS / 260),
            ..Image::default()
        }
    };
    (0..IMAGES).map(image).collect()
}

fn document() -> String {
    let tagged = |priority: i64, list: &str, pattern: &str, count: &str| {
        format!(
            r#"{{"rulePriority":{priority},"selection":{{"tagStatus":"tagged","{list}":["{pattern}"],{count}}},"action":{{"type":"expire"}}}}"#
        )
    };
    let most = |n: i64| format!(r#""countType":"imageCountMoreThan","countNumber":{n}"#);
    let mut rules = vec![tagged(1, "tagPrefixList", "production-", &most(50))];
    rules.extend(
        (0..7)
            .map(|team| tagged(team + 2, "tagPatternList", &format!("*team{team}-*"), &most(200))),
    );
    let old = |status: &str, days: i64| {
        format!(
            r#""tagStatus":"{status}","countType":"sinceImagePushed","countUnit":"days","countNumber":{days}"#
        )
    };
    for (priority, selection) in [(20, old("untagged", 7)), (30, old("any", 90))] {
        rules.push(format!(r#"{{"rulePriority":{priority},"selection":{{{selection}}},"action":{{"type":"expire"}}}}"#));
    }
    format!(r#"{{"rules":[{}]}}"#, rules.join(","))
}

fn main() {
    let images = images();
    let policy = Policy::parse(&document()).expect("the document is valid");
    let used = images.iter().step_by(100);
    let protected: Protected =
        used.map(|image| (image.digest.clone(), vec!["production runs it".to_owned()])).collect();
    let mut times: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let decisions = evaluate(&policy, &images, &protected, IMAGES * DAY_MS / 270);
            let spent = start.elapsed();
            let expire = decisions.iter().filter(|decision| decision.action == Act::Expire).count();
            (spent, expire)
        })
        .collect();
    times.sort_unstable();
    let (median, expire) = times[ROUNDS / 2];
    println!(
        "{IMAGES} images, {} rules: median {} ms, slowest {} ms; {expire} would expire",
        policy.rules.len(),
        median.as_millis(),
        times[ROUNDS - 1].0.as_millis()
    );
}
