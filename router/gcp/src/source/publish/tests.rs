//! Frames, names and errors; what a call does is tried by clients of Google, in the suite `gcp`.

use bytes::Bytes;
use router_core::source::{Kind, Rejection};
use schemas::Place;

use super::*;

fn rejection(kind: Kind) -> Rejection {
    Rejection { code: crate::codes::MESSAGE_FORMAT, place: Place::Event, message: "no".into(), kind }
}

#[test]
fn topics_are_whole_names() {
    for good in ["projects/p/topics/t", "projects/example.com:p/topics/a-b_c.d~e+f%g"] {
        assert!(is_topic(good), "{good}");
    }
    for bad in [
        "t",
        "projects/p/topics/",
        "projects//topics/t",
        "projects/p/subscriptions/t",
        "projects/p/topics/t/u",
        "projects/p/topics/ä",
    ] {
        assert!(!is_topic(bad), "{bad}");
    }
}

#[test]
fn a_passing_reason_outweighs_one_for_good_and_the_error_says_what_is_durable() {
    let wait = Duration::from_secs(3);
    let all = [None, Some(rejection(Kind::Invalid)), Some(rejection(Kind::Busy { retry_after: wait }))];
    let told = refused(all.iter().map(Option::as_ref)).unwrap();
    assert_eq!((told.code, told.retry_after), (Code::Unavailable, Some(wait)));
    assert_eq!(told.message, "message 2: event: no (pubsub-format); of this call all are durable but messages 1, 2");
    let good = refused(all.iter().take(2).map(Option::as_ref)).unwrap();
    assert_eq!((good.code, good.retry_after), (Code::InvalidArgument, None));
    assert_eq!(refused([None, None].into_iter()), None);
}

#[test]
fn an_answer_ends_with_its_status_behind_the_message_or_in_the_head() {
    use router_http::endpoint::Trailers;
    let good = grpc::answer(Ok(Bytes::from_static(b"x")));
    let Trailers(trailers) = good.extensions().get().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
    let bad = grpc::answer(Err(Refusal::new(Code::NotFound, "no 100 % café\n")));
    assert_eq!((bad.status(), &bad.headers()["grpc-status"]), (StatusCode::OK, &"5".parse().unwrap()));
    assert_eq!(bad.headers()["grpc-message"], "no 100 %25 caf%C3%A9%0A");
    assert!(bad.extensions().get::<Trailers>().is_none());
}

#[test]
fn a_frame_holds_one_message_and_says_whether_it_is_compressed() {
    let frame = |flag: u8, length: u8, message: &[u8]| Bytes::from([&[flag, 0, 0, 0, length], message].concat());
    let message = || Bytes::from_static(b"xy");
    assert_eq!(grpc::message(&frame(0, 2, b"xy")), Ok(grpc::Framed::Plain(message())));
    assert_eq!(grpc::message(&frame(1, 2, b"xy")), Ok(grpc::Framed::Compressed(message())));
    for broken in [frame(2, 2, b"xy"), frame(0, 3, b"xy"), frame(1, 1, b"xy"), Bytes::from_static(b"\0\0\0\0")] {
        assert_eq!(grpc::message(&broken).unwrap_err().code, Code::InvalidArgument, "{broken:?}");
    }
}
