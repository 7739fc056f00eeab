//! Tests of the separate engine of a cluster: what builds can reach from there, and which clients the engine accepts.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::engine::netns::{ENGINE_PORT, Namespace, PlayedEngine, listen};

/// Connections that a build's script tries at the same time. It prints for each whether it succeeded.
const DIAL: &str = r#"
while read -r _ destination gateway _; do
  if [ "$destination" = 00000000 ]; then
    printf -v gateway '%d.%d.%d.%d' "0x${gateway:6:2}" "0x${gateway:4:2}" "0x${gateway:2:2}" "0x${gateway:0:2}"
    break
  fi
done </proc/net/route
for target in $(cat /targets); do
  target=${target/gateway/$gateway}
  (if timeout 5 bash -c "</dev/tcp/${target%:*}/${target#*:}" 2>/dev/null; then echo "reached $target"; else echo "not reached $target"; fi) &
done
wait
"#;

/// A listener that counts its connections.
struct StandIn {
    address: String,
    calls: std::sync::Arc<AtomicUsize>,
}

impl StandIn {
    fn new(tasks: &mut JoinSet<()>, namespace: &Path, bind: &str, address: &str) -> Self {
        let listener = listen(namespace, bind);
        let calls = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = std::sync::Arc::clone(&calls);
        tasks.spawn(async move {
            while listener.accept().await.is_ok() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { address: address.to_owned(), calls }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_in_a_cluster_reaches_the_internet_and_neither_its_engine_nor_private_networks() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (inside, outside) = (Namespace::with_loopback(), Namespace::with_loopback());
    inside.join("10.77.0.2/24", &outside, "10.77.0.1/24");
    inside.ip(&["route", "add", "default", "via", "10.77.0.1"]);
    for address in ["203.0.113.10/32", "10.66.0.1/32", "192.168.66.1/32", "169.254.169.254/32"] {
        outside.ip(&["address", "add", address, "dev", "lo"]);
    }
    let mut tasks = JoinSet::new();
    let mut engine = PlayedEngine::start(&inside, "10.77.0.1", &["--insecure-registry=10.77.0.1:5000"]).await;
    let host = format!("tcp://{}", engine.address);
    let docker = engine::connect_with_tls(Some(&host), &engine.client_certificates()).expect("certificates");
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while let Err(fault) = engine::ping(&docker).await {
        engine.assert_runs();
        assert!(tokio::time::Instant::now() < deadline, "{fault}\n{}", engine.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    strangers_are_refused(&engine, &host).await;

    let registry = std::sync::Arc::new(Registry::default());
    let (listener, handler) = (outside.listen("10.77.0.1:5000"), std::sync::Arc::clone(&registry));
    let router = axum::Router::new().fallback(move |request| {
        let registry = std::sync::Arc::clone(&handler);
        async move { registry.answer(request).await }
    });
    tasks.spawn(async move { axum::serve(listener, router).await.expect("it serves") });

    engine.load("slipway.local/minbase");
    engine.docker(&["network", "create", "other"]);
    let other_build = |network| {
        let arguments = ["run", "--detach", "--network", network, "slipway.local/minbase", "sleep", "300"];
        let id = engine.docker(&arguments);
        let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let found = engine.docker(&["inspect", "--format", format, &id]);
        let (pid, address) = found.split_once(' ').expect("two words");
        (Path::new("/proc").join(pid).join("ns/net"), format!("{address}:9000"))
    };
    let (beside, beside_address) = other_build("bridge");
    let (elsewhere, elsewhere_address) = other_build("other");

    let (near, far) = (inside.file(), outside.file());
    let kept_away = [
        // Any port of the engine's namespace, at each of its addresses.
        StandIn::new(&mut tasks, &near, "0.0.0.0:7777", "gateway:7777"),
        StandIn::new(&mut tasks, &far, "10.66.0.1:80", "10.66.0.1:80"),
        StandIn::new(&mut tasks, &far, "192.168.66.1:80", "192.168.66.1:80"),
        StandIn::new(&mut tasks, &far, "169.254.169.254:80", "169.254.169.254:80"),
        // The DNS server, at another port.
        StandIn::new(&mut tasks, &far, "10.77.0.1:8080", "10.77.0.1:8080"),
        StandIn::new(&mut tasks, &beside, "0.0.0.0:9000", &beside_address),
        StandIn::new(&mut tasks, &elsewhere, "0.0.0.0:9000", &elsewhere_address),
    ];
    let let_through = [
        StandIn::new(&mut tasks, &far, "203.0.113.10:443", "203.0.113.10:443"),
        StandIn::new(&mut tasks, &far, "10.77.0.1:53", "10.77.0.1:53"),
    ];
    let mut targets: Vec<String> = kept_away.iter().chain(&let_through).map(|one| one.address.clone()).collect();
    targets.extend(["10.77.0.2:7777".to_owned(), "10.77.0.1:5000".to_owned()]);
    let engine_addresses = ["gateway", "10.77.0.2", "172.17.0.1", "172.18.0.1"];
    targets.extend([2375, ENGINE_PORT].iter().flat_map(|port| engine_addresses.map(|host| format!("{host}:{port}"))));

    let mut settings = {
        // Rules on this machine have no effect on an engine elsewhere.
        let installation = "played".parse().expect("a name");
        let firewall = Firewall::new(FirewallSettings::new(&installation, false));
        BuildSettings::new(installation, firewall)
    };
    settings.registry = Some("10.77.0.1:5000".to_owned());
    let builder = ImageBuilder::new(docker, settings);
    let (app, log) = (("far-build".parse().expect("a name"), AppId(1)), Log::default());
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY dial targets /\nRUN bash /dial\n";
    let files = [("Dockerfile", dockerfile), ("dial", DIAL), ("targets", &targets.join("\n"))];
    let dialling = BuildRequest { base: "minbase".to_owned(), ..request(&app, 'a', &files) };
    build(&builder, dialling, &log).await.expect("it builds");

    let lines = log.0.lock().expect("no panic").clone();
    let mut reached: Vec<_> = lines.iter().filter_map(|line| line.strip_prefix("reached ")).collect();
    reached.sort_unstable();
    assert_eq!(reached, ["10.77.0.1:53", "203.0.113.10:443"]);
    let refused = lines.iter().filter(|line| line.starts_with("not reached ")).count();
    assert_eq!(refused, targets.len() - 2, "all were tried: {lines:?}");
    for stand_in in &kept_away {
        assert_eq!(stand_in.calls.load(Ordering::Relaxed), 0, "{}", stand_in.address);
    }
    // The engine may reach what builds may not: it pushes to a registry on a private address.
    let small = request(&app, 'b', &[("Dockerfile", "FROM scratch\nCOPY a /\n"), ("a", "1")]);
    let small = BuildRequest { base: "minbase".to_owned(), ..small };
    let built = build(&builder, small, &log).await.expect("it builds");
    let pushed = builder.push(&app.0, &version('b'), &built.image, &CancellationToken::new()).await;
    assert_eq!(pushed.expect("it is pushed").name(), format!("10.77.0.1:5000/slipway/{}", app.0));
}

/// A client without a certificate of the engine's authority gets no response. Mistakes of either side have explanatory
/// errors.
async fn strangers_are_refused(engine: &PlayedEngine, host: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().display().to_string();
    crate::engine::netns::run("scripts/engine-certificates", &[&path, "localhost", "127.0.0.1"]);
    let stranger = folder.path().join("client");
    let refused = |folder: &Path| {
        let docker = engine::connect_with_tls(Some(host), folder).expect("certificates");
        async move { engine::ping(&docker).await.expect_err("a stranger").to_string() }
    };
    let said = refused(&stranger).await;
    assert!(said.contains("was not signed by the authority in ca.pem"), "{said}");
    std::fs::copy(engine.client_certificates().join("ca.pem"), stranger.join("ca.pem")).expect("a copy");
    let said = refused(&stranger).await;
    assert!(said.contains("does not accept our certificate"), "{said}");
    let plain = engine::connect(Some(host)).expect("this machine");
    assert!(engine::ping(&plain).await.is_err(), "it answers in the clear");
    // The engine's own key with a certificate of another authority, and no certificate at all.
    std::fs::copy(engine.client_certificates().join("key.pem"), stranger.join("key.pem")).expect("a copy");
    let said = engine::connect_with_tls(Some(host), &stranger).expect_err("not its key").to_string();
    assert!(said.contains("key.pem") && said.contains("it is not the key of"), "{said}");
    std::fs::remove_file(stranger.join("cert.pem")).expect("it was there");
    let said = engine::connect_with_tls(Some(host), &stranger).expect_err("no certificate").to_string();
    assert!(said.contains("cert.pem") && said.contains("there is no such file"), "{said}");
}
