//! The catalogue: JSON Schemas by the type of event that they describe, compiled once, which judge the data of events.
//!
//! An event is judged by the schema that its `dataschema` names, else by that of its `type`; one without either is not
//! judged. Schemas come from documents that the caller has at hand; nothing is ever fetched: a `$ref` to what is
//! not in the catalogue is an error when it is made, and no event makes anybody look anywhere.
//!
//! The validator is the `jsonschema` crate's, over the nodes of [`crate::doc`]: data is read once, without a tree of its
//! own. `format` says nothing here, as JSON Schema 2020-12 has it where nobody asks for more. Patterns are matched in
//! linear time; one that needs more (a look-around, a backreference) is refused when the catalogue is made.
//!
//! ```
//! use schemas::{Event, Form, catalogue::{Catalogue, Document}};
//! let catalogue = Catalogue::new(Document::built_in()).map_err(|errors| errors[0].clone())?;
//! let order = Event::builder("1", "/shop/7", "coffee.order.created").data(Form::Json, r#"{"order":"1"}"#).build()?;
//! let found = catalogue.judge(&order);
//! assert_eq!(found[0].to_string(), "data: \"shop\" is a required property");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod built_in;
mod refs;
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use jsonschema::{PatternOptions, Registry, Retrieve, Uri, ValidationError, Validator, error::ValidationErrorKind};
use serde_json::Value;

use crate::{
    codes,
    doc::Doc,
    event::{Event, Form},
    invalid::{Code, Place, printable},
};
use tree::{Data, Tree};

/// Levels of arrays and objects in data that is judged: a schema that names itself walks them one inside the other.
pub const DEPTH_MAX: usize = 128;
/// What is told of one event at most.
pub const FINDINGS_MAX: usize = 10;
/// Characters of what is told of one place.
const MESSAGE_CHARS_MAX: usize = 300;

/// A schema as somebody wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it comes from: a file, or `built in`.
    pub origin: Box<str>,
    /// The type of event whose data it describes.
    pub kind: Box<str>,
    /// Its JSON.
    pub text: Box<str>,
}

impl Document {
    /// What a built-in schema says of where it comes from.
    pub const BUILT_IN: &'static str = "built in";

    /// The schemas of the platform's own events.
    pub fn built_in() -> Vec<Document> {
        let document = |(kind, text): &(&str, &str)| Document {
            origin: Self::BUILT_IN.into(),
            kind: (*kind).into(),
            text: (*text).into(),
        };
        built_in::ALL.iter().map(document).collect()
    }
}

/// Why a catalogue cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {}{message}", at(.pointer))]
pub struct Error {
    /// The document.
    pub origin: Box<str>,
    /// Where in it, as a JSON Pointer; empty: the whole document.
    pub pointer: Box<str>,
    /// What is wrong and what to do.
    pub message: Box<str>,
}

fn at(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!("{pointer}: ") }
}

impl Error {
    fn new(origin: &str, pointer: impl Into<Box<str>>, message: impl Into<Box<str>>) -> Self {
        Error { origin: origin.into(), pointer: pointer.into(), message: message.into() }
    }
}

/// What is wrong with the data of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, for programs.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// The keyword of the schema that says so, e.g. `required`; empty where no keyword does.
    pub keyword: Box<str>,
    /// What is wrong, for people; the value itself is not repeated.
    pub message: Box<str>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A schema of the catalogue.
