//! Tests of packing: the history stays the same after a crash at any step, and for concurrent readers.

use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::*;
use crate::workspace::testing::{Bench, note, path};
use crate::workspace::{Commit, Workspaces};

/// Packs everything, and consolidates all packs.
const ALWAYS: Thresholds = Thresholds { sample: 0, loose: 1, packs: 0, consolidated: 1000 };
/// Packs everything, without consolidating packs.
const LOOSE: Thresholds = Thresholds { packs: 1000, ..ALWAYS };

/// An app with several versions, another branch, a tag, and an unreachable object.
fn bench_with_history() -> (Bench, Oid) {
    let bench =
        Bench::new(&[("index.html", "<h1>1</h1>\n"), ("css/site/style.css", "a {}\n"), ("data.bin", "\0\u{1}")]);
    more_versions(&bench, 0..12);
    bench.app_git(&["branch", "other"]);
    bench.app_git(&["-c", "user.name=x", "-c", "user.email=x@y", "tag", "-a", "first", "-m", "First"]);
    bench.app.restore(&bench.first, &note("Restore")).unwrap().unwrap();
    more_versions(&bench, 20..30);
    let unreached = bench.app.repo().unwrap().blob(b"nothing reaches this").unwrap();
    (bench, unreached)
}

fn more_versions(bench: &Bench, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let line = format!("<p>{number}</p>\n");
        bench.write("index.html", &line.repeat(number as usize + 1));
        bench.write("css/site/style.css", &format!("a {{ top: {number}px }}\n"));
        bench.app.commit_all(&note(&format!("Round {number}"))).unwrap().unwrap();
    }
}

/// All that can be read of an app: history, differences and files.
fn all_that_can_be_read(app: &Workspace) -> Vec<(Commit, String, Vec<Vec<u8>>)> {
    let read = |commit: Commit| {
        let files = app.tree_at(&commit.id).unwrap();
        let contents = files.iter().map(|file| app.read_at(&commit.id, &file.path).unwrap()).collect();
        let diff = app.diff(&commit.id).unwrap();
        (commit, diff, contents)
    };
    app.log_since(None).unwrap().into_iter().map(read).collect()
}

fn exported(bench: &Bench, app: &Workspace, name: &str) -> (String, String) {
    let mut tar = Vec::new();
    app.export(&mut tar, "out", &[]).unwrap();
    let there = bench.folder.path().join(name);
    tar::Archive::new(tar.as_slice()).unpack(&there).unwrap();
    let out = there.join("out");
    bench.git(&out, &["fsck", "--strict", "--full"]);
    (bench.git(&out, &["log", "-p", "--format=%H %s%n%b"]), bench.git(&out, &["status", "--porcelain"]))
}

fn counts(bench: &Bench) -> (usize, usize) {
    let objects = Objects(bench.app.root().join(".git/objects"));
    (objects.loose(&Budget::unlimited()).unwrap().len(), objects.packs().unwrap().len())
}

fn left_aside(root: &Path) -> usize {
    let files = files_in(&root.join(".git")).unwrap();
    files.iter().filter(|file| file.file_name().unwrap().to_string_lossy().starts_with(ASIDE)).count()
}

#[test]
fn a_packed_history_is_the_same_history() {
    let (bench, unreached) = bench_with_history();
    let before = all_that_can_be_read(&bench.app);
    let exported_before = exported(&bench, &bench.app, "before");
    let (loose, _) = counts(&bench);

    let packed = bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().unwrap();
    // Not only the unreachable object, but also the tag object stays loose.
    assert_eq!((packed.objects, packed.packs), (loose - 2, 0));
    assert_eq!(counts(&bench), (2, 1));
    assert_eq!(left_aside(bench.app.root()), 0);
    bench.check();
    assert_eq!(all_that_can_be_read(&bench.app), before);
    assert_eq!(exported(&bench, &bench.app, "after"), exported_before);
    assert_eq!(bench.app.repo().unwrap().find_blob(unreached).unwrap().content(), b"nothing reaches this");
    assert_eq!(bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap(), None, "nothing is left to pack");

    // Changes of a workspace work with packed objects too.
    bench.app.restore(&before[3].0.id, &note("Restore")).unwrap().unwrap();
    assert_eq!(bench.app.read(&path("index.html")).unwrap(), before[3].2[2]);
    more_versions(&bench, 40..43);
    bench.check();
}

