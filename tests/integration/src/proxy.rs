//! Accounts with a proxy of their own: everything goes through it, or nothing
//! goes at all. The proxies here are small ones of the tests' own, on loopback.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use harness::api::{Account, Api, Method};
use harness::scene::{self, DELIVERY_LIMIT, LINK_LIMIT, Linked, Scene, play};
use harness::wait::{self, Look};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wa_sim::fault::{Disconnect, Fault, FaultKind};

const NAME: &str = "leaser";
const PASSWORD: &str = "canary-of-a-proxy-5521";

/// A proxy that speaks both protocols and wants credentials.
struct Proxy {
    address: String,
    tunnels: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let tunnels = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&tunnels);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let noted = Arc::clone(&noted);
                tokio::spawn(async move {
                    // A client that is refused sees it by itself.
                    let _ = serve(stream, &noted).await;
                });
            }
        });
        Ok(Self {
            address,
            tunnels,
            task,
        })
    }

    fn url(&self, scheme: &str, password: &str) -> String {
        format!("{scheme}://{NAME}:{password}@{}", self.address)
    }

    /// Where tunnels were opened to.
    fn targets(&self) -> Vec<String> {
        self.tunnels.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, noted: &Mutex<Vec<String>>) -> Result<()> {
    let target = match stream.read_u8().await? {
        5 => socks(&mut stream).await?,
        b'C' => connect(&mut stream).await?,
        other => bail!("neither protocol begins with {other}"),
    };
    noted.lock().unwrap().push(target.clone());
    let mut server = TcpStream::connect(&target).await?;
    tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
    Ok(())
}

async fn connect(stream: &mut TcpStream) -> Result<String> {
    let mut request = String::from("C");
    while !request.ends_with("\r\n\r\n") {
        request.push(char::from(stream.read_u8().await?));
    }
    let expected = BASE64_STANDARD.encode(format!("{NAME}:{PASSWORD}"));
    if !request.contains(&format!("Proxy-Authorization: Basic {expected}\r\n")) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
        stream.write_all(refusal).await?;
        bail!("wrong credentials");
    }
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    let target = request.split(' ').nth(1).context("a target")?;
    Ok(target.to_owned())
}

async fn socks(stream: &mut TcpStream) -> Result<String> {
    let methods = stream.read_u8().await?;
    let mut offered = vec![0; usize::from(methods)];
    stream.read_exact(&mut offered).await?;
    ensure!(offered.contains(&2), "no credentials offered");
    stream.write_all(&[5, 2]).await?;
    ensure!(stream.read_u8().await? == 1, "RFC 1929");
    let mut pair = Vec::new();
    for _ in 0..2 {
        let mut text = vec![0; usize::from(stream.read_u8().await?)];
        stream.read_exact(&mut text).await?;
        pair.push(String::from_utf8(text)?);
    }
    if pair != [NAME, PASSWORD] {
        stream.write_all(&[1, 1]).await?;
        bail!("wrong credentials");
    }
    stream.write_all(&[1, 0]).await?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    ensure!(head[..3] == [5, 1, 0], "a CONNECT");
    let host = match head[3] {
        1 => {
            let mut ip = [0; 4];
            stream.read_exact(&mut ip).await?;
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let mut name = vec![0; usize::from(stream.read_u8().await?)];
            stream.read_exact(&mut name).await?;
            String::from_utf8(name)?
        }
        other => bail!("address of kind {other}"),
    };
    let port = stream.read_u16().await?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(format!("{host}:{port}"))
}

/// An account with this proxy, not linked yet.
async fn create(scene: &Scene, api: &Api, proxy: &str) -> Result<Linked> {
    let body = json!({ "name": "proxied", "proxy": proxy });
    let account: Account = api.post("/v1/accounts", body).await?.expect(201)?.json()?;
    Ok(Linked {
        id: account.id,
        phone: scene.account_phone("proxied")?,
    })
}

