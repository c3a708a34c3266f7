//! The program and its admin API, from outside.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

#[allow(dead_code, reason = "not every test needs all of it")]
mod client;

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Method, StatusCode};
use wa_sim::{Sim, SimConfig};

struct Admin {
    url: String,
    agent: Agent,
}

impl Admin {
    fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            agent: Agent::config_builder()
                .http_status_as_error(false)
                .proxy(None)
                .build()
                .new_agent(),
        }
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let (agent, url) = (self.agent.clone(), format!("{}{path}", self.url));
        let asked = move || {
            let answer = if method == Method::GET {
                agent.get(url).call()
            } else if method == Method::DELETE {
                agent.delete(url).call()
            } else {
                agent.post(url).send_json(body)
            };
            let mut answer = answer.unwrap();
            (answer.status(), answer.body_mut().read_json().unwrap())
        };
        tokio::task::spawn_blocking(asked).await.unwrap()
    }
}

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_program_says_where_it_is_and_goes_with_its_stdin() {
    let mut program = Program(
        Command::new(env!("CARGO_BIN_EXE_wa-sim"))
            .arg("--exit-with-stdin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    let stdout = program.0.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    assert!(
        ready["url"]
            .as_str()
            .unwrap()
            .starts_with("ws://127.0.0.1:")
    );

    let admin = Admin::new(ready["admin"].as_str().unwrap());
    let (status, state) = admin.ask(Method::GET, "/state", json!({})).await;
    assert_eq!((status, &state["accounts"]), (StatusCode::OK, &json!({})));

    drop(program.0.stdin.take());
    assert!(program.0.wait().unwrap().success());
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let port = sim
        .url()
        .trim_end_matches("/ws/chat")
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    let output = Command::new(env!("CARGO_BIN_EXE_wa-sim"))
        .args(["--port", &port])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("cannot listen on") && text.lines().count() == 1,
        "{text}"
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn the_admin_api_does_what_the_library_does() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let admin = Admin::new(&sim.admin_url());
    for number in ["15550001", "15550002"] {
        let body = json!({ "number": number, "name": "Ada" });
        let (status, answer) = admin.ask(Method::POST, "/phones", body).await;
        assert_eq!(
            (status, &answer["number"]),
            (StatusCode::OK, &json!(number))
        );
    }
    let text = json!({ "to": "15550002", "text": "hello" });
    let (_, sent) = admin
        .ask(Method::POST, "/phones/15550001/messages", text)
        .await;
    let phone = sim.phone("15550002").unwrap();
    let wait = sim.wait_ledger(&phone, "message", client::DEADLINE, |ledger| {
        !ledger.received.is_empty()
    });
    wait.await.unwrap();
    let read = json!({ "ids": [sent["id"]] });
    admin.ask(Method::POST, "/phones/15550002/read", read).await;
    let sender = sim.phone("15550001").unwrap();
    let wait = sim.wait_ledger(&sender, "read", client::DEADLINE, |ledger| {
        ledger.sent[0].receipts.len() == 2
    });
    wait.await.unwrap();
    let (_, ledger) = admin
        .ask(Method::GET, "/phones/15550001/ledger", json!({}))
        .await;
    let receipts = &ledger["sent"][0]["receipts"];
    assert_eq!(receipts[0]["kind"], "delivered");
    assert_eq!(
        (&receipts[1]["kind"], &receipts[1]["from"]),
        (&json!("read"), &json!("15550002:0"))
    );

    let fault = json!({ "kind": "stall", "stage": "login", "account": "15550001" });
    let (_, added) = admin.ask(Method::POST, "/faults", fault).await;
    let (_, state) = admin.ask(Method::GET, "/state", json!({})).await;
    assert_eq!(state["faults"][0]["id"], added["id"]);
    admin.ask(Method::DELETE, "/faults", json!({})).await;
    assert!(sim.state().faults.is_empty());

    let (_, oracle) = admin.ask(Method::GET, "/oracle", json!({})).await;
    assert_eq!(
        (
            &oracle["violations"],
            &oracle["counts"]["messages_accepted"]
        ),
        (&json!([]), &json!(1))
    );
    sim.shutdown().await;
}

#[tokio::test]
async fn bad_requests_are_answered_with_reasons() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let admin = Admin::new(&sim.admin_url());
    sim.add_phone("15550001", "").unwrap();
    for (path, body, expected) in [
        (
            "/phones",
            json!({ "number": "12" }),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/phones",
            json!({ "number": "15550001" }),
            StatusCode::CONFLICT,
        ),
        (
            "/phones",
            json!({ "nummer": "1" }),
            StatusCode::UNPROCESSABLE_ENTITY,
        ),
        (
            "/phones/15550009/scan",
            json!({ "qr": "x" }),
            StatusCode::NOT_FOUND,
        ),
        (
            "/phones/15550001/scan",
            json!({ "qr": "x" }),
            StatusCode::BAD_REQUEST,
        ),
        (
            "/phones/15550001/messages",
            json!({ "to": "1", "text": "" }),
            StatusCode::NOT_FOUND,
        ),
        (
            "/phones/15550001/unlink",
            json!({ "device": 1 }),
            StatusCode::NOT_FOUND,
        ),
        (
            "/faults",
            json!({ "kind": "stall", "stage": "accept", "account": "1" }),
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let (status, answer) = admin.ask(Method::POST, path, body).await;
        assert_eq!(status, expected, "{path}: {answer}");
        assert!(!answer["error"].as_str().unwrap().is_empty());
    }
    let path = "/accounts/15550001/connected?wait_ms=1";
    let (status, _) = admin.ask(Method::GET, path, json!({})).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    sim.shutdown().await;
}
