//! Tests of builds on the real engine.

mod sandbox;
mod separate_engine;

use std::sync::Mutex;

use bollard::query_parameters::ListContainersOptionsBuilder;

use super::*;
use crate::engine::testing::{Line, Sandbox, eventually, tar_of};
use crate::firewall::FirewallSettings;
use crate::ownership;

const NGINX: &str = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nWORKDIR /srv\nCOPY . .\n";

fn firewall(installation: &Installation) -> Firewall {
    Firewall::new(FirewallSettings::new(installation, true))
}

fn settings(sandbox: &Sandbox) -> BuildSettings {
    BuildSettings::new(sandbox.installation.clone(), firewall(&sandbox.installation))
}

fn builder(sandbox: &Sandbox) -> ImageBuilder {
    ImageBuilder::new(sandbox.docker.clone(), settings(sandbox))
}

fn version(digit: char) -> VersionId {
    String::from(digit).repeat(40).parse().expect("a version")
}

fn request(app: &(AppName, AppId), digit: char, files: &[(&str, &str)]) -> BuildRequest {
    let context = tar_of(files);
    BuildRequest {
        app: app.0.clone(),
        app_id: app.1,
        version: version(digit),
        base: "nginx".to_owned(),
        context,
        time_limit: None,
    }
}

/// Collects a build's log.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn has(&self, text: &str) -> bool {
        self.0.lock().expect("no panic").iter().any(|line| line.contains(text))
    }
}

async fn build(builder: &ImageBuilder, request: BuildRequest, log: &Log) -> Result<Built, BuildError> {
    let keep = |line: String| log.0.lock().expect("no panic").push(line);
    builder.build(request, &keep, &CancellationToken::new()).await
}

#[tokio::test]
async fn a_version_is_built_once_and_labelled() {
    let sandbox = Sandbox::new().await;
    let (builder, app, log) = (builder(&sandbox), sandbox.app(), Log::default());
    assert_eq!(builder.find(&app.0, app.1, &version('a')).await, Ok(None));

    let files = [("Dockerfile", NGINX), ("index.html", "<p>one")];
    let built = build(&builder, request(&app, 'a', &files), &log).await.expect("it builds");
    assert!(!built.reused);
    assert_eq!(built.image.name(), format!("slipway/{}", app.0));
    assert!(log.has("COPY . .") && !log.has("--->"), "{:?}", log.0);
    let image = sandbox.docker.inspect_image(built.image.digest()).await.expect("by its id");
    let labels = image.config.expect("a config").labels.expect("labels");
    assert_eq!(labels[ownership::MANAGED_BY], "slipway");
    assert_eq!(labels[ownership::APP], app.0.as_str());
    assert_eq!(labels[ownership::APP_ID], app.1.to_string());
    assert_eq!(image.repo_tags, Some(vec![format!("slipway/{}:{}", app.0, version('a'))]));

    // Another build does not run, even if its context could not be built.
    let again = build(&builder, request(&app, 'a', &[]), &log).await.expect("it is there");
    assert_eq!(again, Built { image: built.image.clone(), reused: true });
    // Another app of the same name does not get this image.
    assert_eq!(builder.find(&app.0, AppId(4711), &version('a')).await, Ok(None));
}

