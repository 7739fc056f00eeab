//! Tests of what a build step may do and reach, and of the removal of its objects.

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder};

use super::*;
use crate::firewall::testing::{Neighbours, PORT, own_address};

const PROBE: &str = include_str!("probe.py");

/// A build on Python, as for apps that install packages.
fn python(app: &(AppName, AppId), digit: char, files: &[(&str, &str)]) -> BuildRequest {
    BuildRequest { base: "python".to_owned(), ..request(app, digit, files) }
}

async fn networks(sandbox: &Sandbox) -> usize {
    let options = ListNetworksOptionsBuilder::new().filters(&sandbox.installation.filter()).build();
    sandbox.docker.list_networks(Some(options)).await.expect("a list").len()
}

/// All images of the sandbox, including intermediate ones.
async fn images(sandbox: &Sandbox) -> Vec<String> {
    let options = ListImagesOptionsBuilder::new().all(true).filters(&sandbox.installation.filter()).build();
    let images = sandbox.docker.list_images(Some(options)).await.expect("a list");
    images.into_iter().map(|image| image.id).collect()
}

/// A container that listens on port 8080 in a network like that of another build.
async fn other_build(sandbox: &Sandbox, builder: &ImageBuilder) -> std::net::IpAddr {
    let name = format!("slipway.build-other-{}", sandbox.installation);
    let labels = sandbox.installation.own_labels();
    let made = builder.subnets.create(&sandbox.docker, &sandbox.installation, &name, labels.clone()).await;
    made.expect("the engine makes it").expect("there is room");
    let body = ContainerCreateBody {
        image: Some("slipway.local/python".to_owned()),
        entrypoint: Some(["python3", "-m", "http.server", "8080"].map(str::to_owned).into()),
        labels: Some(labels),
        host_config: Some(bollard::models::HostConfig { network_mode: Some(name.clone()), ..Default::default() }),
        ..Default::default()
    };
    let options = CreateContainerOptionsBuilder::new().name(&name).build();
    let id = sandbox.docker.create_container(Some(options), body).await.expect("it is made").id;
    sandbox.docker.start_container(&id, None).await.expect("it starts");
    let found = sandbox.docker.inspect_container(&id, None).await.expect("it is there");
    let networks = found.network_settings.and_then(|settings| settings.networks).expect("networks");
    let address = networks[&name].ip_address.clone().expect("an address").parse().expect("an address");
    eventually("the other build listens", Duration::from_secs(20), async || {
        tokio::net::TcpStream::connect((address, 8080)).await.is_ok()
    })
    .await;
    address
}

#[tokio::test]
async fn a_step_reaches_the_internet_and_nothing_near_and_may_do_little() {
    let sandbox = Sandbox::new().await;
    let neighbours = Neighbours::settle();
    let (builder, app, log) = (builder(&sandbox), sandbox.app(), Log::default());
    let on_host = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a port");
    let host_port = on_host.local_addr().expect("an address").port();
    let other = other_build(&sandbox, &builder).await;
    let near = [
        format!("{}:{PORT}", neighbours.lan),
        format!("{}:{PORT}", neighbours.metadata),
        format!("{}:{host_port}", own_address()),
        format!("{}:{host_port}", neighbours.host),
        // The address of Docker's own bridge, which earlier versions used for builds.
        format!("172.17.0.1:{host_port}"),
        format!("{other}:8080"),
    ];
    let internet = format!("{}:{PORT}", neighbours.internet);
    let dockerfile = format!(
        "ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nENTRYPOINT [\"/entry\"]\nARG WORD=said\nCOPY probe.py /\n\
         RUN echo $WORD; python3 /probe.py {internet} {}\nCOPY . /app\nCMD [\"app\"]\n",
        near.join(" ")
    );
    let files = [("Dockerfile", dockerfile.as_str()), ("probe.py", PROBE), ("a", "1")];
    let built = build(&builder, python(&app, 'a', &files), &log).await.expect("it builds");
    for line in [
        "said",
        &format!("reach {internet} ok"),
        "resolve ok",
        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID and SETUID.
        "CapBnd 00000000000000db",
        "CapEff 00000000000000db",
        "NoNewPrivs 1",
        "Seccomp 2",
        "device Operation not permitted",
        "raw Operation not permitted",
        "io_uring Operation not permitted",
        "chown ok",
        "processes Resource temporarily unavailable",
        "Step 8/8 : CMD [\"app\"]",
    ] {
        assert!(log.0.lock().expect("no panic").iter().any(|l| l == line), "{line}: {:?}", log.0);
    }
    for address in near {
        assert!(log.has(&format!("reach {address} Connection refused")), "{address}: {:?}", log.0);
    }
    assert!(!log.has("FROM sha256") && !log.has("LABEL"), "{:?}", log.0);

    // The image has the settings of the Dockerfile, and not those that the step needed.
    let config =
        sandbox.docker.inspect_image(built.image.digest()).await.expect("it is there").config.expect("a config");
    assert_eq!((config.entrypoint, config.cmd), (Some(vec!["/entry".to_owned()]), Some(vec!["app".to_owned()])));
    assert!(!config.env.expect("variables").iter().any(|line| line.starts_with("WORD")));
    assert_eq!(config.labels.expect("labels")[ownership::APP], app.0.as_str());

    // All objects of the build were removed, and cached steps are not executed again, not even for another app.
    assert_eq!(networks(&sandbox).await, 1, "the other build's");
    let again = Log::default();
    let files = [("Dockerfile", dockerfile.as_str()), ("probe.py", PROBE), ("a", "2")];
    build(&builder, python(&sandbox.app(), 'a', &files), &again).await.expect("it builds");
    assert!(again.has("Step 6/8 : RUN") && !again.has("reach"), "{:?}", again.0);

    // An app's image is refused as a base and as a source of COPY, also by its short id.
    let id = &built.image.digest()["sha256:".len()..][..12];
    for refused in [
        format!("FROM {id}\nCOPY a /b\n"),
        format!("FROM slipway.local/python\nCOPY --from={id} /app /app\n"),
        format!("FROM slipway.local/python\nRUN true\nCOPY --from={id} /app /app\n"),
    ] {
        let files = [("Dockerfile", refused.as_str()), ("a", "3")];
        let refused = build(&builder, python(&sandbox.app(), 'a', &files), &Log::default()).await;
        let Err(BuildError::Failed { message, .. }) = refused else { panic!("{refused:?}") };
        assert!(message.ends_with("an app cannot be built on another app."), "{message}");
    }
}