pub struct Entry {
    /// The document.
    pub document: Document,
    /// Its `$id`, which `dataschema` may name.
    pub id: Option<Box<str>>,
    /// Its `title`.
    pub title: Option<Box<str>>,
    validator: Validator<Tree>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("document", &self.document).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Compiled schemas.
#[derive(Debug, Default)]
pub struct Catalogue {
    entries: Vec<Entry>,
    kinds: BTreeMap<Box<str>, usize>,
    ids: BTreeMap<Box<str>, usize>,
}

impl Catalogue {
    /// Compiles documents. Of two for one type the later one holds.
    ///
    /// # Errors
    /// Everything that is wrong, each with its document and place.
    pub fn new(documents: Vec<Document>) -> Result<Self, Vec<Error>> {
        let mut errors = Vec::new();
        let sources = read(documents, &mut errors);
        unique_ids(&sources, &mut errors);
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut catalogue = Catalogue::default();
        match registry(&sources) {
            Ok(registry) => {
                for source in &sources {
                    match compile(source, &registry) {
                        Ok(validator) => catalogue.add(source, validator),
                        Err(e) => errors.push(refused(source, &sources, e)),
                    }
                }
            }
            Err(e) => errors.push(refs::unresolved(&sources, &e)),
        }
        if errors.is_empty() { Ok(catalogue) } else { Err(errors) }
    }

    fn add(&mut self, source: &Source, validator: Validator<Tree>) {
        let text = |name| source.schema.get(name).and_then(Value::as_str).map(Box::from);
        let entry = Entry { document: source.document.clone(), id: text("$id"), title: text("title"), validator };
        let index = self.entries.len();
        self.kinds.insert(entry.document.kind.clone(), index);
        if let Some(id) = &entry.id {
            self.ids.insert(id.clone(), index);
        }
        self.entries.push(entry);
    }

    /// The schemas, by type.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.kinds.values().filter_map(|index| self.entries.get(*index))
    }

    /// The schema for a type, or of an `$id`.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries.get(*self.kinds.get(name).or_else(|| self.ids.get(name))?)
    }

    /// The schema that judges an event: the one that its `dataschema` names, else the one for its type.
    fn of(&self, event: &Event) -> Result<Option<&Entry>, Finding> {
        let by_kind = self.kinds.get(event.kind()).and_then(|index| self.entries.get(*index));
        let Some(named) = event.get("dataschema").map(|value| value.to_string()) else { return Ok(by_kind) };
        if let Some(index) = self.ids.get(named.trim_end_matches('#')) {
            return Ok(self.entries.get(*index));
        }
        // Nobody said anything about this type; but a type that is judged is not let off by naming something else.
        let Some(known) = by_kind else { return Ok(None) };
        let has = known.id.as_deref().map(|id| format!("; for this type it has {id}")).unwrap_or_default();
        Err(Finding {
            code: codes::DATASCHEMA_UNKNOWN,
            place: Place::attribute("dataschema"),
            keyword: "".into(),
            message: bounded(&format!("the catalogue has no schema {named}{has}")),
        })
    }

    /// Whether a schema judges this event.
    pub fn knows(&self, event: &Event) -> bool {
        !matches!(self.of(event), Ok(None))
    }

    /// What is wrong with the data of an event, at most [`FINDINGS_MAX`]; nothing for an event that no schema judges.
    pub fn judge(&self, event: &Event) -> Vec<Finding> {
        let entry = match self.of(event) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Vec::new(),
            Err(finding) => return vec![finding],
        };
        let whole = |message: String| vec![violation(Place::Data, "", &message)];
        let name = entry.id.as_deref().unwrap_or(&entry.document.kind);
        match event.form() {
            Form::Json => {}
            Form::None => return whole(format!("there is none, and {name} describes it")),
            Form::Text | Form::Binary => return whole(format!("it is no JSON, which {name} describes")),
        }
        // An event is valid by construction.
        let Ok(doc) = Doc::parse(event.data()) else { return whole("it cannot be read".into()) };
        if doc.levels() > DEPTH_MAX {
            return whole(format!("more than {DEPTH_MAX} levels are not judged by a schema"));
        }
        let data = Data::of(doc.root());
        if entry.validator.is_valid(data.clone()) {
            return Vec::new();
        }
        entry.validator.iter_errors(data).take(FINDINGS_MAX).map(|e| found(&e)).collect()
    }
}

