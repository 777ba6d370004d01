//! An event as filters see it: its data is read at most once, when the first filter asks, into memory of
//! the caller.

use std::{
    borrow::Cow,
    cell::{OnceCell, RefCell},
};

use schemas::{
    Event, Form, Value as Attr,
    doc::{self, Doc, Item, Kind, Node},
};

use super::value::{Found, Place};

/// Under which names the parts of an event are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Of the CloudEvents JSON: attributes, and `data`.
    CloudEvents,
    /// Of an EventBridge event: `source`, `detail-type`, `detail` and so on.
    EventBridge,
}

/// An event, or any JSON document, under judgement.
pub struct View<'e> {
    what: What<'e>,
    nodes: RefCell<Option<&'e mut Vec<Node>>>,
    data: OnceCell<Option<Item<'e>>>,
    /// Attributes that are JSON texts; there are hardly ever any.
    texts: OnceCell<Vec<(&'e str, Doc<'e>)>>,
}

enum What<'e> {
    Event(&'e Event),
    /// The same in all languages: a document's members stand for attributes.
    Document(&'e [u8]),
}

impl<'e> View<'e> {
    /// An event, with memory for its data.
    pub fn new(event: &'e Event, nodes: &'e mut Vec<Node>) -> Self {
        View::over(What::Event(event), nodes)
    }

    /// A JSON document, with memory for it.
    pub fn document(json: &'e [u8], nodes: &'e mut Vec<Node>) -> Self {
        View::over(What::Document(json), nodes)
    }

    fn over(what: What<'e>, nodes: &'e mut Vec<Node>) -> Self {
        View { what, nodes: RefCell::new(Some(nodes)), data: OnceCell::new(), texts: OnceCell::new() }
    }

    /// The event, unless it is a document.
    pub fn event(&self) -> Option<&'e Event> {
        match self.what {
            What::Event(event) => Some(event),
            What::Document(_) => None,
        }
    }

    /// The event's JSON data, or the document.
    fn json(&self) -> Option<Item<'e>> {
        *self.data.get_or_init(|| {
            let text = match self.what {
                What::Event(event) => (event.form() == Form::Json).then(|| event.data())?,
                What::Document(json) => json,
            };
            let nodes = self.nodes.borrow_mut().take()?;
            doc::parse_into(text, nodes).ok()
        })
    }

    /// The document itself, for patterns: its own names may hold dots.
    pub fn root(&self) -> Option<Item<'e>> {
        match self.what {
            What::Event(_) => None,
            What::Document(_) => self.json(),
        }
    }

    /// What stands under a name at the top.
    pub fn member(&self, names: Names, name: &str) -> Option<Place<'_>> {
        if let What::Document(_) = self.what {
            return self.json()?.get(name).map(Place::Item);
        }
        match (names, name) {
            (Names::CloudEvents, "data") | (Names::EventBridge, "detail") => self.data(),
            (Names::CloudEvents, name) => self.attribute(name),
            (Names::EventBridge, "detail-type") => self.attribute("type"),
            (Names::EventBridge, "version") => Some(Place::Scalar(Found::String(Cow::Borrowed("0")))),
            (Names::EventBridge, "replay-name") => self.attribute("replayname"),
            (Names::EventBridge, "resources") => self.resources(),
            (Names::EventBridge, "id" | "source" | "time" | "account" | "region") => self.attribute(name),
            (Names::EventBridge, _) => None,
        }
    }

    /// The data: JSON as it is, text as a string. Bytes have no place in a filter.
    pub fn data(&self) -> Option<Place<'_>> {
        match self.what {
            What::Event(event) if event.form() == Form::Text => {
                let text = std::str::from_utf8(event.data()).ok()?;
                Some(Place::Scalar(Found::String(Cow::Borrowed(text))))
            }
            What::Event(_) => self.json().map(Place::Item),
            What::Document(_) => self.json()?.get("data").map(Place::Item),
        }
    }

    /// An attribute by its CloudEvents name.
    pub fn attribute(&self, name: &str) -> Option<Place<'_>> {
        let event = match self.what {
            What::Event(event) => event,
            What::Document(_) => return self.json()?.get(name).map(Place::Item),
        };
        Some(match event.get(name)? {
            Attr::String(s) => Place::Scalar(Found::String(Cow::Borrowed(s))),
            Attr::Boolean(b) => Place::Scalar(Found::Bool(b)),
            Attr::Integer(i) => Place::Scalar(Found::Number(Cow::Owned(i.to_string()))),
            Attr::Json(_) => Place::Item(self.text(name)?),
        })
    }

    /// EventBridge's list of ARNs. CloudEvents has no attribute that is a list, so the extension may hold
    /// the list's JSON as a string; another string stands for itself.
    fn resources(&self) -> Option<Place<'_>> {
        if let Some(item) = self.text("resources") {
            return Some(Place::Item(item));
        }
        self.attribute("resources")
    }

    fn text(&self, name: &str) -> Option<Item<'_>> {
        let texts = self.texts.get_or_init(|| {
            let read = |(name, value): (&'e str, Attr<'e>)| match value {
                Attr::Json(text) => Some((name, Doc::parse(text.as_bytes()).ok()?)),
                Attr::String(text) if name == "resources" && text.starts_with('[') => {
                    let doc = Doc::parse(text.as_bytes()).ok()?;
                    (doc.root().kind() == Kind::Array).then_some((name, doc))
                }
                _ => None,
            };
            self.event().into_iter().flat_map(Event::attrs).filter_map(read).collect()
        });
        texts.iter().find(|(n, _)| *n == name).map(|(_, doc)| doc.root())
    }
}
