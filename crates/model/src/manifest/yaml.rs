//! YAML text to a tree in which every key and value knows its place. Scalars stay text: what they mean is for the schema to say.
//!
//! So `version: 1.10` is never 1.1 and `no` is never `false`. Tags, merge keys, several documents and keys that are not text
//! are refused; anchors work and count against [`NODES_MAX`].

use std::collections::HashMap;

use granit_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::problem::Problem;

/// Largest file, bytes: a hundred times the largest seen.
pub const FILE_BYTES_MAX: usize = 256 << 10;
/// Deepest nesting. The manifest's own is 8; bodies of smoke requests may go deeper.
pub const DEPTH_MAX: usize = 32;
/// Most keys and values, with anchors written out: an alias bomb ends here.
pub const NODES_MAX: usize = 20_000;

/// A position in the file, from 1, and how many characters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub line: usize,
    pub column: usize,
    pub width: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `plain` is text without quotes, which may also be a number or a truth value.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key with its place, and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub place: Place,
    pub value: Node,
}

/// The tree of a file.
#[derive(Debug)]
pub(crate) struct Document {
    pub root: Node,
}

impl Node {
    /// Nothing was written: an empty value, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn weight(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Self::weight).sum(),
            Kind::Map(entries) => entries.iter().map(|entry| 1 + entry.value.weight()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.kind {
            Kind::Scalar { .. } => 0,
            Kind::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Kind::Map(entries) => {
                entries.iter().map(|entry| entry.value.depth()).max().unwrap_or(0)
            }
        }
    }
}

impl Document {
    /// Where the value is that `keys` lead to (a list is entered by number), or the nearest thing above it.
    pub(crate) fn place(&self, keys: &[&str]) -> Place {
        let mut node = &self.root;
        let mut place = node.place;
        for key in keys {
            let next = match &node.kind {
                Kind::Map(entries) => entries
                    .iter()
                    .find(|entry| entry.key == *key)
                    .map(|entry| (entry.place, &entry.value)),
                Kind::List(items) => key
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| items.get(index))
                    .map(|item| (item.place, item)),
                Kind::Scalar { .. } => None,
            };
            let Some((found, value)) = next else { break };
            // A scalar is marked itself; a map or list by the key above it.
            place = if matches!(value.kind, Kind::Scalar { .. }) && !value.is_null() {
                value.place
            } else {
                found
            };
            node = value;
        }
        place
    }
}

/// `["build", "files", "/app/x"]` as `build.files["/app/x"]`; numbers are indexes.
pub(crate) fn path_of(keys: &[&str]) -> String {
    keys.iter().fold(String::new(), |path, key| join(&path, key))
}

/// Adds a key to a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    let plain =
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if plain && key.bytes().all(|b| b.is_ascii_digit()) {
        format!("{path}[{key}]")
    } else if plain {
        if path.is_empty() { key.into() } else { format!("{path}.{key}") }
    } else {
        // Only the start of a key that is a novel.
        format!("{path}[{:?}]", key.chars().take(60).collect::<String>())
    }
}

fn place(span: &Span, text: &str) -> Place {
    let Place { line, column, .. } = at(&span.start);
    let width = if span.start.line() == span.end.line() {
        span.end.col().saturating_sub(span.start.col())
    } else {
        text.lines().nth(line - 1).map_or(1, |line| line.chars().count().saturating_sub(column - 1))
    };
    Place { line, column, width: width.max(1) }
}

fn at(marker: &Marker) -> Place {
    Place { line: marker.line().max(1), column: marker.col() + 1, width: 1 }
}

/// What is open while events arrive.
enum Open {
    List { node: Place, anchor: usize, items: Vec<Node> },
    Map { node: Place, anchor: usize, entries: Vec<Entry>, key: Option<(String, Place)> },
}

struct Reader<'a> {
    text: &'a str,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    root: Option<Node>,
    documents: usize,
}

