//! Typed access to a TOML document that knows where everything stands, and refuses the keys that it does not know.

use std::ops::Range;

use humdrum_model::manifest::nearest;
use toml::Spanned;

use super::{CONFIG_BYTES_MAX, ConfigError, DeTable, DeValue, Pattern, joined};

/// The keys of one kind of table: how they are written, and those that gitleaks once had.
pub(super) struct Keys {
    known: &'static [&'static str],
    gone: &'static [(&'static str, &'static str)],
    tables: &'static [(&'static str, &'static Keys)],
}

const EXTEND: Keys =
    Keys { known: &["path", "url", "useDefault", "disabledRules"], gone: &[], tables: &[] };
const REQUIRED: Keys =
    Keys { known: &["id", "withinLines", "withinColumns"], gone: &[], tables: &[] };
/// What an allowlist could say up to gitleaks 7.
const OLD_LIST: &[(&str, &str)] =
    &[("files", "`paths`"), ("repos", "nothing: rule files belong to a repository")];
const ALLOWLIST: Keys = Keys {
    known: &["description", "condition", "commits", "paths", "regexTarget", "regexes", "stopWords"],
    gone: OLD_LIST,
    tables: &[],
};
const GLOBAL: Keys = Keys {
    known: &[
        "description",
        "condition",
        "commits",
        "paths",
        "regexTarget",
        "regexes",
        "stopWords",
        "targetRules",
    ],
    gone: OLD_LIST,
    tables: &[],
};
const RULE: Keys = Keys {
    known: &[
        "id",
        "description",
        "path",
        "regex",
        "secretGroup",
        "entropy",
        "keywords",
        "tags",
        "allowlist",
        "allowlists",
        "required",
        "skipReport",
    ],
    gone: &[
        ("file", "`path`"),
        ("entropies", "`entropy`"),
        ("whitelist", "`[[rules.allowlists]]`"),
        ("fileNameRegex", "`path`"),
        ("filePathRegex", "`path`"),
        ("reportGroup", "`secretGroup`"),
        ("verify", "nothing: findings are never tried against a service"),
        ("validate", "nothing: findings are never tried against a service"),
    ],
    tables: &[("allowlist", &ALLOWLIST), ("allowlists", &ALLOWLIST), ("required", &REQUIRED)],
};
pub(super) const ROOT: Keys = Keys {
    known: &["title", "description", "extend", "rules", "allowlist", "allowlists", "minVersion"],
    gone: &[("whitelist", "`[[allowlists]]`"), ("global", "`[[allowlists]]`")],
    tables: &[
        ("extend", &EXTEND),
        ("rules", &RULE),
        ("allowlist", &GLOBAL),
        ("allowlists", &GLOBAL),
    ],
};

/// A rule file's text, for the places of its errors.
pub(super) struct Document<'a> {
    pub(super) file: &'a str,
    text: &'a str,
}

/// One table, its keys in lower case.
#[derive(Clone)]
pub(super) struct Table<'a> {
    document: &'a Document<'a>,
    keys: &'static Keys,
    entries: Vec<(String, &'a Spanned<DeValue<'a>>)>,
    pub(super) place: Range<usize>,
}

impl ConfigError {
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl<'a> Document<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Result<Self, ConfigError> {
        let document = Self { file, text };
        if text.len() > CONFIG_BYTES_MAX {
            let what = format!("it has {} bytes, more than {CONFIG_BYTES_MAX}", text.len());
            return Err(document.error(0..0, what));
        }
        Ok(document)
    }

    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            self.error(
                error.span().unwrap_or_default(),
                format!("it is not TOML: {}", error.message()),
            )
        })
    }

    pub(super) fn error(&self, place: Range<usize>, what: impl Into<String>) -> ConfigError {
        let before = &self.text[..place.start.min(self.text.len())];
        let line = 1 + before.bytes().filter(|byte| *byte == b'\n').count();
        let column = 1 + before.rsplit('\n').next().map_or(0, |line| line.chars().count());
        ConfigError { file: self.file.into(), line, column, what: what.into(), hint: None }
    }

    pub(super) fn error_near<'k>(
        &self,
        place: Range<usize>,
        what: impl Into<String>,
        word: &str,
        known: impl IntoIterator<Item = &'k str>,
    ) -> ConfigError {
        let error = self.error(place, what);
        match nearest(word, known) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error,
        }
    }

    /// Refuses every key that `keys` does not know.
    pub(super) fn table(
        &'a self,
        table: &'a DeTable<'a>,
        name: &str,
        keys: &'static Keys,
    ) -> Result<Table<'a>, ConfigError> {
        let mut entries = Vec::with_capacity(table.len());
        let mut place: Option<Range<usize>> = None;
        for (key, value) in table {
            let lower = key.get_ref().to_lowercase();
            if !keys.known.iter().any(|known| known.eq_ignore_ascii_case(&lower)) {
                return Err(self.unknown(key, name, keys));
            }
            if place.as_ref().is_none_or(|place| key.span().start < place.start) {
                place = Some(key.span());
            }
            entries.push((lower, value));
        }
        Ok(Table { document: self, keys, entries, place: place.unwrap_or_default() })
    }

    fn unknown(
        &self,
        key: &Spanned<std::borrow::Cow<str>>,
        name: &str,
        keys: &Keys,
    ) -> ConfigError {
        let word = key.get_ref();
        if let Some((_, instead)) =
            keys.gone.iter().find(|(gone, _)| gone.eq_ignore_ascii_case(word))
        {
            return self
                .error(
                    key.span(),
                    format!("`{word}` of {name} is not supported by gitleaks 8 rule files"),
                )
                .hint(format!("write {instead}"));
        }
        let what = format!("{name} has no key `{word}`");
        let error = self.error_near(key.span(), what, word, keys.known.iter().copied());
        if error.hint.is_some() {
            error
        } else {
            error.hint(format!("it knows {}", keys.known.join(", ")))
        }
    }
}