fn violation(place: Place, keyword: &str, message: &str) -> Finding {
    Finding { code: codes::SCHEMA_VIOLATED, place, keyword: keyword.into(), message: bounded(message) }
}

/// A finding of the validator, without the value that it is about: answers and marks are not for payloads.
fn found(error: &ValidationError<'_>) -> Finding {
    let pointer = error.instance_path().as_str();
    let place = if pointer.is_empty() { Place::Data } else { Place::member(pointer) };
    violation(place, error.kind().keyword(), &error.masked_with("this value").to_string())
}

fn bounded(message: &str) -> Box<str> {
    printable(message, MESSAGE_CHARS_MAX)
}

/// A document, read.
struct Source {
    document: Document,
    schema: Value,
    /// What its references are relative to: its `$id`, else a name of our own.
    base: String,
}

fn read(documents: Vec<Document>, errors: &mut Vec<Error>) -> Vec<Source> {
    // The later one holds: it takes the place of the one before, whose name it may have.
    let mut by_kind: BTreeMap<Box<str>, Document> = BTreeMap::new();
    for document in documents {
        by_kind.insert(document.kind.clone(), document);
    }
    let mut sources = Vec::new();
    for document in by_kind.into_values() {
        match serde_json::from_str::<Value>(&document.text) {
            Ok(schema) if schema.is_object() || schema.is_boolean() => {
                let id = schema.get("$id").and_then(Value::as_str).map(str::to_owned);
                let base = id.unwrap_or_else(|| format!("{OWN_BASE}{}.schema.json", document.kind));
                sources.push(Source { document, schema, base });
            }
            Ok(_) => errors.push(Error::new(&document.origin, "", "a schema is an object, `true` or `false`")),
            Err(e) => errors.push(Error::new(&document.origin, "", format!("this is not JSON: {e}"))),
        }
    }
    sources
}

/// Where a schema without an `$id` stands, so that its neighbours can refer to it by the name of its file.
const OWN_BASE: &str = "catalogue:///";

fn unique_ids(sources: &[Source], errors: &mut Vec<Error>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for source in sources {
        if let Some(first) = seen.insert(&source.base, &source.document.origin) {
            let message = format!("{} is the $id of {first} already; give each schema its own", source.base);
            errors.push(Error::new(&source.document.origin, "/$id", message));
        }
    }
}

/// Fetches nothing.
struct Nowhere;

impl Retrieve for Nowhere {
    fn retrieve(&self, _: &Uri<String>) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err("it is not in the catalogue, and nothing is fetched".into())
    }
}

fn registry(sources: &[Source]) -> Result<Registry<'_>, jsonschema::ReferencingError> {
    let mut registry = Registry::new().retriever(Nowhere);
    for source in sources {
        registry = registry.add(&source.base, &source.schema)?;
    }
    registry.prepare()
}

fn compile(source: &Source, registry: &Registry<'_>) -> Result<Validator<Tree>, ValidationError<'static>> {
    jsonschema::options_for::<Tree>()
        .with_base_uri(source.base.clone())
        .with_registry(registry)
        .with_retriever(Nowhere)
        .with_pattern_options(PatternOptions::regex())
        .should_validate_formats(false)
        .build(&source.schema)
}

fn refused(source: &Source, sources: &[Source], error: ValidationError<'static>) -> Error {
    if let ValidationErrorKind::Referencing(e) = error.kind() {
        return refs::unresolved(sources, e);
    }
    // What the schema's own schema says is about a place in the schema, which is the instance here.
    let pointer = error.instance_path().as_str();
    Error::new(&source.document.origin, pointer, bounded(&error.to_string()))
}

/// The types that are built in.
pub fn built_in_types() -> BTreeSet<&'static str> {
    built_in::ALL.iter().map(|(kind, _)| *kind).collect()
}

#[cfg(test)]
mod tests;
