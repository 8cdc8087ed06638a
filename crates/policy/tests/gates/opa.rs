//! The engine against `opa`, the reference: the same policies and inputs must give the same sentences.
//!
//! Both run with strict built-in errors, as the gates do. `scripts/test-tools.sh` installs `opa`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use humdrum_policy::document::Document;
use humdrum_policy::lint::{self, Status};
use humdrum_policy::shipped::SHIPPED;
use humdrum_policy::{Policies, Sources};
use serde_json::{Value, json};

use crate::world;

/// Where the tests' tools are, else the PATH.
fn opa() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/bin/opa");
    if own.exists() { own } else { "opa".into() }
}

fn run(command: &mut Command) -> Value {
    let output = command.output().expect("opa is there: scripts/test-tools.sh");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Bodies of rules over an input, each in a package of its own: the parts of the language that policies use.
#[rustfmt::skip]
const BODIES: &[&str] = &[
    "some x in input.list; x > 2; msg := sprintf(\"%d\", [x])",
    "some i, x in input.list; i != x; msg := sprintf(\"%d:%v\", [i, x])",
    "some k, v in input.object; msg := sprintf(\"%s=%v\", [k, v])",
    "not input.absent; msg := \"absent\"",
    "not input.list; msg := \"never\"",
    "input.name == \"shop\"; msg := input.name",
    "every x in input.list { x > 0 }; msg := \"all\"",
    "every x in input.list { x > 1 }; msg := \"never\"",
    "count({x | some x in input.list; x % 2 == 0}) == 2; msg := \"two even\"",
    "msg := concat(\",\", [s | some x in input.list; s := format_int(x, 10)])",
    "msg := concat(\",\", sort([upper(w) | some w in input.words]))",
    "some w in input.words; startswith(w, \"a\"); msg := w",
    "some w in input.words; regex.match(`^[a-z]+a$`, w); msg := w",
    "some w in input.words; glob.match(\"*a\", [], w); msg := w",
    "some w in input.words; contains(w, \"an\"); msg := replace(w, \"an\", \"AN\")",
    "msg := sprintf(\"%v\", [sum(input.list)])",
    "msg := sprintf(\"%v %v\", [max(input.list), min(input.list)])",
    "msg := sprintf(\"%v\", [product(input.list)])",
    "msg := sprintf(\"%v\", [round(input.number)])",
    "msg := sprintf(\"%v\", [ceil(input.number) + floor(input.number)])",
    "msg := sprintf(\"%v\", [abs(0 - input.number)])",
    "msg := sprintf(\"%v\", [to_number(\"12.5\") * 2])",
    "msg := sprintf(\"%s\", [lower(\"ÄBC\")])",
    "msg := trim(\"  x \", \" \")",
    "msg := trim_prefix(\"v1.2\", \"v\")",
    "msg := split(\"a/b/c\", \"/\")[1]",
    "msg := substring(\"hello\", 1, 3)",
    "msg := substring(\"hello\", 1, -1)",
    "msg := sprintf(\"%v\", [indexof(\"hello\", \"l\")])",
    "msg := json.marshal({\"a\": [1, 2], \"b\": null})",
    "msg := json.unmarshal(\"{\\\"a\\\": \\\"x\\\"}\").a",
    "msg := base64.encode(\"hello\")",
    "msg := base64.decode(\"aGVsbG8=\")",
    "msg := hex.encode(\"hi\")",
    "msg := urlquery.encode(\"a b&c\")",
    "msg := sprintf(\"%v\", [semver.compare(\"1.2.3\", \"1.10.0\")])",
    "semver.is_valid(\"1.2.3-rc.1\"); msg := \"valid\"",
    "msg := sprintf(\"%v\", [time.parse_rfc3339_ns(\"2026-11-21T00:00:00Z\")])",
    "msg := sprintf(\"%v\", [time.date(1795000000000000000)])",
    "msg := sprintf(\"%v\", [time.weekday(1795000000000000000)])",
    "msg := sprintf(\"%v\", [time.add_date(1795000000000000000, 0, 1, 0)])",
    "msg := time.format(1795000000000000000)",
    "net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\"); msg := \"inside\"",
    "object.get(input, \"absent\", 7) == 7; msg := \"default\"",
    "msg := concat(\",\", sort(object.keys(input.object)))",
    "object.union({\"a\": 1}, {\"b\": 2}).b == 2; msg := \"union\"",
    "count(object.remove(input.object, [\"a\"])) == 1; msg := \"removed\"",
    "msg := sprintf(\"%v\", [array.concat([1], [2, 3])])",
    "msg := sprintf(\"%v\", [array.slice(input.list, 1, 3)])",
    "msg := sprintf(\"%v\", [array.reverse(input.list)])",
    "msg := sprintf(\"%v\", [numbers.range(1, 4)])",
    "{1, 2} & {2, 3} == {2}; msg := \"and\"",
    "({1, 2} | {3}) == {1, 2, 3}; msg := \"or\"",
    "({1, 2} - {2}) == {1}; msg := \"minus\"",
    "union({{1}, {2}}) == {1, 2}; msg := \"union of sets\"",
    "is_null(input.nothing); msg := \"null\"",
    "input.nothing == null; msg := \"null too\"",
    "is_string(input.name); is_number(input.number); is_array(input.list); is_object(input.object); msg := \"types\"",
    "msg := type_name(input.list)",
    "x := {\"k\": v | some v in input.list; v == 3}; msg := sprintf(\"%v\", [x.k])",
    "walk(input.tree, [path, value]); value == \"leaf\"; msg := sprintf(\"%v\", [path])",
    "input.list[_] == 4; msg := \"four\"",
    "input.list[i] == 3; msg := sprintf(\"%d\", [i])",
    "[a, b] := [1, 2]; msg := sprintf(\"%d\", [a + b])",
    "{\"a\": x} = {\"a\": 5}; msg := sprintf(\"%d\", [x])",
    "x := 7 % 3; y := 7 / 2; msg := sprintf(\"%v %v\", [x, y])",
    "input.number > 2; input.number <= 2.5; msg := \"between\"",
    "\"ban\" in {\"ban\", \"x\"}; msg := \"in\"",
    "not \"nope\" in input.words; msg := \"not in\"",
    "null < 1; 1 < \"a\"; \"a\" < [1]; msg := \"order of types\"",
    "input.list != [1]; msg := \"differs\"",
    "msg := sprintf(\"%s is %d of %v%%\", [\"x\", 3, 50])",
    "msg := sprintf(\"%v\", [{\"b\": 1, \"a\": [true, null]}])",
    "msg := sprintf(\"%q\", [\"quo\\\"te\"])",
    "msg := sprintf(\"%05.1f\", [2.25])",
    "msg := sprintf(\"%x\", [255])",
    "graph.reachable({\"a\": [\"b\"], \"b\": []}, {\"a\"}) == {\"a\", \"b\"}; msg := \"reached\"",
    "strings.count(\"banana\", \"an\") == 2; msg := \"counted\"",
    "strings.any_prefix_match(\"banana\", {\"ba\", \"x\"}); msg := \"prefix\"",
    "strings.reverse(\"abc\") == \"cba\"; msg := \"reversed\"",
    "regex.split(`,\\s*`, \"a, b,c\") == [\"a\", \"b\", \"c\"]; msg := \"split\"",
    "msg := regex.replace(\"a1b2\", `[0-9]`, \"-\")",
    "regex.find_n(`[0-9]`, \"a1b2\", -1) == [\"1\", \"2\"]; msg := \"found\"",
    "msg := yaml.marshal({\"a\": 1})",
    "yaml.unmarshal(\"a: [1, 2]\").a[1] == 2; msg := \"yaml\"",
    "bits.and(6, 3) == 2; msg := \"bits\"",
    "units.parse_bytes(\"1KiB\") == 1024; msg := \"bytes\"",
    "x := input.object.a; x == 1 ; msg := \"dotted\"",
    "x := input[\"object\"][\"a\"]; x == 1 ; msg := \"bracketed\"",
    "count(input.words) > 2; msg := \"three\" with input.words as [\"x\"]",
    "data.shared.limit == 3; msg := \"data\"",
    "data.shared.double(2) == 4; msg := \"function\"",
    "data.shared.kind(5) == \"big\"; msg := \"else\"",
    "data.shared.kind(1) == \"small\"; msg := \"else again\"",
    "data.shared.default_off == false; msg := \"default\"",
    "data.shared.picked[\"b\"]; msg := \"partial object\"",
    "data.shared.letters == {\"a\", \"b\"}; msg := \"partial set\"",
    "msg := sprintf(\"%v\", [[x | some x in input.list; x > 2; x < 4]])",
    "some x in input.list; some y in input.list; x + y == 7; x < y; msg := sprintf(\"%d+%d\", [x, y])",
    "msg := {\"msg\": \"object\", \"rule\": \"named\", \"fix\": \"do it\"}",
    "some f in input.findings; f.severity in {\"high\", \"critical\"}; f.fixed != null; msg := sprintf(\"%s: %s\", [f.id, f.fixed])",
    "worst := {f.severity | some f in input.findings}; \"critical\" in worst; msg := \"critical there\"",
];

/// Differences that docs/gates.md explains. None lets through what the other refuses: the engine fails, and a failure denies.
const KNOWN: &[&str] = &["msg := sprintf(\"%05.1f\", [2.25])"];

const SHARED: &str = "package shared\n\nlimit := 3\n\ndouble(x) := x * 2\n\nkind(x) := \"big\" if {\n\tx > 3\n} else := \"small\"\n\ndefault default_off := false\n\ndefault_off if input.never\n\npicked[k] if some k in [\"a\", \"b\"]\n\nletters contains k if some k in [\"a\", \"b\"]\n";

fn inputs() -> Vec<Value> {
    let input = json!({
        "name": "shop", "number": 2.5, "nothing": null,
        "list": [1, 2, 3, 4], "words": ["banana", "apple", "pear"],
        "object": { "a": 1, "b": [2] }, "tree": { "x": { "y": "leaf" }, "z": ["leaf"] },
        "findings": [
            { "id": "A", "severity": "critical", "fixed": "1.2" },
            { "id": "B", "severity": "high", "fixed": null },
            { "id": "C", "severity": "low", "fixed": "3" },
        ],
    });
    let mut other = input.clone();
    other["list"] = json!([2, 3, 5]);
    other["words"] = json!(["x"]);
    other["name"] = json!("Laden");
    other["findings"] = json!([]);
    vec![input, other]
}

/// What `deny` says in every package, as the reference sees it, and as we do.
#[test]
fn the_same_policies_and_inputs_give_the_same_sentences() {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Sources::default();
    sources.policies.push(("shared.rego".into(), SHARED.into()));
    for (number, body) in BODIES.iter().enumerate() {
        let text = format!(
            "package case{number:03}\n\ndeny contains msg if {{\n\t{}\n}}\n",
            body.replace("; ", "\n\t")
        );
        // A body may hold `; ` inside of a comprehension or text: then it stays one line.
        let text = if body.contains("; ") && (body.contains('|') || body.contains('{')) {
            format!("package case{number:03}\n\ndeny contains msg if {{ {body} }}\n")
        } else {
            text
        };
        sources.policies.push((format!("case{number:03}.rego"), text));
    }
    for (name, text) in &sources.policies {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    // One by one: where a built-in fails, the whole evaluation is refused.
    let shared = sources.policies[0].clone();
    let mut ours: Vec<Result<Policies, _>> = sources.policies[1..]
        .iter()
        .map(|case| {
            let policies = vec![shared.clone(), case.clone()];
            Policies::load(&Sources { policies, data: vec![] })
        })
        .collect();
    let (mut compared, mut spoke, mut differ) = (0, BTreeSet::new(), BTreeSet::new());
    for input in inputs() {
        let file = folder.path().join("input.json");
        std::fs::write(&file, input.to_string()).unwrap();
        let said = run(Command::new(opa())
            .args(["eval", "--format", "json", "--strict-builtin-errors", "--data"])
            .arg(folder.path())
            .arg("--input")
            .arg(&file)
            .arg("data"));
        let theirs = &said["result"][0]["expressions"][0]["value"];
        let value = regorus::Value::from_json_str(&input.to_string()).unwrap();
        for (number, body) in BODIES.iter().enumerate() {
            let package = format!("case{number:03}");
            let own: Result<BTreeSet<String>, String> = match &mut ours[number] {
                Ok(policies) => policies.say(value.clone(), 0).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
            .map(|said| {
                let of_case = said.into_iter().filter(|said| said.package == package);
                of_case.map(|said| said.msg).collect()
            });
            let text = |item: &Value| {
                item.as_str().or_else(|| item["msg"].as_str()).unwrap_or_default().to_owned()
            };
            let theirs = theirs[&package]["deny"].as_array().cloned().unwrap_or_default();
            let theirs: BTreeSet<String> = theirs.iter().map(text).collect();
            compared += 1;
            if !theirs.is_empty() {
                spoke.insert(number);
            }
            if own.as_ref() != Ok(&theirs) && !KNOWN.contains(body) {
                differ.insert(format!("{body}\n  ours {own:?}\n  opa  {theirs:?}"));
            }
        }
    }
    assert!(compared >= 200, "{compared} comparisons");
    assert!(spoke.len() >= 90, "{} of {} say something", spoke.len(), BODIES.len());
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// The shipped policies over every release of the corpus, by both engines.
#[test]
fn the_shipped_policies_say_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for shipped in SHIPPED {
        std::fs::write(folder.path().join(format!("{}.rego", shipped.name)), shipped.text).unwrap();
    }
    // All documents in one question, so that the other engine starts once.
    let documents: Vec<Value> = world::corpus()
        .iter()
        .map(|facts| serde_json::to_value(Document::of(facts)).unwrap())
        .collect();
    std::fs::write(folder.path().join("data.json"), json!({ "documents": documents }).to_string())
        .unwrap();
    let query = "[said | some document in data.documents; said := {{rule | some rules in data.humdrum with input as document; some d in object.get(rules, \"deny\", set()); rule := sprintf(\"deny %s %s\", [d.rule, d.msg])}, {rule | some rules in data.humdrum with input as document; some d in object.get(rules, \"warn\", set()); rule := sprintf(\"warn %s %s\", [d.rule, d.msg])}}]";
    let said = run(Command::new(opa())
        .args(["eval", "--format", "json", "--strict-builtin-errors", "--data"])
        .arg(folder.path())
        .arg(query));
    let theirs = said["result"][0]["expressions"][0]["value"].as_array().unwrap().clone();
    assert_eq!(theirs.len(), documents.len());
    let mut policies = world::policies();
    for ((facts, theirs), document) in world::corpus().iter().zip(&theirs).zip(&documents) {
        let value = serde_json::from_value(document.clone()).unwrap();
        let results = policies.say(value, 0).unwrap();
        let own: BTreeSet<String> = results
            .iter()
            .map(|said| {
                let level =
                    if said.level == humdrum_model::verdict::Level::Deny { "deny" } else { "warn" };
                format!("{level} {} {}", said.rule, said.msg)
            })
            .collect();
        let theirs: BTreeSet<String> = theirs
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|level| level.as_array().unwrap())
            .map(|rule| rule.as_str().unwrap().to_owned())
            .collect();
        assert_eq!(own, theirs, "{:?}", facts.scans);
    }
}

/// Every built-in of the reference is here or refused; the refused ones are those that docs/gates.md lists.
#[test]
fn what_the_engine_lacks_is_refused_and_told() {
    let capabilities = run(Command::new(opa()).args(["capabilities", "--current"]));
    let names: Vec<&str> = capabilities["builtins"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|builtin| builtin.get("infix").is_none())
        .filter_map(|builtin| builtin["name"].as_str())
        .filter(|name| !name.starts_with("internal.") && !name.starts_with("rego.metadata"))
        .collect();
    assert!(names.len() > 150, "{}", names.len());
    let refused: Vec<&str> =
        names.iter().copied().filter(|name| lint::ask(name) != Status::There).collect();
    for certain in [
        "http.send",
        "io.jwt.decode_verify",
        "crypto.sha256",
        "net.lookup_ip_addr",
        "opa.runtime",
        "rand.intn",
    ] {
        assert!(refused.contains(&certain), "{certain}");
    }
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/gates.md");
    let page = std::fs::read_to_string(page).unwrap();
    let told = page.split("<!-- refused -->").nth(1).unwrap_or_default();
    let told: BTreeSet<&str> = told.split('`').skip(1).step_by(2).collect();
    let missing: Vec<_> = refused.iter().filter(|name| !told.contains(**name)).collect();
    assert!(
        missing.is_empty(),
        "docs/gates.md does not list: {}",
        refused.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
    );
}