#[tokio::test]
async fn a_tag_that_moves_changes_nothing() {
    let sandbox = Sandbox::new().await;
    let (app, other, log) = (sandbox.app(), sandbox.app(), Log::default());
    let marked = async |mark: &str| {
        let dockerfile = format!("FROM scratch\nLABEL mark={mark}\nCOPY a /a\n");
        sandbox.image(&other, &[("Dockerfile", &dockerfile), ("a", mark)]).await
    };
    let tag = async |image: &ImageRef, name: &str, tag: &str| {
        let options = bollard::query_parameters::TagImageOptionsBuilder::new().repo(name).tag(tag).build();
        sandbox.docker.tag_image(image.digest(), Some(options)).await.expect("a tag");
    };
    let mark_of = async |image: &ImageRef| {
        let found = sandbox.docker.inspect_image(image.digest()).await.expect("by its id");
        found.config.and_then(|config| config.labels).unwrap_or_default().remove("mark")
    };
    let mut settings = settings(&sandbox);
    settings.fallback = format!("slipway-test/{}", sandbox.installation);
    let base = format!("{}/nginx", settings.fallback);
    let (good, evil) = (marked("good").await, marked("evil").await);
    tag(&good, &base, "latest").await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("images.json");
    settings.ledger = Ledger::open(&file).expect("none yet");
    let builder = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY b /b\n";
    let files = |text| [("Dockerfile", dockerfile), ("b", text)];
    let first = build(&builder, request(&app, 'a', &files("1")), &log).await.expect("it builds").image;
    assert!(log.has(good.digest()), "the log says what it is built on");

    // A base image's tag is moved: the running builder keeps the image that it resolved before, and logs that.
    tag(&evil, &base, "latest").await;
    let second = build(&builder, request(&app, 'b', &files("2")), &log).await.expect("it builds").image;
    assert_eq!(mark_of(&second).await.as_deref(), Some("good"));
    assert!(log.has("restart Slipway to use the new one"));
    let restarted = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
    let third = build(&restarted, request(&app, 'c', &files("3")), &log).await.expect("it builds").image;
    assert_eq!(mark_of(&third).await.as_deref(), Some("evil"), "a restart is the operator's word");

    // An image with a version's tag and all labels of the app is not used for that version.
    let labels = sandbox.installation.labels(&app.0, app.1);
    let labels: Vec<_> = labels.iter().map(|(key, value)| format!("\"{key}\"=\"{value}\"")).collect();
    let forged = format!("FROM scratch\nLABEL mark=evil {}\nCOPY a /a\n", labels.join(" "));
    let forged = sandbox.image(&app, &[("Dockerfile", &forged), ("a", "forged")]).await;
    for digit in ['a', 'd'] {
        tag(&forged, &repository(&app.0), version(digit).as_str()).await;
    }
    settings.ledger = Ledger::open(&file).expect("it was written");
    let builder = ImageBuilder::new(sandbox.docker.clone(), settings);
    assert_eq!(builder.find(&app.0, app.1, &version('a')).await, Ok(Some(first)));
    assert_eq!(builder.find(&app.0, app.1, &version('d')).await, Ok(None));
    let built = build(&builder, request(&app, 'd', &files("4")), &log).await.expect("it builds");
    assert!(!built.reused && built.image.digest() != forged.digest());
}

#[tokio::test]
async fn of_a_step_that_prints_a_lot_the_beginning_and_the_end_are_kept() {
    use crate::output::LINES_MAX;
    let sandbox = Sandbox::new().await;
    let (builder, app, log) = (builder(&sandbox), sandbox.app(), Log::default());
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN seq 60000; echo no such module; exit 3\n";
    let failed = build(&builder, request(&app, 'c', &[("Dockerfile", dockerfile)]), &log).await;
    let Err(BuildError::Failed { lines, .. }) = failed else { panic!("{failed:?}") };
    assert_eq!(lines.last().map(String::as_str), Some("no such module"));
    // The lines of the output, and three that contain what was left out, the last line, and the reason for the failure.
    let lines = log.0.into_inner().expect("no panic");
    assert_eq!(lines.len(), LINES_MAX + 3);
    assert!(lines[..10].iter().any(|line| line == "1"), "{:?}", &lines[..10]);
    let [.., last, message] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(last, "no such module");
    assert!(message.contains("failed with exit code 3"), "{message}");
    assert_eq!(lines[lines.len() - 3], "60000");
    let left_out = lines.iter().find(|line| line.contains("are left out here")).expect("it is said");
    assert!(left_out.contains("50005 lines ("), "{left_out}");
}

#[tokio::test]
async fn a_failing_step_shows_its_last_lines() {
    let sandbox = Sandbox::new().await;
    let (builder, app, log) = (builder(&sandbox), sandbox.app(), Log::default());
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN for i in $(seq 40); do echo line $i >&2; done; \
                      printf '\\033[31mno such module\\033[0m\\n' >&2; exit 3\n";
    let failed = build(&builder, request(&app, 'b', &[("Dockerfile", dockerfile)]), &log).await;
    let Err(BuildError::Failed { message, lines }) = failed else { panic!("{failed:?}") };
    assert!(message.contains("failed with exit code 3"), "{message}");
    assert_eq!(lines.len(), 20);
    assert_eq!(lines.last().map(String::as_str), Some("no such module"));
    assert!(log.has("line 1") && log.has("line 40"));

    for (files, says) in [
        (&[("index.html", "")][..], "no Dockerfile"),
        (&[("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY missing /\n")], "missing"),
        (&[("Dockerfile", "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nBREW coffee\n")], "unknown instruction"),
    ] {
        let failed = build(&builder, request(&app, 'c', files), &log).await;
        assert!(
            matches!(&failed, Err(BuildError::Failed { message, .. }) if message.contains(says)),
            "{says}: {failed:?}"
        );
    }
    assert_eq!(builder.find(&app.0, app.1, &version('c')).await, Ok(None));
}

