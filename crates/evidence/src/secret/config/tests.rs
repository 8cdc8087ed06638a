//! Mistakes in rule files get their place; what is right means what gitleaks means.

use super::{Open, RuleSet, SHIPPED};

const NOTHING: &Open = &|_| Err("there is none".into());

fn rule(more: &str) -> String {
    format!("[[rules]]\nid = 'a'\nregex = 'x'\n{more}\n")
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    #[rustfmt::skip]
    let cases = [
        ("[[rules]", "1:9: it is not TOML", None),
        ("[[rules]]\nregex = 'x'", "2:1: a rule has no `id`", None),
        ("[[rules]]\nid = 'a'", "2:1: rule `a` has neither `regex` nor `path` and finds nothing", None),
        (&rule("keyword = ['a']"), "4:1: `rules` has no key `keyword`", Some("did you mean `keywords`?")),
        (&rule("sevrity = 'high'"), "4:1: `rules` has no key `sevrity`", Some("it knows id, description")),
        (&rule("file = 'x'"), "4:1: `file` of `rules` is not supported by gitleaks 8 rule files", Some("write `path`")),
        ("[whitelist]\nfiles = ['x']", "1:2: `whitelist` of the file is not supported", Some("write `[[allowlists]]`")),
        (&rule("regex = 1"), "4:1: it is not TOML: duplicate key", None),
        (&rule("keywords = [1]"), "4:13: an entry of `keywords` is not a string", None),
        (&rule("entropy = 'much'"), "4:11: `entropy` is not a number", None),
        (&rule("secretGroup = 1"), "4:15: `secretGroup` is 1, but the regex has 0 groups", None),
        (&rule("secretGroup = -1"), "4:15: `secretGroup` is not a whole number from 0 on", None),
        (&rule("path = '(?=x)'"), "4:8: `path` cannot be used: it looks around", None),
        (&rule("[[rules.allowlists]]\ndescription = 'x'"), "5:1: an allowlist has none of", None),
        (&rule("[[rules.allowlists]]\ncondition = 'xor'\nregexes = ['x']"), "5:13: `condition` is `xor`", None),
        (&rule("[[rules.allowlists]]\nregexTarget = 'file'\nregexes = ['x']"), "5:15: `regexTarget` is `file`", None),
        (&rule("[[rules.allowlists]]\nregexes = ['x', '[']"), "5:17: `regexes` cannot be used: `[` has no end", None),
        (&rule("[rules.allowlist]\nregexes = ['x']\n[[rules.allowlists]]\nregexes = ['x']"), "5:1: `[rules.allowlist]` is the old form", None),
        (&rule("[[rules.required]]\nid = 'b'"), "5:6: `required` names `b`, which is no rule of this file", None),
        (&rule("[[allowlists]]\ntargetRules = ['aa']\nregexes = ['x']"), "5:15: `targetRules` names `aa`, which is no rule", None),
        ("[extend]\nurl = 'https://example.com'", "2:7: `extend.url` is not supported", Some("fetch the file")),
        ("[extend]\npath = 'b'\nuseDefault = true", "2:1: `extend.path` and `extend.useDefault` exclude each other", None),
        ("[extend]\npath = 'b'", "2:8: `b` cannot be read: there is none", None),
    ];
    for (text, expected, hint) in cases {
        let error = RuleSet::parse("f.toml", text, NOTHING).map(|_| ()).expect_err(text);
        assert!(error.to_string().starts_with(&format!("f.toml:{expected}")), "{text}\n{error}");
        if let Some(hint) = hint {
            assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{text}\n{error:?}");
        }
    }
}

#[test]
fn keys_may_be_written_in_any_case_and_lists_as_one_string() {
    let text = rule("secretgroup = 0\nkeyWords = 'A,b'\nEntropy = '3.5'");
    let set = RuleSet::parse("f.toml", &text, NOTHING).unwrap();
    assert_eq!(set.rules["a"].keywords, ["a", "b"]);
    assert!((set.rules["a"].entropy - 3.5).abs() < 1e-9);
}

#[test]
fn a_file_changes_the_rules_of_the_file_that_it_extends() {
    let base = "[[rules]]\nid = 'a'\nregex = 'x'\nkeywords = ['k']\nentropy = 1\n
        [[rules]]\nid = 'b'\nregex = 'y'\n[[allowlists]]\npaths = ['p']\n";
    let open: &Open = &|path| if path == "base.toml" { Ok(base.into()) } else { Err("no".into()) };
    let text = "[extend]\npath = 'base.toml'\ndisabledRules = ['b', 'c']\n
        [[rules]]\nid = 'a'\nentropy = 2\nkeywords = ['l']\n
        [[allowlists]]\ntargetRules = ['a']\nregexes = ['z']\n";
    let set = RuleSet::parse("f.toml", text, open).unwrap();
    assert_eq!(set.rules.keys().collect::<Vec<_>>(), ["a"]);
    let rule = &set.rules["a"];
    assert_eq!((rule.regex.as_ref().unwrap().source(), rule.entropy), ("x", 2.0));
    assert_eq!(rule.keywords, ["k", "l"]);
    assert_eq!((rule.allowlists.len(), set.allowlists.len()), (1, 1));
    assert_eq!(set.remarks, ["f.toml: `disabledRules` names `c`, which is no rule there"]);
}

#[test]
fn extension_ends_though_a_file_extends_itself() {
    let open: &Open =
        &|_| Ok("[extend]\npath = 'f.toml'\n[[rules]]\nid = 'a'\nregex = 'x'\n".into());
    assert_eq!(RuleSet::parse("f.toml", &open("").unwrap(), open).unwrap().rules.len(), 1);
}

#[test]
fn the_shipped_rules_are_read_and_extended() {
    let shipped =
        RuleSet::parse("humdrum.toml", SHIPPED, NOTHING).unwrap_or_else(|error| panic!("{error}"));
    assert!(shipped.rules.len() >= 60 && shipped.remarks.is_empty());
    let mine = RuleSet::parse("f.toml", "[extend]\nuseDefault = true\n", NOTHING).unwrap();
    assert_eq!(mine.rules.len(), shipped.rules.len());
}