/// Reads one document. `start` tells the author of an empty file how to begin.
pub(crate) fn read(text: &str, start: &str) -> Result<Document, Box<Problem>> {
    let whole = Place { line: 1, column: 1, width: 1 };
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len());
        return Err(Box::new(Problem::new("HUM-002", whole, "", message)));
    }
    let mut reader =
        Reader { text, open: vec![], anchors: HashMap::new(), nodes: 0, root: None, documents: 0 };
    for next in Parser::new_from_str(text) {
        match next {
            Ok((event, span)) => reader.event(event, &span)?,
            Err(error) => {
                let message = format!("this is not YAML: {}", error.info());
                let tab = text
                    .lines()
                    .nth(error.marker().line().max(1) - 1)
                    .is_some_and(|l| l.trim_start_matches(' ').starts_with('\t'));
                let problem = Problem::new("HUM-001", at(error.marker()), "", message);
                return Err(Box::new(if tab {
                    problem.hint("indent with spaces; YAML refuses tabs")
                } else {
                    problem
                }));
            }
        }
    }
    match reader.root {
        Some(root) if !root.is_null() => Ok(Document { root }),
        _ => Err(Box::new(Problem::new("HUM-001", whole, "", "the file is empty").hint(start))),
    }
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Box<Problem>> {
        let place = place(span, self.text);
        let refuse = |what: &str| Err(Box::new(Problem::new("HUM-003", place, "", what)));
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd | Event::Anchor(..) => {
                Ok(())
            }
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    refuse("the file must be one document; remove the second `---`")
                } else {
                    Ok(())
                }
            }
            Event::UnresolvedAlias(_) => refuse("the alias has no anchor"),
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, _, Some(_))
            | Event::MappingStart(_, _, Some(_)) => refuse("tags (`!…`) have no meaning here"),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return refuse("the alias is inside the value that it names");
                };
                let node = Node { place, ..node.clone() };
                if self.open.len() + node.depth() > DEPTH_MAX {
                    return Err(too_deep(place));
                }
                self.nodes += node.weight();
                self.value(node, 0)
            }
            Event::Scalar(text, style, anchor, None) => {
                let plain = style == ScalarStyle::Plain;
                // A block scalar's span covers its lines; the marker is for its first.
                self.value(
                    Node { place, kind: Kind::Scalar { text: text.into_owned(), plain } },
                    anchor,
                )
            }
            Event::SequenceStart(_, anchor, None) => {
                let node = at_start(place);
                self.enter(Open::List { node, anchor, items: vec![] }, place)
            }
            Event::MappingStart(_, anchor, None) => {
                let node = at_start(place);
                self.enter(Open::Map { node, anchor, entries: vec![], key: None }, place)
            }
            Event::SequenceEnd | Event::MappingEnd => self.leave(),
            // Comments, if another crate turns them on: presentation, never a node.
            _ => Ok(()),
        }
    }

    fn enter(&mut self, open: Open, place: Place) -> Result<(), Box<Problem>> {
        if let Some(Open::Map { key: None, .. }) = self.open.last() {
            return Err(Box::new(Problem::new("HUM-003", place, "", "a key must be text")));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(place));
        }
        self.open.push(open);
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Box<Problem>> {
        match self.open.pop() {
            Some(Open::List { node, anchor, items }) => {
                self.value(Node { place: node, kind: Kind::List(items) }, anchor)
            }
            Some(Open::Map { node, anchor, entries, .. }) => {
                self.value(Node { place: node, kind: Kind::Map(entries) }, anchor)
            }
            None => Ok(()),
        }
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Box<Problem>> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            let message =
                format!("the file has more than {NODES_MAX} keys and values, aliases written out");
            return Err(Box::new(Problem::new("HUM-002", node.place, "", message)));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
            // Copies cost as much as what they copy.
            self.nodes += node.weight();
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                Some((key, place)) => entries.push(Entry { key, place, value: node }),
                None => match node.kind {
                    Kind::Scalar { text, .. } => *key = Some((text, node.place)),
                    _ => {
                        return Err(Box::new(Problem::new(
                            "HUM-003",
                            node.place,
                            "",
                            "a key must be text",
                        )));
                    }
                },
            },
        }
        Ok(())
    }
}

fn at_start(place: Place) -> Place {
    Place { width: 1, ..place }
}

fn too_deep(place: Place) -> Box<Problem> {
    Box::new(Problem::new(
        "HUM-002",
        place,
        "",
        format!("the file is nested deeper than {DEPTH_MAX}"),
    ))
}
