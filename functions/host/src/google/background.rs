//! Background events, which functions of the first generation get: `{"context":{eventId,timestamp,eventType,resource},
//! "data":…}`, or with the context's members beside the data, as the CloudEvents that stand for them.
//! [functions-framework-conformance, docs/mapping.md]

use schemas::{Event, Form, doc::Item};

use crate::{function::Failure, wire::envelope};

/// Who tells of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Service {
    PubSub,
    Storage,
    Firestore,
    Analytics,
    Auth,
    Database,
}

use Service::{Analytics, Auth, Database, Firestore, PubSub, Storage};

/// A type of background events, who tells of it, and the type of its CloudEvent.
const TYPES: [(&str, Service, &str); 18] = [
    ("google.pubsub.topic.publish", PubSub, ""),
    ("providers/cloud.pubsub/eventTypes/topic.publish", PubSub, ""),
    ("google.storage.object.finalize", Storage, "google.cloud.storage.object.v1.finalized"),
    ("google.storage.object.delete", Storage, "google.cloud.storage.object.v1.deleted"),
    ("google.storage.object.archive", Storage, "google.cloud.storage.object.v1.archived"),
    ("google.storage.object.metadataUpdate", Storage, "google.cloud.storage.object.v1.metadataUpdated"),
    ("providers/cloud.storage/eventTypes/object.change", Storage, "google.cloud.storage.object.v1.finalized"),
    ("providers/cloud.firestore/eventTypes/document.write", Firestore, "google.cloud.firestore.document.v1.written"),
    ("providers/cloud.firestore/eventTypes/document.create", Firestore, "google.cloud.firestore.document.v1.created"),
    ("providers/cloud.firestore/eventTypes/document.update", Firestore, "google.cloud.firestore.document.v1.updated"),
    ("providers/cloud.firestore/eventTypes/document.delete", Firestore, "google.cloud.firestore.document.v1.deleted"),
    ("providers/google.firebase.analytics/eventTypes/event.log", Analytics, "google.firebase.analytics.log.v1.written"),
    ("providers/firebase.auth/eventTypes/user.create", Auth, "google.firebase.auth.user.v1.created"),
    ("providers/firebase.auth/eventTypes/user.delete", Auth, "google.firebase.auth.user.v1.deleted"),
    ("providers/google.firebase.database/eventTypes/ref.create", Database, "google.firebase.database.ref.v1.created"),
    ("providers/google.firebase.database/eventTypes/ref.write", Database, "google.firebase.database.ref.v1.written"),
    ("providers/google.firebase.database/eventTypes/ref.update", Database, "google.firebase.database.ref.v1.updated"),
    ("providers/google.firebase.database/eventTypes/ref.delete", Database, "google.firebase.database.ref.v1.deleted"),
];
/// The domain of databases that stand where they always stood, and where that is.
const DATABASE_DOMAIN: (&str, &str) = ("firebaseio.com", "us-central1");
/// What users' metadata call their times, before and in a CloudEvent.
const USER_TIMES: [(&str, &str); 2] = [("createdAt", "createTime"), ("lastSignedInAt", "lastSignInTime")];

/// The CloudEvents of a background event: of a message of Pub/Sub perhaps several, if it holds such.
///
/// # Errors
/// A refusal with the place.
pub(super) fn read(root: &Item<'_>) -> Result<Vec<Event>, Failure> {
    let context = root.get("context").unwrap_or(*root);
    let of = |name: &str| {
        let missing = || invalid(format!("{name} is no string, or not there"));
        envelope::text(&context, name).ok_or_else(missing)
    };
    let (id, time, told) = (of("eventId")?, of("timestamp")?, of("eventType")?);
    let data = root.get("data").ok_or_else(|| invalid("no data".into()))?;
    let resource = match context.get("resource") {
        Some(resource) => resource.as_str().or_else(|| envelope::text(&resource, "name")),
        None => None,
    };
    let resource = resource.unwrap_or_default();
    let Some((_, service, kind)) = TYPES.iter().find(|(name, ..)| *name == told) else {
        let message = format!(
            "background event: type {told} is not read here; deploy the function with an Eventarc trigger, which \
             sends CloudEvents"
        );
        return Err(Failure::refuse("payload-unknown", message));
    };
    if *service == PubSub {
        let whole = with_message(&data, &id, &time);
        let doc = schemas::doc::Doc::parse(whole.as_bytes())?;
        let message = doc.root().get("message").unwrap_or(doc.root());
        return envelope::pubsub(&message, Some(&resource), &whole);
    }
    let domain = envelope::text(root, "domain");
    let (source, mut subject) = service.split(&resource, domain.as_deref())?;
    let mut json = data.raw().to_owned();
    if *service == Auth {
        subject = envelope::text(&data, "uid").map(|uid| format!("users/{uid}"));
        json = with_user_times(&data);
    }
    let builder = Event::builder(&id, &source, kind).attr("time", &*time).attr("datacontenttype", "application/json");
    let builder = match &subject {
        Some(subject) => builder.attr("subject", subject.as_str()),
        None => builder,
    };
    Ok(vec![builder.data(Form::Json, json).build()?])
}