#[test]
fn many_packs_become_one() {
    let (bench, unreached) = bench_with_history();
    for round in 0..5 {
        assert!(bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().is_some());
        more_versions(&bench, 100 * round..100 * round + 3);
    }
    // Objects that have become unreachable are kept, even if they are packed.
    bench.app_git(&["repack", "-q", "-a", "-d", "--keep-unreachable"]);
    bench.app_git(&["branch", "-qD", "other"]);
    more_versions(&bench, 700..703);
    assert!(bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().is_some());
    let (before, kept) = (all_that_can_be_read(&bench.app), all_objects(&bench.app));
    assert_eq!(counts(&bench).1, 2);

    let packed = bench.app.pack_beyond(&Thresholds { packs: 1, ..ALWAYS }, &mut |_| ()).unwrap().unwrap();
    assert_eq!((packed.packs, counts(&bench)), (2, (0, 1)));
    assert_eq!(all_that_can_be_read(&bench.app), before);
    assert_eq!(all_objects(&bench.app), kept);
    assert!(kept.contains(&unreached));
    bench.check();
    bench.app.pack_beyond(&ALWAYS, &mut |_| ()).unwrap().unwrap();
    assert_eq!((counts(&bench), all_objects(&bench.app)), ((0, 1), kept), "one pack can be written again");
    bench.check();
}

fn all_objects(app: &Workspace) -> HashSet<Oid> {
    all_of(&app.repo().unwrap().odb().unwrap()).unwrap()
}

#[test]
fn only_the_smallest_packs_are_consolidated_and_kept_ones_are_left_alone() {
    let (bench, _) = bench_with_history();
    bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().unwrap();
    for round in 0..3 {
        more_versions(&bench, 100 * round..100 * round + 2);
        bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().unwrap();
    }
    let packs = Objects(bench.app.root().join(".git/objects")).packs().unwrap();
    let sizes: Vec<u64> = packs.iter().map(|pack| pack.object_count().unwrap()).collect();
    let (largest, all) = (*sizes.iter().max().unwrap(), sizes.iter().sum::<u64>());
    let kept = packs.iter().find(|pack| pack.object_count().unwrap() < largest).unwrap();
    fs::write(kept.file("keep"), "").unwrap();
    let rest = all - largest - kept.object_count().unwrap();
    let packed = bench.app.pack_beyond(&Thresholds { consolidated: rest, ..ALWAYS }, &mut |_| ()).unwrap().unwrap();
    assert_eq!((packed.objects as u64, packed.packs), (rest, 2));
    assert!(kept.file("idx").exists() && kept.file("pack").exists());
    bench.check();
}

#[test]
fn a_process_that_dies_between_two_steps_loses_nothing() {
    let (bench, unreached) = bench_with_history();
    bench.app.pack_beyond(&LOOSE, &mut |_| ()).unwrap().unwrap();
    more_versions(&bench, 50..53);
    let (before, kept) = (all_that_can_be_read(&bench.app), all_objects(&bench.app));
    // Loose copies of packed objects, as a process leaves them if it dies before it removes them.
    let copy = |id: Oid| {
        let file = Objects(bench.app.root().join(".git/objects")).loose_path(id);
        let repo = bench.app.repo().unwrap();
        let odb = repo.odb().unwrap();
        let object = odb.read(id).unwrap();
        let elsewhere = Repository::init_bare(bench.folder.path().join("elsewhere")).unwrap();
        elsewhere.odb().unwrap().write(object.kind(), object.data()).unwrap();
        fs::copy(Objects(elsewhere.path().join("objects")).loose_path(id), file).unwrap();
    };
    copy(Oid::from_str(bench.first.as_str()).unwrap());
    copy(Oid::from_str(before[2].0.id.as_str()).unwrap());

    // The state of the disk after the first step of each kind is what a killed process would leave.
    let workspaces = bench.folder.path().join("workspaces");
    let mut left: Vec<(Step, PathBuf)> = Vec::new();
    let mut snapshot = |step: Step| {
        if left.iter().all(|(known, _)| *known != step) {
            let to = bench.folder.path().join(format!("{step:?}"));
            let copied = Command::new("cp").arg("-a").arg(&workspaces).arg(&to).status().unwrap();
            assert!(copied.success());
            left.push((step, to));
        }
    };
    bench.app.pack_beyond(&ALWAYS, &mut snapshot).unwrap().unwrap();
    let steps: Vec<Step> = left.iter().map(|(step, _)| *step).collect();
    let all = [
        Step::CopyRemoved,
        Step::Prepared,
        Step::PackPlaced,
        Step::IndexPlaced,
        Step::LooseRemoved,
        Step::OldIndexRemoved,
        Step::OldPackRemoved,
    ];
    assert_eq!(steps, all);
    for (step, folder) in left {
        let app = Workspaces::new(folder, bench.app.limits()).unwrap().open(bench.app.app()).unwrap();
        assert_eq!(left_aside(app.root()), 1, "{step:?}");
        // Both before the recovery and after it.
        assert_eq!(all_that_can_be_read(&app), before, "{step:?}");
        app.recover().unwrap();
        assert_eq!(left_aside(app.root()), 0, "{step:?}");
        for thresholds in [LOOSE, ALWAYS] {
            assert_eq!(all_that_can_be_read(&app), before, "{step:?}");
            assert_eq!(all_objects(&app), kept, "{step:?}");
            bench.git(app.root(), &["fsck", "--strict", "--full"]);
            app.pack_beyond(&thresholds, &mut |_| ()).unwrap();
        }
        assert!(app.repo().unwrap().find_blob(unreached).is_ok());
        let packs = files_in(&app.root().join(".git/objects/pack")).unwrap();
        assert_eq!(packs.len(), 2, "one pack and its index after {step:?}: {packs:?}");
    }
}

