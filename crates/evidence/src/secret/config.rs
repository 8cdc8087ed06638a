//! Rule files in gitleaks' TOML form (8.30), complete: extension, old and new allowlists, required rules.
//!
//! Keys are read in any case, as gitleaks reads them. Where gitleaks ignores what it does not know, this refuses it with its place:
//! a misspelt allowlist would otherwise silently allow nothing, a misspelt rule find nothing.
//! Source of the form: <https://github.com/gitleaks/gitleaks#configuration>.

mod read;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use aho_corasick::AhoCorasick;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use self::read::{Document, Table};
use super::pattern::Pattern;
use super::rule::{Allowlist, Required, Rule, Target};

/// The rules that come with this program, in the same form.
pub const SHIPPED: &str = include_str!("../../rules/humdrum.toml");

/// Largest rule file, bytes; gitleaks' own has 120 kB.
pub const CONFIG_BYTES_MAX: usize = 16 << 20;
/// How often a file may extend another one that extends another one; gitleaks' own limit.
const EXTENSIONS_MAX: usize = 2;

/// Rules and what is allowed everywhere.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    pub rules: BTreeMap<String, Rule>,
    pub allowlists: Vec<Arc<Allowlist>>,
    /// What is odd but no error, for the person who wrote the file.
    pub remarks: Vec<String>,
}

/// Why a rule file cannot be used. Lines and columns count from 1; both are 0 where the file as a whole is meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}:{column}: {what}")]
pub struct ConfigError {
    pub file: String,
    pub line: usize,
    pub column: usize,
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
}

/// Opens a file that another one extends; tells its text, or why there is none.
pub type Open<'a> = dyn Fn(&str) -> Result<String, String> + 'a;

impl RuleSet {
    /// The rules that come with this program.
    pub fn shipped() -> Self {
        Self::parse("humdrum.toml", SHIPPED, &|path| Err(format!("`{path}` is not shipped")))
            .expect("a test reads the shipped rules")
    }

    /// Reads a rule file; `open` answers for `extend.path`, and `extend.useDefault` takes the shipped rules.
    pub fn parse(file: &str, text: &str, open: &Open) -> Result<Self, ConfigError> {
        read_file(file, text, open, 0)
    }
}

/// A file before what it targets at single rules is given to them.
#[derive(Default)]
struct Extension<'a> {
    path: Option<Spanned<&'a str>>,
    default: Option<std::ops::Range<usize>>,
    disabled: Vec<String>,
}

fn read_file(file: &str, text: &str, open: &Open, depth: usize) -> Result<RuleSet, ConfigError> {
    let document = Document::new(file, text)?;
    let root = document.parse()?;
    let root = document.table(root.get_ref(), "the file", &read::ROOT)?;
    let mut set = RuleSet::default();
    for table in root.tables("rules")? {
        let rule = rule(&document, &table)?;
        if set.rules.contains_key(&rule.id) {
            set.remarks
                .push(format!("{file}: rule `{}` stands there twice; the last counts", rule.id));
        }
        set.rules.insert(rule.id.clone(), rule);
    }
    let targeted = allowlists(&document, &root, &mut set)?;
    check_required(&document, &root, &set)?;
    let extension = extension(&document, &root)?;
    if depth < EXTENSIONS_MAX {
        extend(&document, &extension, &mut set, open, depth)?;
    }
    if depth == 0 {
        check_whole(&document, &root, &set)?;
    }
    for (ids, allowlist, place) in targeted {
        for id in ids {
            let Some(rule) = set.rules.get_mut(&id) else {
                let what = format!("`targetRules` names `{id}`, which is no rule");
                return Err(document.error_near(
                    place,
                    what,
                    &id,
                    set.rules.keys().map(String::as_str),
                ));
            };
            rule.allowlists.push(allowlist.clone());
        }
    }
    Ok(set)
}

