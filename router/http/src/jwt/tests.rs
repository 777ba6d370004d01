use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use ring::{
    rand::SystemRandom,
    signature::{RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const SIGNING: &[u8] = include_bytes!("../../tests/jwt/signing.der");
const OTHER: &[u8] = include_bytes!("../../tests/jwt/other.der");

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_323_045)
}

fn rules(keys_url: &str) -> Rules {
    let claim = |names: &[&str], values: &[&str]| Claim {
        names: names.iter().map(|n| (*n).to_owned()).collect(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
    };
    Rules {
        keys_url: keys_url.into(),
        issuers: vec!["https://issuer/".into()],
        audiences: vec!["https://router/".into()],
        claims: vec![claim(&["appid", "azp"], &["grid"]), claim(&["verified"], &["true"])],
    }
}

fn claims() -> Value {
    json!({"iss": "https://issuer/", "aud": "https://router/", "exp": 1_767_323_045, "nbf": 1_767_323_000, "azp": "grid", "verified": true})
}

/// A token of these claims, signed with one of the two keys.
fn token(der: &[u8], kid: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "kid": kid})), part(claims));
    let key = RsaKeyPair::from_der(der).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn headers(token: &str) -> HeaderMap {
    HeaderMap::from_iter([(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap())])
}

fn published() -> String {
    let key = RsaKeyPair::from_der(SIGNING).unwrap();
    let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
    let (n, e) = (URL_SAFE_NO_PAD.encode(parts.n), URL_SAFE_NO_PAD.encode(parts.e));
    json!({"keys": [{"kty": "EC", "kid": "curve"}, {"kty": "RSA", "use": "sig", "kid": "one", "n": n, "e": e}]})
        .to_string()
}

/// Serves keys at a port of its own, and counts how often it is asked.
async fn serve(status: u16, body: String) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer =
                format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, asked)
}

#[test]
fn claims_are_held_against_the_rules() {
    let rules = rules("https://issuer/keys");
    let judge = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims();
        change(&mut claims);
        rules.judge(&claims, now()).err()
    };
    assert_eq!(judge(&|_| {}), None);
    assert_eq!(judge(&|c| c["aud"] = json!(["other", "https://router/"])), None);
    assert_eq!(judge(&|c| c["exp"] = json!(1_767_322_745)), None, "clocks differ");
    assert_eq!(judge(&|c| c["exp"] = json!(1_767_322_744)).as_deref(), Some("has ended"));
    assert_eq!(judge(&|c| c["exp"] = Value::Null).as_deref(), Some("says no end"));
    assert!(judge(&|c| c["nbf"] = json!(1_767_323_346)).unwrap().contains("not valid yet"));
    assert!(judge(&|c| c["iss"] = json!("https://issuer/other")).unwrap().contains("somebody else"));
    assert!(judge(&|c| c["aud"] = json!("https://router")).unwrap().contains("`aud`"));
    // The first name that is there counts: a second one cannot add what the first denies.
    assert!(judge(&|c| c["appid"] = json!("stranger")).unwrap().contains("`appid` or `azp`"));
    assert!(judge(&|c| c["verified"] = json!(false)).unwrap().contains("`verified`"));
}

#[tokio::test]
async fn a_token_of_a_published_key_opens_and_no_other_does() {
    let (url, asked) = serve(200, published()).await;
    let verifier = Verifier::new(rules(&url), Client::new().unwrap()).unwrap();
    let check = async |token: String| verifier.check(&headers(&token), now()).await;
    let wrong = async |token: String, why: &str| match check(token).await {
        Err(Denied::Wrong(said)) => assert!(said.contains(why), "{said}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(verifier.check(&HeaderMap::new(), now()).await, Err(Denied::Missing));
    wrong("a".into(), "no JSON Web Token").await;
    let mut stranger = claims();
    stranger["iss"] = json!("https://stranger/");
    wrong(token(OTHER, "one", &stranger), "somebody else").await;
    assert_eq!(asked.load(Ordering::SeqCst), 0, "a stranger's token costs no request");
    assert_eq!(check(token(SIGNING, "one", &claims())).await, Ok(()));
    wrong(token(OTHER, "one", &claims()), "was not signed").await;
    let forged = token(SIGNING, "one", &claims());
    let (head, signature) = forged.rsplit_once('.').unwrap();
    wrong(format!("{head}.{}", signature.chars().rev().collect::<String>()), "").await;
    wrong(token(SIGNING, "two", &claims()), "does not publish").await;
    wrong(token(SIGNING, "three", &claims()), "does not publish").await;
    assert_eq!(asked.load(Ordering::SeqCst), 1, "unknown names ask again only after a while");
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"one"}"#);
    wrong(format!("{none}.{}.", URL_SAFE_NO_PAD.encode(claims().to_string())), "RS256").await;
}

#[tokio::test]
async fn keys_that_cannot_be_had_leave_the_question_open() {
    let (url, _) = serve(500, String::new()).await;
    let verifier = Verifier::new(rules(&url), Client::new().unwrap()).unwrap();
    let answer = verifier.check(&headers(&token(SIGNING, "one", &claims())), now()).await;
    assert!(matches!(&answer, Err(Denied::Unknown(why)) if why.contains("answered 500")), "{answer:?}");
}
