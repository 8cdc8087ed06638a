//! Patterns in Go's RE2 syntax, which rule files are written in, made into the syntax of this program's engine.
//!
//! Both engines are automata with the same meaning of "leftmost, first alternative", so only the notation differs: `\w`, `\d`,
//! `\s` and `\b` are ASCII in Go, `[` and `&&` in a class are plain characters, a `{` that opens no repetition is one too, and
//! `\Q…\E` and octal escapes exist. Source of the syntax: <https://github.com/google/re2/wiki/Syntax> and Go's `regexp/syntax`.

use regex_automata::meta::Regex;
use regex_syntax::hir::Hir;

/// Largest automaton of one pattern, bytes. Go has no such limit; the largest pattern seen in public rule files needs 5 MB.
pub const AUTOMATON_BYTES_MAX: usize = 64 << 20;

/// Why a pattern cannot be used. `at` counts characters of the pattern from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}, at character {at} of the pattern")]
pub struct PatternError {
    pub what: String,
    pub at: usize,
}

/// A pattern that was read, and becomes an automaton when it is first needed: a scan of a small change needs few of them.
#[derive(Debug)]
pub struct Pattern {
    source: String,
    hir: Hir,
    regex: std::sync::OnceLock<Regex>,
}

impl Pattern {
    pub fn parse(source: &str) -> Result<Self, PatternError> {
        let translated = translate(source)?;
        let mut parser =
            regex_syntax::ParserBuilder::new().utf8(false).unicode(true).nest_limit(250).build();
        let hir = parser.parse(&translated).map_err(|error| {
            // Our own notation differs from what the person wrote, so only the reason is worth telling.
            let what = match &error {
                regex_syntax::Error::Parse(error) => error.kind().to_string(),
                regex_syntax::Error::Translate(error) => error.kind().to_string(),
                other => other.to_string(),
            };
            PatternError { what, at: 1 }
        })?;
        // Cheap for the usual pattern, and the only way to refuse a bomb before the scan.
        if repeats(&hir) > REPEATS_CHECKED && !fits(&hir) {
            let what = format!("it needs an automaton of more than {AUTOMATON_BYTES_MAX} bytes");
            return Err(PatternError { what, at: 1 });
        }
        Ok(Self { source: source.into(), hir, regex: std::sync::OnceLock::new() })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn hir(&self) -> &Hir {
        &self.hir
    }

    /// How many groups it captures, without the whole match.
    pub fn groups(&self) -> usize {
        self.hir.properties().explicit_captures_len()
    }

    pub(super) fn regex(&self) -> &Regex {
        self.regex.get_or_init(|| compile(&self.hir))
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex().is_match(text)
    }
}

/// Copies of parts above which a pattern's size is measured when it is read.
const REPEATS_CHECKED: u64 = 20_000;

fn fits(hir: &Hir) -> bool {
    use regex_automata::nfa::thompson::{Compiler, Config};
    let config = Config::new().utf8(false).nfa_size_limit(Some(AUTOMATON_BYTES_MAX / 2));
    Compiler::new().configure(config).build_from_hir(hir).is_ok()
}

pub(super) fn compile(hir: &Hir) -> Regex {
    let config = Regex::config().utf8_empty(false).nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
    Regex::builder()
        .configure(config)
        .build_from_hir(hir)
        .expect("its size was measured when it was read")
}

/// An upper bound of the copies that counted repetitions make of their parts.
fn repeats(hir: &Hir) -> u64 {
    use regex_syntax::hir::HirKind;
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let times = repetition.max.unwrap_or(repetition.min).max(1);
            u64::from(times).saturating_mul(repeats(&repetition.sub))
        }
        HirKind::Capture(capture) => repeats(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(repeats).fold(1, u64::saturating_add)
        }
        HirKind::Class(_) => 4, // A class of Unicode is several byte ranges.
        _ => 1,
    }
}

/// What Go means by these, in a class of this engine.
const DIGIT: &str = "0-9";
const SPACE: &str = r"\t\n\x0C\r ";
const WORD: &str = "0-9A-Za-z_";