#[tokio::test]
async fn a_stopped_build_leaves_no_container_behind() {
    let sandbox = Sandbox::new().await;
    let (builder, app) = (builder(&sandbox), sandbox.app());
    let marker = format!("sleep 300 # {}", app.0);
    let dockerfile = format!("ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nRUN echo begun; {marker}\n");
    let cancel = CancellationToken::new();
    let stop = |line: String| {
        if line == "begun" {
            cancel.cancel();
        }
    };
    let stopped = builder.build(request(&app, 'd', &[("Dockerfile", &dockerfile)]), &stop, &cancel).await;
    assert_eq!(stopped, Err(BuildError::Cancelled));
    eventually("the build's container is gone", Duration::from_secs(20), async || {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let containers = sandbox.docker.list_containers(Some(options)).await.expect("a list");
        !containers.iter().any(|c| c.command.as_ref().is_some_and(|command| command.contains(&marker)))
    })
    .await;

    // Another installation, because the first builder is still removing the objects of its stopped build.
    let sandbox = Sandbox::new().await;
    let app = sandbox.app();
    let mut settings = settings(&sandbox);
    settings.time_limit = Duration::from_secs(6);
    let builder = ImageBuilder::new(sandbox.docker.clone(), settings);
    let late = build(&builder, request(&app, 'd', &[("Dockerfile", &dockerfile)]), &Log::default()).await;
    assert!(matches!(&late, Err(BuildError::TimedOut { lines, .. }) if lines.iter().any(|l| l == "begun")), "{late:?}");
}

#[tokio::test]
async fn base_images_that_cannot_be_had_are_replaced_or_named() {
    let sandbox = Sandbox::new().await;
    let app = sandbox.app();
    let mut settings = settings(&sandbox);
    // There is no listener on port 9.
    settings.base_images.insert("nginx".to_owned(), "127.0.0.1:9/none:1".to_owned());
    let here = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
    let files = [("Dockerfile", NGINX)];
    for (digit, pulls) in [('e', true), ('f', false)] {
        let log = Log::default();
        build(&here, request(&app, digit, &files), &log).await.expect("the fallback is used");
        assert_eq!(log.has("Pulling the base image 127.0.0.1:9/none:1"), pulls, "a failure is remembered");
        assert!(log.has("slipway.local/nginx is used instead"), "{:?}", log.0);
    }
    settings.fallback = "slipway.nowhere".to_owned();
    let nowhere = ImageBuilder::new(sandbox.docker.clone(), settings);
    let missing = build(&nowhere, request(&app, '1', &files), &Log::default()).await.expect_err("nothing to build on");
    assert!(matches!(missing, BuildError::BaseImageMissing { .. }));
    assert!(missing.to_string().contains("scripts/setup"), "{missing}");
}

#[tokio::test]
async fn pruning_and_removing_touch_only_their_app() {
    let sandbox = Sandbox::new().await;
    let (builder, app, other, log) = (builder(&sandbox), sandbox.app(), sandbox.app(), Log::default());
    let page = "x".repeat(200_000);
    let mut images = Vec::new();
    for (digit, text) in [('a', "1"), ('b', "2"), ('c', "3")] {
        let files = [("Dockerfile", NGINX), ("index.html", &page), ("n", text)];
        images.push(build(&builder, request(&app, digit, &files), &log).await.expect("it builds").image);
    }
    let files = [("Dockerfile", NGINX), ("index.html", "other")];
    let others = build(&builder, request(&other, 'a', &files), &log).await.expect("it builds").image;

    let before = builder.disk().await.expect("sizes");
    let freed = builder.prune(&app.0, app.1, &images[2..]).await.expect("a prune");
    let after = builder.disk().await.expect("sizes");
    assert_eq!((before.images, after.images), (images.len() + 1, 2));
    assert_eq!(before.bytes - after.bytes, freed, "what several images share counts once");
    assert!((400_000..1_000_000).contains(&freed), "{freed}");
    assert_eq!(builder.find(&app.0, app.1, &version('a')).await, Ok(None));
    assert_eq!(builder.find(&app.0, app.1, &version('c')).await, Ok(Some(images[2].clone())));

    builder.remove_app(&app.0, app.1).await.expect("a removal");
    builder.remove_app(&app.0, app.1).await.expect("already gone");
    assert_eq!(builder.find(&app.0, app.1, &version('c')).await, Ok(None));
    assert_eq!(builder.find(&other.0, other.1, &version('a')).await, Ok(Some(others)));
}