fn rule(document: &Document, table: &Table) -> Result<Rule, ConfigError> {
    let place = table.place.clone();
    let Some(id) = table.text("id")?.filter(|id| !id.trim().is_empty()) else {
        return Err(document.error(place, "a rule has no `id`"));
    };
    let regex = table.pattern("regex")?;
    let secret_group = table.number("secretgroup")?.unwrap_or(0) as usize;
    if let Some(regex) = &regex
        && secret_group > regex.groups()
    {
        let what =
            format!("`secretGroup` is {secret_group}, but the regex has {} groups", regex.groups());
        return Err(document.error(table.span("secretgroup"), what));
    }
    let keywords = table.texts("keywords")?.iter().map(|word| word.to_lowercase()).collect();
    let mut lists = table.tables("allowlists")?;
    if let Some(old) = table.table("allowlist")? {
        if !lists.is_empty() {
            let what = "`[rules.allowlist]` is the old form and cannot stand beside `[[rules.allowlists]]`";
            return Err(document.error(old.place, what));
        }
        lists = vec![old];
    }
    let mut required = Vec::new();
    for table in table.tables("required")? {
        let Some(id) = table.text("id")?.filter(|id| !id.is_empty()) else {
            return Err(document.error(table.place, "a required rule has no `id`"));
        };
        required.push(Required {
            id: id.into(),
            within_lines: table.number("withinlines")?,
            within_columns: table.number("withincolumns")?,
        });
    }
    Ok(Rule {
        id: id.into(),
        description: table.text("description")?.unwrap_or_default().into(),
        regex: regex.map(Arc::new),
        path: table.pattern("path")?.map(Arc::new),
        entropy: table.decimal("entropy")?.unwrap_or(0.0),
        secret_group,
        keywords,
        tags: table.texts("tags")?.into_iter().map(str::to_owned).collect(),
        allowlists: lists
            .iter()
            .map(|list| allowlist(document, list).map(Arc::new))
            .collect::<Result<_, _>>()?,
        required,
        skip_report: table.flag("skipreport")?.unwrap_or(false),
    })
}

fn allowlist(document: &Document, table: &Table) -> Result<Allowlist, ConfigError> {
    let all = match table.text("condition")?.unwrap_or_default().to_uppercase().as_str() {
        "" | "OR" | "||" => false,
        "AND" | "&&" => true,
        other => {
            let what =
                format!("`condition` is `{}`, which is neither AND nor OR", other.to_lowercase());
            return Err(document.error(table.span("condition"), what));
        }
    };
    let target = match table.text("regextarget")?.unwrap_or_default() {
        "" | "secret" => Target::Secret,
        "match" => Target::Match,
        "line" => Target::Line,
        other => {
            let what =
                format!("`regexTarget` is `{other}`, which is none of secret, match and line");
            return Err(document.error(table.span("regextarget"), what));
        }
    };
    let commits: HashSet<String> =
        table.texts("commits")?.iter().map(|commit| commit.trim().to_lowercase()).collect();
    let paths = table.patterns("paths")?;
    let regexes = table.patterns("regexes")?;
    let stopwords = table.texts("stopwords")?;
    if commits.is_empty() && paths.is_none() && regexes.is_none() && stopwords.is_empty() {
        let what = "an allowlist has none of `commits`, `paths`, `regexes` and `stopwords`";
        return Err(document.error(table.place.clone(), what));
    }
    let stopwords = (!stopwords.is_empty()).then(|| {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .build(stopwords.iter().map(|word| word.to_lowercase()))
            .expect("a rule file is too small for too many words")
    });
    Ok(Allowlist { all, commits, paths, regexes, target, stopwords })
}

/// Rules, the allowlist that is theirs alone, and where it stands.
type Targeted = Vec<(Vec<String>, Arc<Allowlist>, std::ops::Range<usize>)>;

/// The allowlists of the whole file; those for single rules are given back.
fn allowlists(
    document: &Document,
    root: &Table,
    set: &mut RuleSet,
) -> Result<Targeted, ConfigError> {
    let mut lists = root.tables("allowlists")?;
    if let Some(old) = root.table("allowlist")? {
        if !lists.is_empty() {
            let what = "`[allowlist]` is the old form and cannot stand beside `[[allowlists]]`";
            return Err(document.error(old.place, what));
        }
        lists = vec![old];
    }
    let mut targeted = Vec::new();
    for table in lists {
        let list = Arc::new(allowlist(document, &table)?);
        let ids: Vec<String> = table.texts("targetrules")?.into_iter().map(str::to_owned).collect();
        if ids.is_empty() {
            set.allowlists.push(list);
        } else {
            targeted.push((ids, list, table.span("targetrules")));
        }
    }
    Ok(targeted)
}