/// The pattern in this engine's syntax.
fn translate(source: &str) -> Result<String, PatternError> {
    let chars: Vec<char> = source.chars().collect();
    let mut reader = Reader { chars: &chars, at: 0, out: String::with_capacity(source.len() * 2) };
    while reader.at < chars.len() {
        reader.outside()?;
    }
    Ok(reader.out)
}

struct Reader<'a> {
    chars: &'a [char],
    at: usize,
    out: String,
}

impl Reader<'_> {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn fail<T>(&self, what: impl Into<String>) -> Result<T, PatternError> {
        Err(PatternError { what: what.into(), at: self.at + 1 })
    }

    fn literal(&mut self, char: char) {
        if char.is_ascii_alphanumeric() || !char.is_ascii() {
            self.out.push(char);
        } else {
            self.out += &format!("\\x{:02X}", u32::from(char));
        }
    }

    fn outside(&mut self) -> Result<(), PatternError> {
        let char = self.chars[self.at];
        match char {
            '\\' => return self.escape(),
            '[' => return self.class(),
            '(' if self.peek(1) == Some('?') => return self.group(),
            '{' => match self.repetition() {
                Some(text) => {
                    self.at += text.len();
                    self.out += &text;
                    return Ok(());
                }
                None => self.literal('{'),
            },
            '(' | ')' | '|' | '*' | '+' | '?' | '.' | '^' | '$' => self.out.push(char),
            other => self.literal(other),
        }
        self.at += 1;
        Ok(())
    }

    /// `{n}`, `{n,}` or `{n,m}` here, as text.
    fn repetition(&self) -> Option<String> {
        let end = self.chars[self.at..].iter().position(|char| *char == '}')?;
        let text: String = self.chars[self.at..=self.at + end].iter().collect();
        let inner = &text[1..text.len() - 1];
        let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (!low.is_empty() && number(low) && number(high)).then_some(text)
    }

    /// `(?…`: flags and names are the same in both engines; what looks around does not exist in either.
    fn group(&mut self) -> Result<(), PatternError> {
        let rest = &self.chars[self.at + 2..];
        if matches!(rest, ['=' | '!', ..] | ['<', '=' | '!', ..]) {
            return self.fail("it looks around `(?=`, `(?!`, `(?<`, which rule files do not have");
        }
        let end = match rest {
            ['P', '<', ..] | ['<', ..] => rest.iter().position(|char| *char == '>'),
            _ => rest.iter().position(|char| matches!(char, ':' | ')')),
        };
        let Some(end) = end else { return self.fail("`(?` has no end") };
        let head: String = rest[..=end].iter().collect();
        let named = head.ends_with('>');
        if !named && !head[..head.len() - 1].chars().all(|char| "imsU-".contains(char)) {
            return self.fail(format!("`(?{head}` is not a group"));
        }
        self.out += "(?";
        self.out += &head;
        self.at += 2 + end + 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), PatternError> {
        let Some(char) = self.peek(1) else { return self.fail("a `\\` stands at the end") };
        let out = match char {
            'd' => format!("[{DIGIT}]"),
            'D' => format!("[^{DIGIT}]"),
            's' => format!("[{SPACE}]"),
            'S' => format!("[^{SPACE}]"),
            'w' => format!("[{WORD}]"),
            'W' => format!("[^{WORD}]"),
            'b' => r"(?-u:\b)".into(),
            'B' => r"(?-u:\B)".into(),
            'A' => r"\A".into(),
            'z' => r"\z".into(),
            'p' | 'P' => return self.property(),
            'Q' => return self.quoted(),
            _ => {
                let char = self.escaped_char()?;
                self.literal(char);
                return Ok(());
            }
        };
        self.out += &out;
        self.at += 2;
        Ok(())
    }

    fn quoted(&mut self) -> Result<(), PatternError> {
        self.at += 2;
        while self.at < self.chars.len() {
            if self.peek(0) == Some('\\') && self.peek(1) == Some('E') {
                self.at += 2;
                break;
            }
            self.literal(self.chars[self.at]);
            self.at += 1;
        }
        Ok(())
    }

    /// `\pL`, `\p{Greek}`, `\p{^Greek}`.
    fn property(&mut self) -> Result<(), PatternError> {
        let mut negated = self.peek(1) == Some('P');
        let name: String = match self.peek(2) {
            Some('{') => {
                let rest = &self.chars[self.at + 3..];
                let Some(end) = rest.iter().position(|char| *char == '}') else {
                    return self.fail("`\\p{` has no end");
                };
                self.at += 4 + end;
                rest[..end].iter().collect()
            }
            Some(letter) => {
                self.at += 3;
                letter.into()
            }
            None => return self.fail("`\\p` names no property"),
        };
        let name = name.strip_prefix('^').map_or(name.as_str(), |name| {
            negated = !negated;
            name
        });
        self.out += if negated { "\\P{" } else { "\\p{" };
        self.out += name;
        self.out.push('}');
        Ok(())
    }

    /// The one character that an escape means, in a class or outside.
    fn escaped_char(&mut self) -> Result<char, PatternError> {
        let Some(char) = self.peek(1) else { return self.fail("a `\\` stands at the end") };
        let plain = match char {
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            't' => Some('\t'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            'v' => Some('\u{b}'),
            'x' => return self.hex(),
            '0'..='7' if char == '0' || matches!(self.peek(2), Some('0'..='7')) => {
                return Ok(self.octal());
            }
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other),
            _ => None,
        };
        match plain {
            Some(plain) => {
                self.at += 2;
                Ok(plain)
            }
            None => self.fail(format!("`\\{char}` means nothing in this syntax")),
        }
    }

    fn octal(&mut self) -> char {
        self.at += 1;
        let mut value = 0;
        for _ in 0..3 {
            let Some(digit) = self.peek(0).and_then(|char| char.to_digit(8)) else { break };
            value = value * 8 + digit;
            self.at += 1;
        }
        char::from_u32(value).expect("three octal digits are below the surrogates")
    }

    fn hex(&mut self) -> Result<char, PatternError> {
        let rest = &self.chars[self.at + 2..];
        let (digits, length): (String, usize) = if rest.first() == Some(&'{') {
            let end = rest.iter().position(|char| *char == '}').unwrap_or(0);
            (rest[1..end.max(1)].iter().collect(), end + 1)
        } else {
            (rest.iter().take(2).collect(), 2)
        };
        let char = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        let Some(char) = char else {
            return self.fail("`\\x` needs two hexadecimal digits, or `{…}`");
        };
        self.at += 2 + length;
        Ok(char)
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let start = self.at;
        self.at += 1;
        self.out.push('[');
        if self.peek(0) == Some('^') {
            self.out.push('^');
            self.at += 1;
        }
        let mut first = true;
        loop {
            match self.peek(0) {
                None => {
                    self.at = start;
                    return self.fail("`[` has no end");
                }
                Some(']') if !first => break,
                _ => self.class_item()?,
            }
            first = false;
        }
        self.out.push(']');
        self.at += 1;
        Ok(())
    }

    fn class_item(&mut self) -> Result<(), PatternError> {
        if self.peek(0) == Some('[') && self.peek(1) == Some(':') {
            let rest = &self.chars[self.at..];
            if let Some(end) = rest.windows(2).position(|pair| pair == [':', ']']) {
                self.out.extend(&rest[..end + 2]);
                self.at += end + 2;
                return Ok(());
            }
        }
        if self.peek(0) == Some('\\') {
            let set = match self.peek(1) {
                Some('d') => DIGIT.into(),
                Some('s') => SPACE.into(),
                Some('w') => WORD.into(),
                Some('D') => format!("[^{DIGIT}]"),
                Some('S') => format!("[^{SPACE}]"),
                Some('W') => format!("[^{WORD}]"),
                Some('p' | 'P') => return self.property(),
                _ => String::new(),
            };
            if !set.is_empty() {
                self.out += &set;
                self.at += 2;
                return Ok(());
            }
        }
        let low = self.class_char()?;
        self.literal(low);
        if self.peek(0) == Some('-') && self.peek(1).is_some_and(|char| char != ']') {
            self.at += 1;
            let high = self.class_char()?;
            if high < low {
                return self.fail(format!("the range `{low}-{high}` runs backwards"));
            }
            self.out.push('-');
            self.literal(high);
        }
        Ok(())
    }

    fn class_char(&mut self) -> Result<char, PatternError> {
        match self.peek(0) {
            Some('\\') => self.escaped_char(),
            Some(char) => {
                self.at += 1;
                Ok(char)
            }
            None => self.fail("`[` has no end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn go_syntax_means_what_go_means() {
        #[rustfmt::skip]
        let cases = [
            (r"\w+",           "ä",          None),
            (r"\w+",           "äb1_",       Some("b1_")),
            (r"\s",            "\u{b}",      None),
            (r"\d",            "٣",          None),
            (r"\bkey\b",       "ökeyö",      Some("key")),
            (r".{3}",          "äöüx",       Some("äöü")),
            (r"[^a]{2}",       "aäö",        Some("äö")),
            (r"[[]x",          "[x",         Some("[x")),
            (r"[a&&b]+",       "&&ba",       Some("&&ba")),
            (r"[]x]+",         "]x",         Some("]x")),
            (r"[\w.-/]+",      "a./",        Some("a./")),
            (r"[\w-.]+",       "a-.b",       Some("a-.b")),
            (r"[a~~b]+",       "~~",         Some("~~")),
            (r"{x}",           "{x}",        Some("{x}")),
            (r"a{,2}",         "aa{,2}",     Some("a{,2}")),
            (r"\<\>",          "<>",         Some("<>")),
            (r"\Qa.b[\E.",     "a.b[z",      Some("a.b[z")),
            (r"\x60\101\x{42}", "`AB",       Some("`AB")),
            (r"[\x60'\x22]+",  "`'\"",       Some("`'\"")),
            (r"(?i)TOKEN",     "tOkEn",      Some("tOkEn")),
            (r"x$",            "x\n",        None),
            (r"(?m)x$",        "x\n",        Some("x")),
            (r"[[:alpha:]]+",  "1ab",        Some("ab")),
            (r"\p{Greek}\PL",  "λ1",         Some("λ1")),
            (r"\p{^Greek}",    "a",          Some("a")),
            (r"(?U)a+",        "aaa",        Some("a")),
            (r"a|ab",          "ab",         Some("a")),
            (r"# -&~",         "# -&~",      Some("# -&~")),
        ];
        for (source, text, expected) in cases {
            let pattern =
                Pattern::parse(source).unwrap_or_else(|error| panic!("{source}: {error}"));
            let found = pattern.regex().find(text).map(|found| &text[found.range()]);
            assert_eq!(found, expected, "{source} on {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused_with_its_place() {
        #[rustfmt::skip]
        let cases = [
            (r"ab(?=c)",  "it looks around `(?=`, `(?!`, `(?<`, which rule files do not have, at character 3 of the pattern"),
            (r"a\1",      "`\\1` means nothing in this syntax, at character 2 of the pattern"),
            (r"\y",       "`\\y` means nothing in this syntax, at character 1 of the pattern"),
            (r"x[a",      "`[` has no end, at character 2 of the pattern"),
            (r"[z-a]",    "the range `z-a` runs backwards, at character 5 of the pattern"),
            (r"\xq",      "`\\x` needs two hexadecimal digits, or `{…}`, at character 1 of the pattern"),
            (r"(?x)a",    "`(?x)` is not a group, at character 1 of the pattern"),
            (r"(a",       "unclosed group, at character 1 of the pattern"),
            (r"((((a{900}){900}){900}){900})", "it needs an automaton of more than 67108864 bytes, at character 1 of the pattern"),
        ];
        for (source, expected) in cases {
            let error = Pattern::parse(source).map(|_| ()).unwrap_err();
            assert_eq!(error.to_string(), expected, "{source}");
        }
    }
}