#[tokio::test]
async fn an_engine_that_is_away_is_told_apart() {
    let docker = engine::connect(Some("unix:///nowhere/docker.sock")).expect("a client");
    let builder = ImageBuilder::new(
        docker,
        BuildSettings::new("t".parse().expect("a name"), firewall(&"t".parse().expect("a name"))),
    );
    let app = ("some-app".parse().expect("a name"), AppId(1));
    let away = build(&builder, request(&app, 'a', &[]), &Log::default()).await;
    assert!(matches!(&away, Err(BuildError::Unavailable(why)) if why.contains("cannot be reached")), "{away:?}");

    // The engine becomes unavailable during a build.
    let sandbox = Sandbox::new().await;
    let app = sandbox.app();
    let line = tokio::sync::Mutex::new(Line::new().await);
    let docker = engine::connect(Some(&line.lock().await.host)).expect("a client");
    let builder = ImageBuilder::new(docker, settings(&sandbox));
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo begun; sleep 300\n";
    let begun = tokio::sync::Notify::new();
    let log = |line: String| {
        if line == "begun" {
            begun.notify_one();
        }
    };
    let cancel = CancellationToken::new();
    let building = builder.build(request(&app, 'a', &[("Dockerfile", dockerfile)]), &log, &cancel);
    let (lost, ()) = tokio::join!(building, async {
        begun.notified().await;
        line.lock().await.cut().await;
    });
    assert!(matches!(lost, Err(BuildError::Unavailable(_))), "{lost:?}");
}

/// A registry that stores images in memory.
#[derive(Default)]
struct Registry {
    kept: Mutex<HashMap<String, (String, Bytes)>>,
    refuses: std::sync::atomic::AtomicBool,
    wants_login: std::sync::atomic::AtomicBool,
}

impl Registry {
    fn keep(&self, key: String, kind: &str, bytes: Bytes) {
        self.kept.lock().expect("no panic").insert(key, (kind.to_owned(), bytes));
    }

    async fn answer(&self, request: axum::extract::Request) -> axum::response::Response {
        use axum::http::{Method, StatusCode, header};
        use axum::response::IntoResponse;
        if self.refuses.load(std::sync::atomic::Ordering::Relaxed) {
            let why = r#"{"errors":[{"code":"DENIED","message":"this registry is read-only"}]}"#;
            return (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, "application/json")], why).into_response();
        }
        // The user “builder” with the password “hush”.
        let login = request.headers().get(header::AUTHORIZATION).is_some_and(|login| login == "Basic YnVpbGRlcjpodXNo");
        if self.wants_login.load(std::sync::atomic::Ordering::Relaxed) && !login {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Basic realm=\"a test\"")]).into_response();
        }
        let (parts, body) = request.into_parts();
        let (path, query) = (parts.uri.path().to_owned(), parts.uri.query().unwrap_or_default().to_owned());
        let bytes = axum::body::to_bytes(body, 10_000_000).await.expect("a body");
        let digest = |bytes: &Bytes| format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes)));
        let repository = path.split("/blobs/").next().unwrap_or_default().to_owned();
        match parts.method {
            Method::POST => (StatusCode::ACCEPTED, [(header::LOCATION, format!("{path}1"))]).into_response(),
            Method::PATCH => {
                let range = format!("0-{}", bytes.len().saturating_sub(1));
                self.keep(path.clone(), "", bytes);
                (StatusCode::ACCEPTED, [(header::LOCATION, path), (header::RANGE, range)]).into_response()
            }
            Method::PUT if path.contains("/blobs/") => {
                let (_, bytes) = self.kept.lock().expect("no panic").remove(&path).expect("it was sent before");
                assert_eq!(query.replace("%3A", ":"), format!("digest={}", digest(&bytes)));
                self.keep(format!("{repository}/blobs/{}", digest(&bytes)), "application/octet-stream", bytes);
                StatusCode::CREATED.into_response()
            }
            Method::PUT => {
                let kind = parts.headers[header::CONTENT_TYPE].to_str().expect("a type").to_owned();
                let name = digest(&bytes);
                let by_digest = format!("{}/{name}", path.rsplit_once('/').expect("a path").0);
                self.keep(by_digest, &kind, bytes.clone());
                self.keep(path, &kind, bytes);
                (StatusCode::CREATED, [("docker-content-digest", name)]).into_response()
            }
            _ if path == "/v2/" => "{}".into_response(),
            _ => match self.kept.lock().expect("no panic").get(&path) {
                Some((kind, bytes)) => {
                    let name = ("docker-content-digest".to_owned(), digest(bytes));
                    ([("content-type".to_owned(), kind.clone()), name], bytes.clone()).into_response()
                }
                None => StatusCode::NOT_FOUND.into_response(),
            },
        }
    }
}

