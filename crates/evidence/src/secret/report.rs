//! Reports for other programs: SARIF 2.1.0, and gitleaks' own JSON. Neither has the secret, nor the text around it.

use serde_json::{Value, json};

use super::Leak;
use super::rule::Rule;

/// SARIF 2.1.0: the rules that ran, and a result for each leak.
pub fn sarif<'a>(version: &str, rules: impl Iterator<Item = &'a Rule>, leaks: &[Leak]) -> Value {
    let rules: Vec<Value> = rules
        .map(|rule| {
            let text = if rule.description.is_empty() { &rule.id } else { &rule.description };
            json!({
                "id": rule.id,
                "shortDescription": { "text": text },
                "defaultConfiguration": { "level": "error" },
                "properties": { "tags": rule.tags, "security-severity": "8.0" },
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "humdrum", "semanticVersion": version, "rules": rules } },
            "columnKind": "utf16CodeUnits",
            "results": leaks.iter().map(result).collect::<Vec<_>>(),
        }],
    })
}

fn result(leak: &Leak) -> Value {
    let at = leak.commit.as_ref().map_or(String::new(), |commit| format!(" in commit {commit}"));
    let mut place = json!({ "artifactLocation": { "uri": uri(&leak.path) } });
    // A finding by the path alone has no region: lines of SARIF count from 1.
    if leak.start_line > 0 {
        place["region"] = json!({ "startLine": leak.start_line, "endLine": leak.end_line });
    }
    let mut result = json!({
        "ruleId": leak.rule,
        "level": "error",
        "message": { "text": format!("{} found in {}{at}", leak.rule, leak.path) },
        "locations": [{ "physicalLocation": place }],
        "fingerprints": { "humdrum/v1": leak.fingerprint() },
        "properties": { "tags": leak.tags },
    });
    if let Some(commit) = &leak.commit {
        result["partialFingerprints"] = json!({ "commitSha": commit });
    }
    result
}

/// A relative reference: bytes that an address may not have are escaped (RFC 3986).
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=@".contains(&byte) {
            out.push(byte.into());
        } else {
            out += &format!("%{byte:02X}");
        }
    }
    out
}

/// gitleaks' JSON report, which its and this program's `--baseline` read; the secret is `REDACTED`.
pub fn gitleaks(leaks: &[Leak]) -> Value {
    let entry = |leak: &Leak| {
        json!({
            "RuleID": leak.rule,
            "Description": leak.description,
            "StartLine": leak.start_line,
            "EndLine": leak.end_line,
            "StartColumn": leak.start_column,
            "EndColumn": leak.end_column,
            "Match": "REDACTED",
            "Secret": "REDACTED",
            "File": leak.path,
            "SymlinkFile": "",
            "Commit": leak.commit.clone().unwrap_or_default(),
            "Entropy": leak.entropy,
            "Author": "",
            "Email": "",
            "Date": "",
            "Message": "",
            "Tags": leak.tags,
            "Fingerprint": leak.gitleaks_fingerprint(),
        })
    };
    leaks.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::{sarif, uri};
    use crate::secret::{Options, RuleSet, Scanner};

    #[test]
    fn sarif_has_places_and_rules_and_no_secret() {
        let rules = "[[rules]]\nid = 'token'\ndescription = 'A token'\nregex = '''tok_\\w{8}'''\n
            [[rules]]\nid = 'store'\npath = '''\\.p12$'''\n";
        let set = RuleSet::parse("t", rules, &|_| Err(String::new())).unwrap();
        let scanner = Scanner::new(set, Options::default());
        let mut leaks = scanner.scan_bytes("a b.txt", b"\ntok_abcd1234\n");
        leaks.extend(scanner.scan_bytes("k.p12", b"\0"));
        let document = sarif("1.0.0", scanner.rules(), &leaks);
        let run = &document["runs"][0];
        assert_eq!(run["tool"]["driver"]["rules"].as_array().unwrap().len(), 2);
        let place = &run["results"][0]["locations"][0]["physicalLocation"];
        assert_eq!(
            (place["artifactLocation"]["uri"].as_str(), place["region"]["startLine"].as_u64()),
            (Some("a%20b.txt"), Some(2))
        );
        assert!(run["results"][1]["locations"][0]["physicalLocation"].get("region").is_none());
        assert!(!document.to_string().contains("abcd1234"));
    }

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("a/b c#ä.txt"), "a/b%20c%23%C3%A4.txt");
    }
}