fn check_required(document: &Document, root: &Table, set: &RuleSet) -> Result<(), ConfigError> {
    for table in root.tables("rules")? {
        for required in table.tables("required")? {
            let id = required.text("id")?.unwrap_or_default();
            if !set.rules.contains_key(id) {
                let what = format!("`required` names `{id}`, which is no rule of this file");
                let known = set.rules.keys().map(String::as_str);
                return Err(document.error_near(required.span("id"), what, id, known));
            }
        }
    }
    Ok(())
}

fn check_whole(document: &Document, root: &Table, set: &RuleSet) -> Result<(), ConfigError> {
    for table in root.tables("rules")? {
        let id = table.text("id")?.unwrap_or_default();
        let Some(rule) = set.rules.get(id) else { continue };
        let groups = rule.regex.as_ref().map_or(usize::MAX, |regex| regex.groups());
        if rule.secret_group > groups {
            let what = format!(
                "`secretGroup` is {}, but the regex has {groups} groups",
                rule.secret_group
            );
            return Err(document.error(table.place, what));
        }
        if rule.regex.is_none() && rule.path.is_none() {
            let what = format!("rule `{id}` has neither `regex` nor `path` and finds nothing");
            return Err(document.error(table.place, what));
        }
    }
    Ok(())
}

fn extension<'a>(document: &Document, root: &Table<'a>) -> Result<Extension<'a>, ConfigError> {
    let Some(table) = root.table("extend")? else { return Ok(Extension::default()) };
    if table.get("url").is_some() {
        let error = document
            .error(table.span("url"), "`extend.url` is not supported, as in gitleaks itself");
        return Err(error.hint("fetch the file and name it in `extend.path`"));
    }
    let path = table.text("path")?.filter(|path| !path.is_empty());
    let default = table.flag("usedefault")?.unwrap_or(false);
    if let (Some(_), true) = (path, default) {
        let what = "`extend.path` and `extend.useDefault` exclude each other";
        return Err(document.error(table.place, what));
    }
    Ok(Extension {
        path: path.map(|path| Spanned::new(table.span("path"), path)),
        default: default.then(|| table.span("usedefault")),
        disabled: table.texts("disabledrules")?.into_iter().map(str::to_owned).collect(),
    })
}

fn extend(
    document: &Document,
    extension: &Extension,
    set: &mut RuleSet,
    open: &Open,
    depth: usize,
) -> Result<(), ConfigError> {
    let base = if let Some(path) = &extension.path {
        let text = open(path.get_ref()).map_err(|why| {
            document.error(path.span(), format!("`{}` cannot be read: {why}", path.get_ref()))
        })?;
        read_file(path.get_ref(), &text, open, depth + 1)?
    } else if extension.default.is_some() {
        RuleSet::shipped()
    } else {
        return Ok(());
    };
    set.remarks.extend(base.remarks);
    for id in extension.disabled.iter().filter(|id| !base.rules.contains_key(*id)) {
        set.remarks.push(format!(
            "{}: `disabledRules` names `{id}`, which is no rule there",
            document.file
        ));
    }
    for (id, mut rule) in base.rules {
        if extension.disabled.contains(&id) {
            continue;
        }
        if let Some(own) = set.rules.remove(&id) {
            merge(&mut rule, own);
        }
        set.rules.insert(id, rule);
    }
    set.allowlists.extend(base.allowlists);
    Ok(())
}

/// What a file says about a rule of the file that it extends.
fn merge(rule: &mut Rule, own: Rule) {
    if !own.description.is_empty() {
        rule.description = own.description;
    }
    if own.entropy != 0.0 {
        rule.entropy = own.entropy;
    }
    if own.secret_group != 0 {
        rule.secret_group = own.secret_group;
    }
    rule.regex = own.regex.or(rule.regex.take());
    rule.path = own.path.or(rule.path.take());
    rule.tags.extend(own.tags);
    rule.keywords.extend(own.keywords);
    rule.allowlists.extend(own.allowlists);
}

/// Go joins the patterns of a list with `|`, so that a flag of one holds for those after it.
fn joined(patterns: &[&str]) -> String {
    format!("(?:{})", patterns.join("|"))
}

#[cfg(test)]
mod tests;