/// Where the simulated WhatsApp is, as a proxy is asked for it.
fn whatsapp(scene: &Scene) -> Result<String> {
    let url = scene.sim().url();
    let authority = url.split('/').nth(2);
    Ok(authority.context("an authority")?.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn account_connects_through_its_proxy_of_either_kind() -> Result<()> {
    play(async |scene| {
        scene.plant("password of a proxy", PASSWORD);
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        for scheme in ["http", "socks5"] {
            let proxy = Proxy::start().await?;
            let linked = create(scene, api, &proxy.url(scheme, PASSWORD)).await?;
            scene.scan(api, &linked).await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            let peer = scene.contact("Peer")?;
            scene.write(&peer, &linked, "in")?;
            scene.send(api, &linked, &peer, "out").await?;
            scene.settle(api, DELIVERY_LIMIT).await?;
            // One to show the code, one after the pairing, one after the loss.
            scene
                .sim()
                .disconnect(linked.number(), None, Disconnect::Drop);
            wait::until("it is back, by the same way", LINK_LIMIT, async || {
                let targets = proxy.targets();
                Ok(Look::some((targets.len() == 3).then_some(()), targets))
            })
            .await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            let there = whatsapp(scene)?;
            ensure!(proxy.targets().iter().all(|target| *target == there));
            // Shown without the password, and stored sealed.
            let answer = api.get(&format!("/v1/accounts/{}", linked.id)).await?;
            ensure!(answer.text().contains(&proxy.address), "{}", answer.text());
            ensure!(!answer.text().contains(PASSWORD));
        }
        let stored = std::fs::read(worker.setup().data_folder().join("leasehold.db"))?;
        scene.check_bytes(&stored, &["password of a proxy"])
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_through_the_accounts_proxy() -> Result<()> {
    play(async |scene| {
        scene.plant("password of a proxy", PASSWORD);
        let media_url = scene.sim().media_url();
        let worker = scene
            .worker("alice")?
            .with(&["--whatsapp-media-url", &media_url])
            .start()
            .await?;
        let api = worker.api();
        let media_host = media_url.trim_start_matches("http://").to_owned();
        for scheme in ["http", "socks5"] {
            let proxy = Proxy::start().await?;
            let linked = create(scene, api, &proxy.url(scheme, PASSWORD)).await?;
            scene.scan(api, &linked).await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            let headers = [("content-type", "application/pdf")];
            let file = Some("%PDF-1.7".to_owned());
            let taken = api.request(Method::Post, "/v1/media", &headers, file);
            let uploaded: serde_json::Value = taken.await?.expect(201)?.json()?;
            let peer = scene.contact("Peer")?;
            let path = format!("/v1/accounts/{}/messages", linked.id);
            let media = json!({ "mediaId": uploaded["mediaId"], "kind": "document" });
            let body = json!({ "to": peer.number(), "media": media });
            let accepted: serde_json::Value = api.post(&path, body).await?.expect(202)?.json()?;
            let message_id = accepted["messageId"].as_str().context("an id")?;
            api.until_state(message_id, &["sent", "delivered"], DELIVERY_LIMIT)
                .await?;
            let targets = proxy.targets();
            ensure!(targets.contains(&media_host), "{targets:?}");
        }
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn account_with_a_proxy_that_refuses_never_goes_another_way() -> Result<()> {
    play(async |scene| {
        scene.plant("password of a proxy", PASSWORD);
        let worker = scene.worker("alice")?.start().await?;
        let api = worker.api();
        let proxy = Proxy::start().await?;
        for scheme in ["http", "socks5"] {
            let linked = create(scene, api, &proxy.url(scheme, "wrong")).await?;
            let lost = api
                .until_status(&linked.id, &["disconnected"], LINK_LIMIT)
                .await?;
            let error = lost.last_error.context("an error")?;
            ensure!(error.message.contains("proxy"), "{}", error.message);
            ensure!(error.stage.as_deref() == Some("tcp"), "{:?}", error.stage);
            let reason = lost.last_disconnect_reason.context("a reason")?;
            ensure!(reason.code == 408, "{reason:?}");
            ensure!(proxy.targets().is_empty());

            // Set right, in force with the next connection.
            let path = format!("/v1/accounts/{}", linked.id);
            let body = json!({ "proxy": proxy.url(scheme, PASSWORD) }).to_string();
            let answer = api.request(Method::Patch, &path, &[], Some(body)).await?;
            answer.expect(200)?;
            api.act(&linked.id, "restart").await?;
            scene.scan(api, &linked).await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            ensure!(!proxy.targets().is_empty());
            proxy.tunnels.lock().unwrap().clear();
        }
        let body = json!({ "name": "x", "proxy": "ftp://somewhere" });
        let answer = api.post("/v1/accounts", body).await?;
        ensure!(answer.code() == "invalid_body", "{}", answer.text());
        let body = json!({ "name": "x", "proxy": "http://192.0.2.1:3128" });
        let answer = api.post("/v1/accounts", body).await?;
        ensure!(answer.code() == "invalid_body", "{}", answer.text());
        Ok(())
    })
    .await
}

/// A page that names a client version, and how often it was read.
async fn version_page(revision: u32) -> Result<(String, Arc<Mutex<u32>>)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    let reads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&reads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let mut request = [0; 2048];
            let _ = stream.read(&mut request).await;
            let body = format!(r#"x({{\"client_revision\":{revision}}})"#);
            let length = body.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    Ok((address, reads))
}

/// 405: the version is read once for the cluster, through the proxy of an
/// account that has one, and those who were refused go on at once.
#[tokio::test(flavor = "multi_thread")]
async fn client_version_is_refreshed_once_for_the_cluster_when_whatsapp_refuses_it() -> Result<()> {
    play(async |scene| {
        scene.plant("password of a proxy", PASSWORD);
        scene.allow_error("a person must look at an account");
        let (page, reads) = version_page(1_999_999_999).await?;
        let url = format!("http://{page}/sw.js");
        let cluster =
            crate::cluster::Cluster::new(scene, crate::cluster::StoreKind::Sqlite).await?;
        let start = async |name| {
            // Two of the four accounts each, so that both are refused.
            let options = ["--whatsapp-version-url", &url, "--capacity", "2"];
            cluster.worker(name)?.with(&options).start().await
        };
        let (alice, bob) = (start("alice").await?, start("bob").await?);
        crate::cluster::until_met(&[&alice, &bob]).await?;
        let api = alice.api();
        let proxy = Proxy::start().await?;
        let mut accounts = Vec::new();
        for _ in 0..4 {
            let linked = create(scene, api, &proxy.url("http", PASSWORD)).await?;
            scene.scan(api, &linked).await?;
            scene::until_connected(scene, api, &linked, LINK_LIMIT).await?;
            accounts.push(linked);
        }
        let logins = |linked: &Linked| scene.sim().oracle().accounts[linked.number()].logins;
        let before: Vec<_> = accounts.iter().map(logins).collect();
        let revision = 1_999_999_999;
        scene
            .sim()
            .inject(Fault::new(FaultKind::LeastVersion { revision }))?;
        for linked in &accounts {
            api.act(&linked.id, "restart").await?;
        }
        // The ordinary wait is two minutes.
        let soon = Duration::from_secs(30);
        let refused = |number: &str| scene.sim().oracle().accounts[number].logins_refused;
        for (linked, before) in accounts.iter().zip(before) {
            let counted = wait::until("it was refused, and is back", soon, async || {
                let account = api.account(&linked.id).await?;
                let logins = scene.sim().oracle().accounts[linked.number()].logins;
                let back = account.status == "connected" && logins > before;
                Ok(Look::some(
                    back.then_some(()),
                    (account.status, account.last_error),
                ))
            });
            counted.await?;
        }
        let refusals: u64 = accounts.iter().map(|it| refused(it.number())).sum();
        ensure!((1..=4).contains(&refusals), "{refusals} refusals");
        ensure!(*reads.lock().unwrap() == 1, "{:?} reads", reads.lock());
        let through = proxy.targets();
        ensure!(
            through.contains(&page),
            "by the account's own way: {through:?}"
        );
        for worker in [&alice, &bob] {
            let log = worker.log().text()?;
            ensure!(
                log.contains("2.3000.1999999999"),
                "both announce the new one"
            );
        }
        Ok(())
    })
    .await
}