#[tokio::test]
async fn images_are_pushed_and_known_by_the_registrys_digest() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let sandbox = Sandbox::new().await;
    let app = sandbox.app();
    let image = sandbox.image(&app, &[("Dockerfile", "FROM scratch\nCOPY a /a\n"), ("a", "1")]).await;
    let registry = std::sync::Arc::new(Registry::default());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let handler = std::sync::Arc::clone(&registry);
    let router = axum::Router::new().fallback(move |request| {
        let registry = std::sync::Arc::clone(&handler);
        async move { registry.answer(request).await }
    });
    let server = async { axum::serve(listener, router).await.expect("it serves") };
    let mut settings = settings(&sandbox);
    settings.registry = Some(address.clone());
    settings.registry_pull = Some("registry.test:5000".to_owned());
    let builder = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
    let cancel = CancellationToken::new();
    let pushes = async {
        let pushed = builder.push(&app.0, &version('a'), &image, &cancel).await.expect("it is pushed");
        assert_eq!(pushed.name(), format!("registry.test:5000/slipway/{}", app.0));
        let manifest = format!("/v2/slipway/{}/manifests/{}", app.0, pushed.digest());
        assert!(registry.kept.lock().expect("no panic").contains_key(&manifest), "{pushed}");
        let again = builder.push(&app.0, &version('a'), &image, &cancel).await;
        assert_eq!(again, Ok(pushed));

        registry.wants_login.store(true, std::sync::atomic::Ordering::Relaxed);
        let stranger = builder.push(&app.0, &version('c'), &image, &cancel).await.expect_err("nobody in particular");
        assert!(stranger.to_string().contains("set SLIPWAY_REGISTRY_USERNAME"), "{stranger}");
        settings.registry_login =
            Some(RegistryLogin { username: "builder".to_owned(), password: SecretString::from("hush") });
        let known = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
        known.push(&app.0, &version('c'), &image, &cancel).await.expect("it is pushed");
        known.ping().await.expect("it takes the login");
        settings.registry_login =
            Some(RegistryLogin { username: "builder".to_owned(), password: SecretString::from("wrong") });
        let wrong = ImageBuilder::new(sandbox.docker.clone(), settings.clone());
        let refused = wrong.ping().await.expect_err("it does not take the login").to_string();
        assert!(refused.contains("does not know the user"), "{refused}");
        assert!(!format!("{wrong:?}").contains("wrong"), "the password is nowhere to be read");
        registry.wants_login.store(false, std::sync::atomic::Ordering::Relaxed);

        registry.refuses.store(true, std::sync::atomic::Ordering::Relaxed);
        let refused = builder.push(&app.0, &version('b'), &image, &cancel).await.expect_err("it is read-only");
        assert!(matches!(&refused, BuildError::Push { registry, .. } if *registry == address), "{refused:?}");
        assert!(refused.to_string().contains(&address), "{refused}");
    };
    tokio::select! {
        () = server => {}
        () = pushes => {}
    }
    // Without a registry there is nothing to do.
    let builder = self::builder(&sandbox);
    assert_eq!(builder.push(&app.0, &version('a'), &image, &cancel).await, Ok(image));
}
