//! What an operator does, through the binary, against a router in this process.

use std::time::Duration;

use router_http::{Secret, client::Client};

use crate::world::{World, order, run};

#[tokio::test(flavor = "multi_thread")]
async fn dead_letter_is_listed_shown_and_redriven() {
    let world = World::start().await;
    world.sink.answer(422);
    let (exit, out, err) = world.cli(&["publish", "-"], &order("1")).await;
    assert_eq!((exit, out.as_str(), err.as_str()), (0, "accepted 1, duplicate 0, refused 0\n", ""));
    world.until_listed(1).await;

    let (exit, out, _) = world.cli(&["dead-letters", "ls"], "").await;
    assert_eq!(exit, 0);
    assert!(out.contains("orders") && out.contains("refused") && out.contains("422"), "{out}");
    let (_, out, _) = world.cli(&["dead-letters", "ls", "--output", "json"], "").await;
    let page: serde_json::Value = serde_json::from_str(&out).unwrap();
    let id = page["dead_letters"][0]["id"].as_str().unwrap();
    let (exit, out, _) = world.cli(&["dead-letters", "show", id], "").await;
    assert_eq!(exit, 0);
    assert!(out.contains(r#""data":{"total":4.50}"#) && out.contains("422"), "{out}");

    world.sink.answer(204);
    let (exit, out, _) = world.cli(&["dead-letters", "redrive", id], "").await;
    assert_eq!((exit, out.as_str()), (0, "redriven: 1\n"));
    world.until("delivered", |s| s["routes"][0]["delivered"] == 1 && s["routes"][0]["dead_letters"] == 0).await;
    assert_eq!(world.sink.taken(), ["1"]);

    let (exit, _, err) = world.cli(&["dead-letters", "show", id], "").await;
    assert_eq!(exit, 1);
    assert!(err.contains("there is no open dead letter"), "{err}");
    let (exit, out, _) = world.cli(&["dead-letters", "redrive", "--all"], "").await;
    assert_eq!((exit, out.as_str()), (1, "redriven: 0\n"));
    world.running.stop(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_come_in_pages() {
    let world = World::start().await;
    world.sink.answer(422);
    let orders: String = (0..25).map(|i| order(&i.to_string())).collect();
    world.cli(&["publish", "-"], &orders).await;
    world.until_listed(25).await;
    let (mut after, mut ids) = (None::<String>, Vec::new());
    loop {
        let mut args = vec!["dead-letters", "ls", "--count", "10", "--output", "json", "--route", "orders"];
        args.extend(after.iter().flat_map(|id| ["--after", id.as_str()]));
        let (_, out, _) = world.cli(&args, "").await;
        let page: serde_json::Value = serde_json::from_str(&out).unwrap();
        ids.extend(page["dead_letters"].as_array().unwrap().iter().map(|d| d["id"].as_str().unwrap().to_owned()));
        after = page["next"].as_str().map(Into::into);
        if after.is_none() {
            break;
        }
    }
    ids.dedup();
    assert_eq!(ids.len(), 25);
    let (_, out, _) = world.cli(&["dead-letters", "ls", "--route", "other"], "").await;
    assert_eq!(out, "no dead letters\n");
}

/// Goal: nothing is ended by a slip: a trial changes nothing, several want a yes, and what was not chosen stays.
#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_counted_redriven_and_purged_by_choice() {
    let world = World::start().await;
    world.sink.answer(422);
    let orders: String = (0..5).map(|i| order(&i.to_string())).collect();
    world.cli(&["publish", "-"], &orders).await;
    world.until_listed(5).await;
    let act = async |args: &[&str]| {
        let (exit, out, err) = world.cli(&[&["dead-letters"], args].concat(), "").await;
        (exit, format!("{out}{err}"))
    };
    let long_ago = ["--before", "2020-01-01T00:00:00Z"];
    assert_eq!(act(&["ls", long_ago[0], long_ago[1]]).await, (0, "no dead letters\n".into()));
    assert!(act(&["ls", "--since", "1h", "--target", "sink", "--route", "orders"]).await.1.lines().count() == 6);
    let third = ["--where", r#"{"exact": {"id": "2"}}"#];
    assert_eq!(act(&["ls", third[0], third[1]]).await.1.lines().count(), 2);
    assert_eq!(act(&["redrive", "--dry-run", third[0], third[1]]).await, (0, "would be redriven: 1\n".into()));
    assert!(act(&["redrive", "--where", "{}"]).await.1.contains("`--where` is no filter"));
    assert_eq!(act(&["purge", long_ago[0], long_ago[1]]).await, (1, "purged: 0\n".into()));
    let route = ["--route", "orders", "--reason", "refused"];
    let with = |act: &'static str, more: &'static str| [&[act][..], &route, &[more]].concat();
    assert_eq!(act(&with("redrive", "--dry-run")).await, (0, "would be redriven: 5\n".into()));
    assert_eq!(act(&with("purge", "--dry-run")).await, (0, "would be purged: 5\n".into()));
    let (exit, said) = act(&["purge", "--all"]).await;
    assert!(exit == 2 && said.contains("error[R0033]: 5 dead letters") && said.contains("--yes"), "{exit} {said}");
    world.until_listed(5).await;
    let (_, page) = act(&["ls", "--output", "json"]).await;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let id = page["dead_letters"][2]["id"].as_str().unwrap();
    assert_eq!(act(&["purge", id]).await, (0, "purged: 1\n".into()));
    world.until_listed(4).await;
    assert_eq!(act(&["purge", third[0], third[1]]).await, (1, "purged: 0\n".into()), "it was that one");
    assert_eq!(act(&with("purge", "--yes")).await, (0, "purged: 4\n".into()));
    world.until_listed(0).await;
    for wrong in [&["purge"][..], &["redrive"], &["purge", "--all", "--route", "orders"], &["ls", "--since", "never"]] {
        assert_eq!(act(wrong).await.0, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_is_shown_edited_and_taken_in_as_a_new_event() {
    let world = World::start().await;
    world.sink.answer(422);
    world.cli(&["publish", "-"], &order("1")).await;
    world.until_listed(1).await;
    let (_, page, _) = world.cli(&["dead-letters", "ls", "--output", "json"], "").await;
    let page: serde_json::Value = serde_json::from_str(&page).unwrap();
    let id = page["dead_letters"][0]["id"].as_str().unwrap();
    let (exit, event, _) = world.cli(&["dead-letters", "show", id, "--event"], "").await;
    assert_eq!((exit, serde_json::from_str::<serde_json::Value>(&event).unwrap()["id"].as_str()), (0, Some("1")));
    let edit = ["dead-letters", "redrive", id, "--edit", "-"];
    let (exit, _, said) = world.cli(&edit, &event).await;
    assert!(exit == 1 && said.contains("error[edit-identity]"), "{exit} {said}");
    let (exit, _, said) = world.cli(&edit, "no JSON").await;
    assert!(exit == 1 && said.contains("error[event]"), "{exit} {said}");
    world.sink.answer(202);
    let (exit, out, said) = world.cli(&[&edit[..], &["--new-id"]].concat(), &event).await;
    assert!(exit == 0 && out.starts_with("taken in as ") && out.contains("on bus default"), "{out}{said}");
    world.until_listed(0).await;
    for wrong in [&["--edit", "-", "--all"][..], &["--edit", "-", "--route", "orders"], &["x", "--new-id"]] {
        assert_eq!(world.cli(&[&["dead-letters", "redrive"][..], wrong].concat(), "").await.0, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_names_the_line_of_each_refused_event() {
    let world = World::start().await;
    let text = format!("{}\nnonsense\n{}{}", order("1"), order("1"), order("2").replace("1.0", "0.3"));
    let (exit, out, err) = world.cli(&["publish", "-"], &text).await;
    assert_eq!((exit, out.as_str()), (1, "accepted 1, duplicate 1, refused 2\n"));
    assert!(err.starts_with("line 3: ") && err.contains("\nline 5: "), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_shows_its_key_and_says_so_when_it_is_wrong() {
    let world = World::start().await;
    let to = format!("http://{}/keyed", world.running.listen());
    let (exit, out, _) = world.cli(&["publish", "-", "--to", &to, "--key", "k3y"], &order("1")).await;
    assert_eq!((exit, out.as_str()), (0, "accepted 1, duplicate 0, refused 0\n"));
    let (exit, _, err) = world.cli(&["publish", "-", "--to", &to, "--key", "s3cr3t"], &order("1")).await;
    assert_eq!(exit, 69);
    assert!(err.contains("GOCOFFEE_KEY") && !err.contains("s3cr3t"), "{err}");
    let to = format!("http://{}/elsewhere", world.running.listen());
    let (exit, _, err) = world.cli(&["publish", "-", "--to", &to], &order("1")).await;
    assert_eq!(exit, 69);
    assert!(err.contains("--to names the URL of a source"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_waits_and_resends_what_there_was_no_room_for() {
    use axum::{http::StatusCode, response::IntoResponse};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = format!("http://{}/events", listener.local_addr().unwrap());
    let bodies = std::sync::Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let seen = bodies.clone();
    let answer = async move |body: String| {
        let mut bodies = seen.lock().unwrap();
        bodies.push(body);
        let lists = r#"{"accepted":[{"index":0}],"duplicate":[],"refused":[{"index":1,"code":"busy","place":"event","message":"later","retry":true}]}"#;
        match bodies.len() {
            1 => (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], lists).into_response(),
            _ => (StatusCode::ACCEPTED, r#"{"accepted":1,"duplicate":0,"looped":0,"offsets":[2]}"#).into_response(),
        }
    };
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    let begun = std::time::Instant::now();
    let (exit, out, _) = run(&["publish", "-", "--to", &to], &format!("{}{}", order("1"), order("2"))).await;
    assert_eq!((exit, out.as_str()), (0, "accepted 2, duplicate 0, refused 0\n"));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    let bodies = bodies.lock().unwrap();
    assert_eq!(bodies[1], format!("[{}]", order("2").trim_end()));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_the_command_line_say_what_to_do() {
    let world = World::start().await;
    let token = world.data.path().join("other");
    std::fs::write(&token, "wrong\n").unwrap();
    let (exit, _, err) = world.cli(&["status", "--token-file", token.to_str().unwrap()], "").await;
    assert_eq!(exit, 69);
    assert!(err.contains("does not know this token") && !err.contains("wrong\n"), "{err}");
    let data = world.data.path().to_str().unwrap().to_owned();
    let (exit, _, err) = run(&["status", "--admin", "http://127.0.0.1:1", "--data", &data], "").await;
    assert_eq!(exit, 69);
    assert!(err.contains("does the router run?"), "{err}");
    let (exit, _, err) = run(&["status", "--data", "/nonexistent"], "").await;
    assert_eq!(exit, 69);
    assert!(err.contains("/nonexistent/admin.token") && err.contains("--data"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_refuses_with_a_problem_that_names_the_code() {
    let world = World::start().await;
    let client = Client::new().unwrap();
    let token = world.running.token().clone();
    let get = async |path: &str, token: Option<&Secret>| {
        let answer = client.get(&format!("{}{path}", world.admin()), token).await.unwrap();
        let code = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
        (answer.status.as_u16(), code.and_then(|p| p["code"].as_str().map(str::to_owned)).unwrap_or_default())
    };
    let is = |(status, code): (u16, String), expected: (u16, &str)| assert_eq!((status, code.as_str()), expected);
    for open in ["/healthz", "/readyz", "/metrics"] {
        is(get(open, None).await, (200, ""));
    }
    for closed in ["/api/status", "/api/routes", "/api/dead-letters", "/", "/nowhere"] {
        is(get(closed, None).await, (401, "token-missing-or-wrong"));
    }
    is(get("/api/status", Some(&Secret::new("x"))).await, (401, "token-missing-or-wrong"));
    is(get("/nowhere", Some(&token)).await, (404, "no-such-path"));
    is(get("/api/dead-letters/redrive", Some(&token)).await, (405, "method-not-allowed"));
    is(get("/api/dead-letters?count=0", Some(&token)).await, (400, "count"));
    is(get("/api/dead-letters?rute=x", Some(&token)).await, (400, "query"));
    is(get("/api/dead-letters?route=X", Some(&token)).await, (400, "route"));
    is(get("/api/dead-letters/x", Some(&token)).await, (400, "id"));
    is(get("/api/dead-letters/00c0ffee00c0ffee-0-17-2-0", Some(&token)).await, (404, "no-such-dead-letter"));
    for (body, code) in [
        ("{}", "selection"),
        (r#"{"all":true,"route":"a"}"#, "selection"),
        (r#"{"ids":["x"]}"#, "id"),
        (r#"{"rout":"a"}"#, "body"),
        ("x", "body"),
    ] {
        let url = format!("{}/api/dead-letters/redrive", world.admin());
        let answer = client.post_json(&url, Some(&token), body.into()).await.unwrap();
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(answer.status.is_client_error(), "{body}");
        assert_eq!(problem["code"], code, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admin_api_explains_why_an_event_does_not_match() {
    let world = World::start().await;
    let client = Client::new().unwrap();
    let ask = async |question: serde_json::Value| {
        let url = format!("{}/api/filters/explain", world.admin());
        let answer = client.post_json(&url, Some(world.running.token()), question.to_string().into()).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap())
    };
    let event =
        serde_json::json!({"specversion": "1.0", "id": "1", "source": "/s", "type": "coffee", "data": {"n": 1}});
    let filter = serde_json::json!({"pattern": {"data": {"n": [2]}}});
    let (status, why) = ask(serde_json::json!({"filter": filter, "event": event})).await;
    assert_eq!((status, &why["matches"], &why["clause"]), (200, &false.into(), &"pattern.data.n".into()), "{why}");
    let (_, why) = ask(serde_json::json!({"filter": {"sql": "data.n = 1"}, "event": event})).await;
    assert_eq!(why, serde_json::json!({"matches": true}));
    for (question, status, code) in [
        (serde_json::json!({"event": event}), 400, "question"),
        (serde_json::json!({"route": "nowhere", "event": event}), 404, "no-such-route"),
        (serde_json::json!({"filter": {"sql": "("}, "event": event}), 400, "filter"),
        (serde_json::json!({"filter": filter, "event": {"id": "1"}}), 400, "event"),
        (serde_json::json!({"filter": {"telepathy": 1}, "event": event}), 422, "body"),
    ] {
        let (got, problem) = ask(question.clone()).await;
        assert_eq!((got, problem["code"].as_str()), (status, Some(code)), "{question}: {problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_store_makes_the_router_unready_and_ends_it() {
    let world = World::start().await;
    world.cli(&["publish", "-"], &order("1")).await;
    world.store.poison("test");
    let publish = tokio::spawn({
        let to = format!("http://{}/events", world.running.listen());
        async move { run(&["publish", "-", "--to", &to], &order("2")).await }
    });
    let why = tokio::time::timeout(Duration::from_secs(10), world.running.failed()).await.unwrap();
    assert!(why.to_string().contains("restart the router"), "{why}");
    let answer = Client::new().unwrap().get(&format!("{}/readyz", world.admin()), None).await.unwrap();
    assert_eq!(answer.status.as_u16(), 503);
    publish.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_keep_their_names() {
    let world = World::start().await;
    world.cli(&["publish", "-"], &order("1")).await;
    world.until("delivered", |s| s["routes"][0]["delivered"] == 1).await;
    let bad = http::Request::post(format!("http://{}/events", world.running.listen()))
        .header("content-type", "application/cloudevents+json")
        .body(order("1").replace("/shop", "").into())
        .unwrap();
    let answer = Client::new().unwrap().send(bad, Duration::from_secs(5), 1 << 20).await.unwrap();
    assert_eq!(answer.status.as_u16(), 422);
    let answer = Client::new().unwrap().get(&format!("{}/metrics", world.admin()), None).await.unwrap();
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    // Names, labels and help are promised; figures that hang on time are not.
    let stable: String = text
        .lines()
        .filter(|l| !l.contains("_bucket{") || l.contains("+Inf"))
        .map(|l| match l.rsplit_once(' ') {
            Some((name, _)) if !l.starts_with('#') && (name.contains("seconds") || name.contains("version")) => {
                format!("{} …\n", name.split("version=").next().unwrap())
            }
            _ => format!("{l}\n"),
        })
        .collect();
    insta::assert_snapshot!(stable);
}
