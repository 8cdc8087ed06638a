//! Each shipped rule finds a sample of its kind, made up here and now, and leaves alone what only looks like one.

use std::collections::BTreeSet;

use humdrum_evidence::secret::{Options, RuleSet, Scanner};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::samples::{SAMPLES, filled};

/// What has the form of a kind without being one, where a placeholder would be one.
#[rustfmt::skip]
const HARMLESS: &[(&str, &str)] = &[
    ("private-key", "-----BEGIN PUBLIC KEY-----\n{64m}\n{64m}\n-----END PUBLIC KEY-----\n"),
    ("putty-private-key", "PuTTY-User-Key-File-3: ssh-ed25519\nPublic-Lines: 2\n{64m}\n{64m}\n"),
];

fn found(scanner: &Scanner, path: &str, text: &str) -> BTreeSet<String> {
    scanner.scan_bytes(path, text.as_bytes()).into_iter().map(|leak| leak.rule).collect()
}

#[test]
fn every_rule_finds_its_kind_and_no_placeholder_of_it() {
    let scanner = Scanner::new(RuleSet::shipped(), Options::default());
    let mut random = StdRng::seed_from_u64(7);
    let mut covered = BTreeSet::from(["pkcs12-file".to_owned()]);
    for (rule, template) in SAMPLES {
        // A random text may miss a rule's entropy; one that misses it three times is no sample.
        let sample = (0..3).map(|_| filled(template, &mut random, false));
        let hit = sample.filter(|sample| {
            found(&scanner, "src/a.txt", &format!("one\n{sample}\ntwo\n")).contains(*rule)
        });
        assert!(hit.count() > 0, "{rule}: {template} is not found");
        covered.insert((*rule).to_owned());
        let harmless = HARMLESS.iter().find(|(other, _)| other == rule);
        let text = match harmless {
            Some((_, template)) => filled(template, &mut random, false),
            None => filled(template, &mut random, true),
        };
        assert!(
            !found(&scanner, "src/a.txt", &format!("{text}\n")).contains(*rule),
            "{rule}: {text} is found"
        );
    }
    let rules: BTreeSet<String> = scanner.rules().map(|rule| rule.id.clone()).collect();
    assert_eq!(covered, rules, "each rule has a sample");
    assert!(rules.len() >= 60);
    assert_eq!(found(&scanner, "deploy/store.p12", "\0"), BTreeSet::from(["pkcs12-file".into()]));
    assert!(found(&scanner, "deploy/store.pem", "\0").is_empty());
}

#[test]
fn files_that_only_quote_digests_and_names_are_silent() {
    let scanner = Scanner::new(RuleSet::shipped(), Options::default());
    let mut random = StdRng::seed_from_u64(8);
    #[rustfmt::skip]
    let harmless = [
        "checksum = \"{64h}\"", "commit {40h}", "FROM debian@sha256:{64h}", "id: {8h}-{4h}-{4h}-{4h}-{12h}",
        "api_key = os.environ['API_KEY']", "password: ${DATABASE_PASSWORD}", "token = \"<your token here>\"",
        "const tokenizer_configuration_name = \"some_long_name_of_a_setting\"", "secret: {{ vault_secret }}",
        "postgres://user:password@localhost/db", "Authorization: Bearer $TOKEN", "integrity: sha512-{86m}==",
    ];
    for template in harmless {
        let text = filled(&template.replace("{{", "((").replace("${", "$("), &mut random, false);
        let text = text.replace("((", "{{").replace("$(", "${");
        assert_eq!(found(&scanner, "src/a.txt", &text), BTreeSet::new(), "{text}");
    }
}