#[test]
fn readers_go_on_while_packs_are_made_and_replaced() {
    let (bench, _) = bench_with_history();
    // Opened before, so that they know only the earlier packs. Each read is of an object that is not cached.
    let opened: Vec<Repository> = (0..4).map(|_| bench.app.repo().unwrap()).collect();
    for repo in &opened {
        assert!(repo::head(repo).is_ok());
    }
    let before = all_that_can_be_read(&bench.app);
    let ids: Vec<Oid> = all_objects(&bench.app).into_iter().collect();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (app, before, ended) = (bench.app.clone(), &before, &ended);
                scope.spawn(move || {
                    let mut rounds = 0;
                    while !ended.load(Ordering::Relaxed) || rounds == 0 {
                        assert_eq!(all_that_can_be_read(&app)[..before.len()], before[..]);
                        rounds += 1;
                    }
                })
            })
            .collect();
        for (repo, round) in opened.iter().zip(0..) {
            bench.app.pack_beyond(&ALWAYS, &mut |_| ()).unwrap();
            let odb = repo.odb().unwrap();
            for id in &ids {
                assert!(odb.read_header(*id).is_ok() && odb.read(*id).is_ok(), "{id} in round {round}");
            }
            more_versions(&bench, 100 * round..100 * round + 2);
        }
        // The first one knows packs that were removed meanwhile.
        let odb = opened[0].odb().unwrap();
        assert!(ids.iter().all(|id| odb.read(*id).is_ok()));
        ended.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    bench.check();
}

#[test]
fn few_objects_are_left_alone_and_a_spent_budget_ends_the_work() {
    let (bench, _) = bench_with_history();
    let (before, counted) = (all_that_can_be_read(&bench.app), counts(&bench));
    assert_eq!(bench.app.pack().unwrap(), None);
    for thresholds in [Thresholds { sample: 1000, packs: 9, ..ALWAYS }, Thresholds { loose: 1000, ..LOOSE }] {
        assert_eq!(bench.app.pack_beyond(&thresholds, &mut |_| ()).unwrap(), None);
    }
    let spent = Budget::of(Duration::ZERO);
    let late = bench.all.open_within(bench.app.app(), &spent).unwrap();
    assert!(matches!(late.pack_beyond(&ALWAYS, &mut |_| ()), Err(WorkspaceError::Stopped)));
    assert_eq!((counts(&bench), left_aside(bench.app.root())), (counted, 0));
    assert_eq!(all_that_can_be_read(&bench.app), before);
    bench.check();
}

#[test]
fn a_repository_with_many_loose_objects_is_packed() {
    let bench = Bench::new(&[("a.txt", "a")]);
    // With git's default settings, which do not sync each object. Each version adds a file, two folders and a commit,
    // until there are enough.
    let repo = Repository::open_bare(bench.app.root().join(".git")).unwrap();
    let objects = Objects(bench.app.root().join(".git/objects"));
    let mut parent = repo::head(&repo).unwrap();
    let mut number = 0;
    while objects.loose_in(SAMPLE).unwrap().len() < THRESHOLDS.sample {
        for _ in 0..100 {
            number += 1;
            let blob = repo.blob(format!("{number}\n{}", "the same line\n".repeat(200)).as_bytes()).unwrap();
            let mut folder = repo.treebuilder(None).unwrap();
            folder.insert("page.html", blob, 0o100_644).unwrap();
            let mut root = repo.treebuilder(None).unwrap();
            root.insert("pages", folder.write().unwrap(), 0o040_000).unwrap();
            let note = note(&format!("Version {number}"));
            let tree = root.write().unwrap();
            let id = repo::commit(&repo, Some(&parent), tree, &note.message(), note.at).unwrap();
            parent = repo.find_commit(id).unwrap();
        }
    }
    let (loose, _) = counts(&bench);
    let begun = Instant::now();
    let packed = bench.app.pack().unwrap().unwrap();
    println!("{loose} loose objects became {} bytes in {:?}", packed.bytes, begun.elapsed());
    assert_eq!((packed.objects, counts(&bench)), (loose, (0, 1)));
    assert!(packed.bytes < loose as u64 * 200, "what is alike is kept once: {packed:?}");
    assert_eq!(bench.app.log_since(None).unwrap().len(), number + 1);
    assert_eq!(bench.app.pack().unwrap(), None);
    bench.app_git(&["fsck", "--strict", "--full"]);
}
