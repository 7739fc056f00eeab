//! An open page for tests: its elements, and the operations of the page's script.

use std::collections::BTreeMap;

use scraper::{ElementRef, Html};
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Text(String),
    Element(Element),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Element {
    name: String,
    attributes: BTreeMap<String, String>,
    children: Vec<Node>,
}

/// The elements of an open page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePage(Element);

fn nodes(of: ElementRef<'_>) -> Vec<Node> {
    let mut out = Vec::new();
    for child in of.children() {
        if let Some(element) = ElementRef::wrap(child) {
            let attributes = element.value().attrs().map(|(name, value)| (name.to_owned(), value.to_owned()));
            out.push(Node::Element(Element {
                name: element.value().name().to_owned(),
                attributes: attributes.collect(),
                children: nodes(element),
            }));
        } else if let Some(text) = child.value().as_text() {
            push_text(&mut out, text);
        }
    }
    out
}

fn parse(html: &str) -> Vec<Node> {
    nodes(Html::parse_fragment(html).root_element())
}

fn push_text(nodes: &mut Vec<Node>, text: &str) {
    match nodes.last_mut() {
        _ if text.is_empty() => {}
        Some(Node::Text(before)) => before.push_str(text),
        _ => nodes.push(Node::Text(text.to_owned())),
    }
}

impl Element {
    fn has_id(&self, id: &str) -> bool {
        self.attributes.get("id").is_some_and(|own| own == id)
    }

    fn find(&mut self, id: &str) -> Option<&mut Self> {
        if self.has_id(id) {
            return Some(self);
        }
        self.children.iter_mut().find_map(|child| match child {
            Node::Element(element) => element.find(id),
            Node::Text(_) => None,
        })
    }

    /// Inserts `new` before the element, or replaces it. `None`: there is no such element.
    fn splice(&mut self, id: &str, new: &[Node], replaces: bool) -> Option<()> {
        let at = self.children.iter().position(|child| matches!(child, Node::Element(element) if element.has_id(id)));
        if let Some(at) = at {
            self.children.splice(at..at + usize::from(replaces), new.iter().cloned());
            return Some(());
        }
        self.children.iter_mut().find_map(|child| match child {
            Node::Element(element) => element.splice(id, new, replaces),
            Node::Text(_) => None,
        })
    }

    /// Removes everything that depends on the current time, and whether a version can be restored: the page's script
    /// keeps that current on all cards.
    fn forget_time(&mut self) {
        if self.attributes.contains_key("data-restore") {
            self.attributes.remove("hidden");
        }
        if self.name == "time" || self.attributes.contains_key("data-ticking") {
            self.attributes.remove("data-ticking");
            self.children.clear();
        }
        for child in &mut self.children {
            if let Node::Element(element) = child {
                element.forget_time();
            }
        }
    }
}

impl LivePage {
    /// A page of this HTML.
    pub fn new(html: &str) -> Self {
        Self(Element { name: "main".to_owned(), attributes: BTreeMap::new(), children: parse(html) })
    }

    /// Only the element with this id, without everything that depends on the current time.
    pub fn part(&mut self, id: &str) -> Self {
        let mut part = self.0.find(id).unwrap_or_else(|| panic!("there is no {id}")).clone();
        part.forget_time();
        Self(part)
    }

    /// Applies `operations` as the script does. Panics if an element does not exist.
    pub fn operate(&mut self, operations: &Value) {
        for operation in operations.as_array().expect("a list") {
            let words: Vec<&str> = operation.as_array().expect("a list").iter().filter_map(Value::as_str).collect();
            self.operate_one(&words).unwrap_or_else(|| panic!("{operation} finds no element in {self:#?}"));
        }
    }

    fn operate_one(&mut self, operation: &[&str]) -> Option<()> {
        match *operation {
            ["announce", _] | ["draft"] => {}
            ["text", id, words] => push_text(&mut self.0.find(id)?.children, words),
            ["words" | "doing", id, words] => {
                let element = self.0.find(id)?;
                element.children.clear();
                push_text(&mut element.children, words);
            }
            ["append", id, html] => self.0.find(id)?.children.extend(parse(html)),
            ["before", id, html] => self.0.splice(id, &parse(html), false)?,
            ["replace", id, html] => self.0.splice(id, &parse(html), true)?,
            ["remove", id] => self.0.splice(id, &[], true)?,
            ["set", id, name, value] => {
                self.0.find(id)?.attributes.insert(name.to_owned(), value.to_owned());
            }
            ["unset", id, name] => {
                self.0.find(id)?.attributes.remove(name);
            }
            _ => panic!("{operation:?} is not an operation"),
        }
        Some(())
    }

    /// Inserts or replaces a whole turn as the script does.
    pub fn put_turn(&mut self, turn: &Value) {
        let (id, html) = (format!("turn-{}", turn["id"]), turn["html"].as_str().expect("HTML"));
        let _ = self.0.splice("no-turns", &[], true);
        if self.0.splice(&id, &parse(html), true).is_none() {
            self.0.find("turns").expect("a conversation").children.extend(parse(html));
        }
    }
}