impl Service {
    /// `source` and `subject` of a resource's CloudEvents.
    fn split(self, resource: &str, domain: Option<&str>) -> Result<(String, Option<String>), Failure> {
        let (host, cut, form) = match self {
            PubSub => ("pubsub.googleapis.com", "", "projects/P/topics/T"),
            Storage => ("storage.googleapis.com", "/objects/", "projects/_/buckets/B/objects/O"),
            Firestore => ("firestore.googleapis.com", "/documents/", "projects/P/databases/D/documents/DOCUMENT"),
            Analytics => ("firebase.googleapis.com", "/events/", "projects/P/events/E"),
            Auth => return Ok((format!("//firebaseauth.googleapis.com/{resource}"), None)),
            Database => ("firebasedatabase.googleapis.com", "/refs/", "projects/_/instances/I/refs/R"),
        };
        let wrong = || invalid(format!("resource `{resource}` is not of the form {form}"));
        let (whole, part) =
            resource.split_once(cut).filter(|(whole, _)| whole.starts_with("projects/")).ok_or_else(wrong)?;
        let part = match self {
            // Behind it stands which generation of the object it is, where that is told.
            Storage => part.rsplit_once('#').map_or(part, |(object, generation)| {
                if generation.bytes().all(|b| b.is_ascii_digit()) { object } else { part }
            }),
            _ => part,
        };
        let subject = format!("{}{part}", cut.trim_start_matches('/'));
        if self != Database {
            return Ok((format!("//{host}/{whole}"), Some(subject)));
        }
        let instance = whole.strip_prefix("projects/_/").ok_or_else(wrong)?;
        let domain = domain.ok_or_else(|| invalid("domain is no string, or not there".into()))?;
        let location = match domain.split_once('.') {
            _ if domain == DATABASE_DOMAIN.0 => DATABASE_DOMAIN.1,
            Some((location, _)) => location,
            None => domain,
        };
        Ok((format!("//{host}/projects/_/locations/{location}/{instance}"), Some(subject)))
    }
}

fn invalid(what: String) -> Failure {
    Failure::refuse("payload-invalid", format!("background event: {what}"))
}

/// A background event's message as a push has it: with its id and its time.
fn with_message(data: &Item<'_>, id: &str, time: &str) -> String {
    let inside = data.raw().trim().strip_prefix('{').and_then(|d| d.strip_suffix('}')).unwrap_or_default().trim();
    let mut message = String::from("{\"message\":{");
    message.push_str(inside);
    for (name, value) in [("messageId", id), ("publishTime", time)] {
        if data.get(name).is_none() {
            if !message.ends_with('{') {
                message.push(',');
            }
            // A text always has a JSON form.
            message.push_str(&format!("\"{name}\":{}", serde_json::Value::from(value)));
        }
    }
    message.push_str("}}");
    message
}

/// A user with the times of its metadata under their names of today; every other byte of a value as it is.
fn with_user_times(user: &Item<'_>) -> String {
    if user.get("metadata").is_none() {
        return user.raw().to_owned();
    }
    let renamed = |name: &str| {
        USER_TIMES.iter().find(|(old, _)| *old == name).map_or(name.to_owned(), |(_, new)| (*new).to_owned())
    };
    let object = |members: Vec<(String, String)>| {
        let members = members.iter().map(|(name, raw)| format!("{}:{raw}", serde_json::Value::from(name.as_str())));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let member = |(name, value): (std::borrow::Cow<'_, str>, Item<'_>)| {
        let raw = match &*name {
            "metadata" if value.kind() == schemas::doc::Kind::Object => {
                object(value.members().map(|(name, value)| (renamed(&name), value.raw().to_owned())).collect())
            }
            _ => value.raw().to_owned(),
        };
        (name.into_owned(), raw)
    };
    object(user.members().map(member).collect())
}