impl<'a> Table<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.entries.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    pub(super) fn span(&self, key: &str) -> Range<usize> {
        self.get(key).map_or(self.place.clone(), Spanned::span)
    }

    /// How the key is written.
    fn written(&self, key: &str) -> &'static str {
        let known = self.keys.known.iter().find(|known| known.eq_ignore_ascii_case(key));
        known.copied().unwrap_or("key")
    }

    fn wrong<T>(&self, key: &str, wanted: &str) -> Result<T, ConfigError> {
        Err(self.document.error(self.span(key), format!("`{}` is not {wanted}", self.written(key))))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::String(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "a string"),
        }
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, ConfigError> {
        let number = match self.get(key).map(Spanned::get_ref) {
            None => return Ok(None),
            Some(DeValue::Integer(number)) => {
                u32::from_str_radix(number.as_str(), number.radix()).ok()
            }
            Some(DeValue::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        number
            .map_or_else(|| self.wrong(key, "a whole number from 0 on"), |number| Ok(Some(number)))
    }

    pub(super) fn decimal(&self, key: &str) -> Result<Option<f64>, ConfigError> {
        let number: Option<f64> = match self.get(key).map(Spanned::get_ref) {
            None => return Ok(None),
            Some(DeValue::Integer(number)) => number.as_str().parse().ok(),
            Some(DeValue::Float(number)) => number.as_str().parse().ok(),
            Some(DeValue::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        let number = number.filter(|number| number.is_finite());
        number.map_or_else(|| self.wrong(key, "a number"), |number| Ok(Some(number)))
    }

    /// A list of strings; one string is a list separated by commas, as gitleaks reads it.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<&'a str>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(Vec::new()),
            Some(DeValue::String(text)) if text.is_empty() => Ok(Vec::new()),
            Some(DeValue::String(text)) => Ok(text.split(',').collect()),
            Some(DeValue::Array(items)) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::String(text) => Ok(text.as_ref()),
                    _ => Err(self.document.error(
                        item.span(),
                        format!("an entry of `{}` is not a string", self.written(key)),
                    )),
                })
                .collect(),
            Some(_) => self.wrong(key, "a list of strings"),
        }
    }

    pub(super) fn pattern(&self, key: &str) -> Result<Option<Pattern>, ConfigError> {
        match self.text(key)? {
            None | Some("") => Ok(None),
            Some(text) => self.compiled(key, text, self.span(key)).map(Some),
        }
    }

    fn compiled(&self, key: &str, text: &str, place: Range<usize>) -> Result<Pattern, ConfigError> {
        Pattern::parse(text).map_err(|error| {
            self.document.error(place, format!("`{}` cannot be used: {error}", self.written(key)))
        })
    }

    /// All patterns of a list as one.
    pub(super) fn patterns(&self, key: &str) -> Result<Option<Pattern>, ConfigError> {
        let texts = self.texts(key)?;
        if texts.is_empty() {
            return Ok(None);
        }
        if let Ok(pattern) = Pattern::parse(&joined(&texts)) {
            return Ok(Some(pattern));
        }
        // Each alone, to name the one that is wrong.
        if let Some(DeValue::Array(items)) = self.get(key).map(Spanned::get_ref) {
            for (item, text) in items.iter().zip(&texts) {
                self.compiled(key, text, item.span())?;
            }
        }
        self.compiled(key, &joined(&texts), self.span(key)).map(Some)
    }

    pub(super) fn table(&self, key: &str) -> Result<Option<Table<'a>>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(None),
            Some(DeValue::Table(table)) => self.inner(key, table).map(Some),
            Some(_) => self.wrong(key, "a table"),
        }
    }

    fn inner(&self, key: &str, table: &'a DeTable<'a>) -> Result<Table<'a>, ConfigError> {
        let keys = self
            .keys
            .tables
            .iter()
            .find(|(name, _)| *name == key)
            .expect("a table that is read is known")
            .1;
        let mut inner = self.document.table(table, &format!("`{}`", self.written(key)), keys)?;
        if inner.entries.is_empty() {
            inner.place = self.span(key);
        }
        Ok(inner)
    }

    pub(super) fn tables(&self, key: &str) -> Result<Vec<Table<'a>>, ConfigError> {
        match self.get(key).map(Spanned::get_ref) {
            None => Ok(Vec::new()),
            Some(DeValue::Array(items)) => items
                .iter()
                .map(|item| match item.get_ref() {
                    DeValue::Table(table) => self.inner(key, table),
                    _ => self.wrong(key, "a list of tables"),
                })
                .collect(),
            // `[allowlists]` with one bracket is one of them.
            Some(DeValue::Table(table)) => Ok(vec![self.inner(key, table)?]),
            Some(_) => self.wrong(key, "a list of tables"),
        }
    }
}