#[tokio::test]
async fn packages_are_installed_and_stages_copied_from() {
    let sandbox = Sandbox::new().await;
    let (builder, app, log) = (builder(&sandbox), sandbox.app(), Log::default());
    let dockerfile = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE} AS made\nRUN python3 -m pip install --no-cache-dir --target /packages idna==3.10\n\
                      RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends hello && hello\n\
                      FROM ${BASE_IMAGE}\nUSER 10001:10001\nCOPY --from=made /packages /packages\nRUN [\"ls\", \"/packages/idna\"]\n";
    build(&builder, python(&app, 'a', &[("Dockerfile", dockerfile)]), &log).await.expect("it builds");
    assert!(log.has("Successfully installed idna") && log.has("core.py") && log.has("Hello, world!"), "{:?}", log.0);
}

#[tokio::test]
async fn a_build_that_is_too_large_or_fails_leaves_nothing() {
    let sandbox = Sandbox::new().await;
    let app = sandbox.app();
    let builder =
        ImageBuilder::new(sandbox.docker.clone(), BuildSettings { image_max_bytes: 200 << 20, ..settings(&sandbox) });
    let begin = "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY a /a\n";
    // Each of two files is below the limit, but the data that a step writes is summed up.
    let large = format!("{begin}RUN truncate -s 150M /1 && truncate -s 150M /2\n");
    let too_large = build(&builder, python(&app, 'a', &[("Dockerfile", &large), ("a", "1")]), &Log::default()).await;
    assert_eq!(too_large, Err(BuildError::TooLarge { limit: 200 << 20 }));
    // The step writes less than the limit, but the image would exceed it together with its base.
    let sum = format!("{begin}RUN truncate -s 100M /1\n");
    let too_large = build(&builder, python(&app, 'b', &[("Dockerfile", &sum), ("a", "2")]), &Log::default()).await;
    assert_eq!(too_large, Err(BuildError::TooLarge { limit: 200 << 20 }));
    let fails = format!("{begin}RUN truncate -s 1G /1\n");
    let failed = build(&builder, python(&app, 'c', &[("Dockerfile", &fails), ("a", "3")]), &Log::default()).await;
    assert!(
        matches!(&failed, Err(BuildError::Failed { lines, .. }) if lines.iter().any(|l| l.contains("File size limit"))),
        "{failed:?}"
    );
    for refused in ["FROM slipway/other-app\nRUN x\n", "FROM slipway.local/python\nRUN x\nADD https://10.0.0.1/ /\n"] {
        let refused = build(&builder, python(&app, 'd', &[("Dockerfile", refused)]), &Log::default()).await;
        assert!(matches!(&refused, Err(BuildError::Failed { .. })), "{refused:?}");
    }
    assert_eq!(networks(&sandbox).await, 0);
    // Only the successful step is kept under its name, so that it is not executed again.
    eventually("what failed is gone", Duration::from_secs(20), async || images(&sandbox).await.len() <= 4).await;
    assert_eq!(builder.find(&app.0, app.1, &version('b')).await, Ok(None));
}

#[tokio::test]
async fn what_an_earlier_process_left_is_removed() {
    let sandbox = Sandbox::new().await;
    let (before, now) = (builder(&sandbox), builder(&sandbox));
    other_build(&sandbox, &before).await;
    now.remove_leftovers().await.expect("they are removed");
    assert_eq!(networks(&sandbox).await, 0);
}
