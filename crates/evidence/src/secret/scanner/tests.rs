//! What rules find: each key by itself, and the planned search beside a search of the whole text.

use super::*;
use crate::secret::RuleSet;

fn scanner(rules: &str) -> Scanner {
    let set = RuleSet::parse("test.toml", rules, &|_| Err("no".into())).unwrap();
    Scanner::new(set, Options::default())
}

/// `rule:line` of everything found, sorted.
fn found(scanner: &Scanner, path: &str, text: &str) -> Vec<String> {
    let mut all: Vec<String> = scanner
        .scan_bytes(path, text.as_bytes())
        .iter()
        .map(|leak| format!("{}:{}", leak.rule, leak.start_line))
        .collect();
    all.sort();
    all
}

const TOKEN: &str = r"
[[rules]]
id = 'token'
regex = '''tok_([a-z0-9]{8})'''
keywords = ['tok_']
";

#[test]
fn keys_of_a_rule_mean_what_they_say() {
    #[rustfmt::skip]
    let cases: [(&str, &str, &str, &[&str]); 14] = [
        ("", "a.txt", "x\ntok_abcd1234\n", &["token:2"]),
        ("", "a.txt", "tok_abcd1234 tok_abcd5678", &["token:1", "token:1"]),
        ("", "a.txt", "tok_abc", &[]),
        ("entropy = 2.5", "a.txt", "tok_aaaaaaa1 \ntok_abcd1234", &["token:2"]),
        ("path = '''\\.env$'''", "a.txt", "tok_abcd1234", &[]),
        ("path = '''\\.env$'''", "b/.env", "tok_abcd1234", &["token:1"]),
        ("[[rules.allowlists]]\nregexes = ['''^abcd''']", "a.txt", "tok_abcd1234\ntok_bbcd1234", &["token:2"]),
        ("[[rules.allowlists]]\nregexTarget = 'line'\nregexes = ['''mock''']", "a.txt", "tok_abcd1234 mock\ntok_abcd1234", &["token:2"]),
        ("[[rules.allowlists]]\nregexTarget = 'match'\nregexes = ['''tok_a''']", "a.txt", "tok_abcd1234", &[]),
        ("[[rules.allowlists]]\nstopwords = ['BCD']", "a.txt", "tok_abcd1234", &[]),
        ("[[rules.allowlists]]\npaths = ['''^test/''']", "test/a.txt", "tok_abcd1234", &[]),
        ("[[rules.allowlists]]\ncondition = 'AND'\npaths = ['''^test/''']\nregexes = ['''1$''']", "test/a.txt", "tok_abcd1234\ntok_abcd1231", &["token:1"]),
        ("[rules.allowlist]\nregexes = ['''^abcd''']", "a.txt", "tok_abcd1234", &[]),
        ("", "a.txt", "tok_abcd1234 # gitleaks:allow\n", &[]),
    ];
    for (more, path, text, expected) in cases {
        assert_eq!(
            found(&scanner(&format!("{TOKEN}{more}")), path, text),
            expected,
            "{more:?} on {path}: {text:?}"
        );
    }
}

#[test]
fn a_required_rule_must_match_nearby() {
    let rules = format!(
        "{TOKEN}\n[[rules.required]]\nid = 'user'\nwithinLines = 1\n
        [[rules]]\nid = 'user'\nregex = '''user=\\w+'''\nkeywords = ['user']\nskipReport = true\n"
    );
    let scanner = scanner(&rules);
    assert_eq!(found(&scanner, "a", "user=me\ntok_abcd1234\n"), ["token:2"]);
    assert_eq!(found(&scanner, "a", "user=me\n\n\ntok_abcd1234\n"), [""; 0]);
    assert_eq!(found(&scanner, "a", "tok_abcd1234\n"), [""; 0]);
}

#[test]
fn a_generic_rule_gives_way_to_a_precise_one() {
    let rules = format!(
        "{TOKEN}\n[[rules]]\nid = 'generic-key'\nregex = '''key=tok_([a-z0-9]+)'''\nkeywords = ['key']\n"
    );
    let scanner = scanner(&rules);
    assert_eq!(found(&scanner, "a", "key=tok_abcd1234\n"), ["token:1"]);
    assert_eq!(found(&scanner, "a", "key=tok_abcd12345\n"), ["generic-key:1", "token:1"]);
}

#[test]
fn a_rule_of_paths_alone_finds_binary_files_too() {
    let scanner = scanner("[[rules]]\nid = 'store'\npath = '''\\.p12$'''\n");
    assert_eq!(found(&scanner, "a/key.p12", "\0\0"), ["store:0"]);
    assert_eq!(found(&scanner, "a/key.txt", "\0\0"), [""; 0]);
}

#[test]
fn a_secret_in_base64_is_found_at_its_place() {
    use base64::Engine;
    let scanner = scanner(TOKEN);
    let hidden = base64::engine::general_purpose::STANDARD.encode("is tok_abcd1234 here");
    let leaks = scanner.scan_bytes("a", format!("x\ny: {hidden}\n").as_bytes());
    assert_eq!(leaks.len(), 1);
    assert_eq!(
        (leaks[0].start_line, &leaks[0].tags[..]),
        (2, &["decoded:base64".to_owned(), "decode-depth:1".into()][..])
    );
    let plain = Scanner::new(
        RuleSet::parse("t", TOKEN, &|_| Err(String::new())).unwrap(),
        Options { decode_depth: 0, ..Options::default() },
    );
    assert!(plain.scan_bytes("a", format!("x\ny: {hidden}\n").as_bytes()).is_empty());
}

/// Text in which keywords, near misses and secrets of the shipped rules stand close together.
fn noise(seed: u64) -> String {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let words = [
        "key",
        "=",
        "\"",
        "'",
        " ",
        "\n",
        "api",
        "token",
        ":",
        "password",
        "tok_",
        "abcd1234",
        "ghp",
        "_",
        "AKIA",
        "0a1b2c3d4e5f",
        "Z9y8X7w6V5u4",
        "secret",
        "-",
        ".",
        "sk",
        "https://",
        "u",
        "@",
        "host",
        ",",
        "aws_secret",
        "xoxb-",
        "é",
        "\"Z9y8X7w6V5u4T3s2R1\"",
        " = ",
        ": ",
    ];
    (0..400).map(|_| words[next(words.len())]).collect()
}

/// Keywords only say where to look: the planned search finds what a search of the whole text finds.
#[test]
fn the_planned_search_equals_a_search_of_the_whole_text() {
    let planned = Scanner::new(RuleSet::shipped(), Options::default());
    let mut whole = Scanner::new(RuleSet::shipped(), Options::default());
    assert!(whole.rules.iter().filter(|rule| rule.anchors.is_some()).count() > 100);
    for prepared in &mut whole.rules {
        prepared.anchors = None;
    }
    let mut seen = 0;
    for seed in 1..300 {
        let text = noise(seed);
        let mut found = planned.scan_bytes("a.txt", text.as_bytes());
        let mut expected = whole.scan_bytes("a.txt", text.as_bytes());
        found.sort_by(Leak::compare);
        expected.sort_by(Leak::compare);
        assert_eq!(found, expected, "{text}");
        seen += found.len();
        assert!(found.is_empty() || planned.may_leak(text.as_bytes()), "{text}");
    }
    assert!(seen > 20, "the noise makes {seen} findings");
}
