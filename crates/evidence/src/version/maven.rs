//! Maven: a tree of numbers, words and lists, as `ComparableVersion` of Maven 3.8 builds and orders it.
//!
//! Source: the version order specification of Maven's POM reference, and the behaviour of `ComparableVersion`. Every text is a version.

use std::cmp::Ordering;

use super::decimal;

#[derive(Debug)]
pub(super) enum Item {
    Number(String),
    Word(String),
    List(Vec<Item>),
}

/// Words with a meaning, in their order; the empty one is the release itself, and every other word comes after `sp`.
const WORDS: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE: usize = 5;

#[expect(clippy::unnecessary_wraps, reason = "the form that every ordering has")]
pub(super) fn parse(text: &str) -> Result<Item, &'static str> {
    let text = text.to_lowercase();
    let mut tree = Tree { open: vec![vec![]] };
    let (mut start, mut in_number) = (0, false);
    for (at, character) in text.char_indices() {
        match character {
            '.' | '-' => {
                tree.add(if at == start {
                    Item::Number(String::new())
                } else {
                    item(&text[start..at], in_number, false)
                });
                start = at + 1;
                if character == '-' {
                    tree.open();
                }
            }
            '0'..='9' => {
                if !in_number && at > start {
                    // `1.x1` means `1-x1`.
                    tree.open_unless_empty();
                    tree.add(item(&text[start..at], false, true));
                    start = at;
                    tree.open();
                }
                in_number = true;
            }
            _ => {
                if in_number && at > start {
                    tree.add(item(&text[start..at], true, false));
                    start = at;
                    tree.open();
                }
                in_number = false;
            }
        }
    }
    if start < text.len() {
        if !in_number {
            tree.open_unless_empty();
        }
        tree.add(item(&text[start..], in_number, false));
    }
    Ok(tree.close())
}

/// The lists that are still written to, outermost first. Each is the last item of the one before it.
struct Tree {
    open: Vec<Vec<Item>>,
}

impl Tree {
    fn add(&mut self, item: Item) {
        if let Some(list) = self.open.last_mut() {
            list.push(item);
        }
    }

    fn open(&mut self) {
        self.open.push(vec![]);
    }

    fn open_unless_empty(&mut self) {
        if self.open.last().is_some_and(|list| !list.is_empty()) {
            self.open();
        }
    }

    fn close(mut self) -> Item {
        let mut inner: Option<Vec<Item>> = None;
        while let Some(mut list) = self.open.pop() {
            list.extend(inner.take().map(Item::List));
            normalize(&mut list);
            inner = Some(list);
        }
        Item::List(inner.unwrap_or_default())
    }
}

/// Drops what means nothing (0, `final`, empty lists) from the end, also behind lists that stay.
fn normalize(list: &mut Vec<Item>) {
    for index in (0..list.len()).rev() {
        if list[index].is_null() {
            list.remove(index);
        } else if !matches!(list[index], Item::List(_)) {
            break;
        }
    }
}

fn item(text: &str, number: bool, followed_by_digit: bool) -> Item {
    if number {
        return Item::Number(text.trim_start_matches('0').to_owned());
    }
    let word = match text {
        "a" if followed_by_digit => "alpha",
        "b" if followed_by_digit => "beta",
        "m" if followed_by_digit => "milestone",
        "ga" | "final" | "release" => "",
        "cr" => "rc",
        word => word,
    };
    Item::Word(word.to_owned())
}

impl Item {
    fn is_null(&self) -> bool {
        match self {
            Self::Number(digits) => digits.is_empty(),
            Self::Word(word) => word.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }
}

pub(super) fn order(a: &Item, b: &Item) -> Ordering {
    match (a, b) {
        (Item::Number(a), Item::Number(b)) => decimal::order(a, b),
        (Item::Word(a), Item::Word(b)) => order_words(a, b),
        (Item::List(a), Item::List(b)) => decimal::order_lists(a, b, order, order_alone),
        (Item::Number(_), _) => Ordering::Greater,
        (_, Item::Number(_)) => Ordering::Less,
        (Item::Word(_), Item::List(_)) => Ordering::Less,
        (Item::List(_), Item::Word(_)) => Ordering::Greater,
    }
}

/// An item against nothing.
fn order_alone(item: &Item) -> Ordering {
    match item {
        Item::Number(digits) if digits.is_empty() => Ordering::Equal,
        Item::Number(_) => Ordering::Greater,
        Item::Word(word) => order_words(word, WORDS[RELEASE]),
        Item::List(items) => {
            items.iter().map(order_alone).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        }
    }
}

fn order_words(a: &str, b: &str) -> Ordering {
    let rank = |word: &str| WORDS.iter().position(|known| *known == word).unwrap_or(WORDS.len());
    let (a_rank, b_rank) = (rank(a), rank(b));
    a_rank.cmp(&b_rank).then_with(|| if a_rank == WORDS.len() { a.cmp(b) } else { Ordering::Equal })
}
