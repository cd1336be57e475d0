//! The commands on real files: what they build, say and return.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use store_tables::command::{Environment, Options, Program, new_aliases, run};
use store_tables::{Context, Maps, NoNameService, Part, SystemFiles, TableFlags};

/// A folder with tables, and commands run in it.
struct Bench {
    folder: tempfile::TempDir,
    said: Arc<Mutex<Vec<String>>>,
    owners: Arc<Mutex<Vec<(u32, u32)>>>,
    privileged: bool,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), said: Arc::default(), owners: Arc::default(), privileged: false }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str, content: &str) -> String {
        fs::write(self.path(name), content).unwrap();
        self.path(name).display().to_string()
    }

    fn environment(&self) -> Environment {
        let (said, owners) = (Arc::clone(&self.said), Arc::clone(&self.owners));
        Environment {
            files: Arc::new(SystemFiles),
            names: Arc::new(NoNameService),
            default_type: "hash".to_owned(),
            privileged: self.privileged,
            become_owner: Arc::new(move |uid, gid| {
                owners.lock().unwrap().push((uid, gid));
                Ok(())
            }),
            report: Arc::new(move |line| said.lock().unwrap().push(line.to_owned())),
        }
    }

    /// Exit status and standard output.
    fn run(&self, program: Program, arguments: &[&str], input: &str) -> (u8, String) {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let options = Options::parse(program, &arguments).unwrap();
        let mut output = Vec::new();
        let status = run(&options, &self.environment(), &mut io::Cursor::new(input), &mut output);
        (status, String::from_utf8(output).unwrap())
    }

    fn postmap(&self, arguments: &[&str]) -> (u8, String) {
        self.run(Program::Postmap, arguments, "")
    }

    /// What went to the standard error since the last call, with the folder's name taken out.
    fn said(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().display());
        std::mem::take(&mut *self.said.lock().unwrap()).iter().map(|line| line.replace(&folder, "")).collect()
    }
}

fn ok(output: &str) -> (u8, String) {
    (0, output.to_owned())
}

fn nothing() -> (u8, String) {
    (1, String::new())
}

#[test]
fn postmap_builds_and_answers() {
    for kind in ["hash", "btree", "lmdb"] {
        let bench = Bench::new();
        let path = bench.text("m", "k1 v1\n cont\nK2\tV2\nk3\nk4: v\nk1 dup\n");
        let table = format!("{kind}:{path}");
        assert_eq!(bench.postmap(&[&table]), ok(""));
        let place = if kind == "lmdb" { "lmdb:m" } else { "m.db" };
        assert_eq!(
            bench.said(),
            [
                "postmap: warning: m, line 4: expected format: key whitespace value".to_owned(),
                "postmap: warning: m, line 5: record is in \"key: value\" format; is this an alias file?".to_owned(),
                format!("postmap: warning: {place}: duplicate entry: \"k1\""),
            ]
        );
        assert_eq!(bench.postmap(&["-q", "K1", &table]), ok("v1 cont\n"));
        assert_eq!(bench.postmap(&["-q", "nope", &table]), nothing());
        assert_eq!(bench.postmap(&["-s", &table]), ok("k1\tv1 cont\nk2\tV2\nk4:\tv\n"));
        assert_eq!(bench.run(Program::Postmap, &["-q", "-", &table], "k3\nK2\n"), ok("K2\tV2\n"));
        assert_eq!(bench.run(Program::Postmap, &["-i", &table], "n new\nk2 other\n"), ok(""));
        assert_eq!(bench.postmap(&["-q", "k2", &table]), ok("V2\n"));
        assert_eq!(bench.run(Program::Postmap, &["-ir", &table], "k2 other\n"), ok(""));
        assert_eq!(bench.postmap(&["-q", "k2", &table]), ok("other\n"));
        assert_eq!(bench.postmap(&["-d", "K1", &table]), ok(""));
        assert_eq!(bench.postmap(&["-d", "k1", &table]), nothing());
        assert_eq!(bench.run(Program::Postmap, &["-d", "-", &table], "zz\nn\n"), ok(""));
        assert_eq!(bench.postmap(&["-s", &table]), ok("k2\tother\nk4:\tv\n"));
    }
}

#[test]
fn failures_have_postfix_words_and_status() {
    let bench = Bench::new();
    for (arguments, reason) in [
        (vec!["/nonexistent/x"], "open /nonexistent/x: No such file or directory"),
        (vec!["-q", "x", "hash:/nonexistent/x"], "open database /nonexistent/x.db: No such file or directory"),
        (vec!["-q", "x", "foo:/nonexistent/x"], "unsupported dictionary type: foo"),
        (vec!["-q", "x", "cidr:/nonexistent/x"], "open /nonexistent/x: No such file or directory"),
        (vec!["-q", "x", "fail:x"], "table fail:x: query error: Application error"),
        (vec!["-d", "x", "hash:/nonexistent/x"], "open database /nonexistent/x.db: No such file or directory"),
        (vec!["-s", "static:x"], "table static:x: sequence operation is not supported"),
        (vec!["-d", "x", "static:x"], "table static:x: delete operation is not supported"),
        (vec!["texthash:/etc/passwd"], "unsupported dictionary type: texthash does not support bulk-mode creation."),
        (vec!["proxy:hash:/x"], "can't create maps via the proxy service"),
    ] {
        assert_eq!(bench.postmap(&arguments), nothing(), "{arguments:?}");
        assert_eq!(bench.said(), [format!("postmap: fatal: {reason}")], "{arguments:?}");
    }
}

#[test]
fn folding_options() {
    let bench = Bench::new();
    let path = bench.text("m", "A upper\na lower\n");
    assert_eq!(bench.postmap(&["-f", &path]), ok(""));
    assert_eq!(bench.postmap(&["-fq", "A", &path]), ok("upper\n"));
    assert_eq!(bench.postmap(&["-q", "A", &path]), ok("lower\n"));
}

#[test]
fn aliases() {
    let bench = Bench::new();
    let path = bench.text("aliases", "Root: joe,\n  \"|prog x\"\nbad\n");
    assert_eq!(new_aliases(&format!("hash:{path}, btree:{path}"), &bench.environment()), 0);
    let warning = "postalias: warning: aliases, line 3: need name:value pair";
    assert_eq!(bench.said(), [warning, warning]);
    assert_eq!(bench.run(Program::Postalias, &["-q", "root", &path], ""), ok("joe, \"|prog x\"\n"));
    assert_eq!(bench.run(Program::Postalias, &["-q", "-", &path], "root\n"), ok("root:\tjoe, \"|prog x\"\n"));
    assert_eq!(new_aliases("hash:/nonexistent/x", &bench.environment()), 1);
}

#[test]
fn mode_follows_the_source() {
    let bench = Bench::new();
    let path = bench.text("m", "k v\n");
    let mode = |name| fs::metadata(bench.path(name)).unwrap().mode() & 0o777;
    fs::set_permissions(bench.path("m"), fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(bench.postmap(&[&path]).0, 0);
    assert_eq!(mode("m.db"), 0o600);
    fs::remove_file(bench.path("m.db")).unwrap();
    assert_eq!(bench.postmap(&["-p", &path]).0, 0);
    assert_eq!(mode("m.db") & 0o444, 0o444);
}

#[test]
fn privileged_builds_take_the_owner_of_the_source() {
    let mut bench = Bench::new();
    bench.privileged = true;
    let path = bench.text("m", "k v\n");
    assert_eq!(bench.postmap(&[&path]).0, 0);
    assert_eq!(bench.postmap(&["-o", &path]).0, 0);
    let meta = fs::metadata(bench.path("m")).unwrap();
    let expected = if meta.uid() == 0 { vec![] } else { vec![(meta.uid(), meta.gid())] };
    assert_eq!(*bench.owners.lock().unwrap(), expected);
}

fn berkeley_db(bench: &Bench) -> String {
    let path = bench.text("m", "k from-text\n");
    let mut bytes = vec![0u8; 4096];
    bytes[12..16].copy_from_slice(&0x0006_1561u32.to_le_bytes());
    fs::write(bench.path("m.db"), bytes).unwrap();
    path
}

#[test]
fn berkeley_db_is_read_through_its_text_and_kept() {
    let bench = Bench::new();
    let path = berkeley_db(&bench);
    assert_eq!(bench.postmap(&["-q", "K", &path]), ok("from-text\n"));
    assert_eq!(bench.said(), Vec::<String>::new());
    assert_eq!(bench.postmap(&[&path]).0, 0);
    assert_eq!(
        bench.said(),
        ["postmap: note: m.db was a Berkeley DB file, now kept as m.db.bdb; before Postfix can use this table again, \
          run its own postmap"]
    );
    assert_eq!(fs::metadata(bench.path("m.db.bdb")).unwrap().len(), 4096);
    fs::remove_file(&path).unwrap();
    assert_eq!(bench.postmap(&["-q", "K", &path]), ok("from-text\n"));
}

#[test]
fn berkeley_db_of_aliases_is_read_as_aliases() {
    let bench = Bench::new();
    let path = berkeley_db(&bench);
    fs::write(&path, "postmaster:    root, joe\n").unwrap();
    assert_eq!(bench.postmap(&["-q", "postmaster", &path]), ok("root, joe\n"));
}

fn maps(table: &str, said: &Arc<Mutex<Vec<String>>>) -> Maps {
    let said = Arc::clone(said);
    let context =
        Context { warn: Arc::new(move |text| said.lock().unwrap().push(text.to_owned())), ..Context::system() };
    Maps::parse("test_maps", table, TableFlags::default(), &context).unwrap()
}

#[test]
fn a_changed_table_is_picked_up() {
    let bench = Bench::new();
    let path = bench.text("m", "k one\n");
    let open = |kind: &str| maps(&format!("{kind}:{path}"), &bench.said);
    let (hash, texthash, lmdb) = (open("hash"), open("texthash"), open("lmdb"));
    let find = |maps: &Maps| maps.find("k", Part::Full).map_err(|error| error.to_string());
    assert!(find(&hash).is_err() && find(&lmdb).is_err());
    for value in ["one", "two", "three, longer"] {
        bench.text("m", &format!("k {value}\n"));
        assert_eq!(bench.postmap(&[&path, &format!("lmdb:{path}")]).0, 0);
        for maps in [&hash, &texthash, &lmdb] {
            assert_eq!(find(maps), Ok(Some(value.to_owned())), "{value}");
        }
    }
    fs::remove_file(bench.path("m.db")).unwrap();
    assert!(find(&hash).is_err());
}

#[test]
fn damage_is_a_temporary_failure() {
    let bench = Bench::new();
    let path = bench.text("m", "k v\n");
    for (kind, file) in [("hash", "m.db"), ("lmdb", "m.lmdb")] {
        assert_eq!(bench.postmap(&[&format!("{kind}:{path}")]).0, 0);
        let whole = fs::read(bench.path(file)).unwrap();
        for length in [0, 10, 40, whole.len() / 2, whole.len() - 1] {
            fs::write(bench.path(file), &whole[..length]).unwrap();
            let maps = maps(&format!("{kind}:{path}"), &bench.said);
            assert!(maps.find("k", Part::Full).is_err(), "{kind} cut to {length}");
        }
    }
}

#[test]
fn stale_tables_are_reported_once() {
    let bench = Bench::new();
    let path = bench.text("m", "k v\n");
    let now = SystemTime::now();
    let ago = |name: &str, minutes: u64| {
        let file = fs::File::options().append(true).open(bench.path(name)).unwrap();
        file.set_modified(now - Duration::from_secs(60 * minutes)).unwrap();
    };
    for (kind, suffix) in [("hash", ".db"), ("lmdb", ".lmdb")] {
        ago("m", 60);
        assert_eq!(bench.postmap(&[&format!("{kind}:{path}")]).0, 0);
        ago(&format!("m{suffix}"), 50);
        let warned = |minutes| {
            ago("m", minutes);
            let maps = maps(&format!("{kind}:{path}"), &bench.said);
            assert_eq!(maps.find("k", Part::Full).unwrap().as_deref(), Some("v"));
            assert!(maps.find("k", Part::Full).is_ok());
            bench.said()
        };
        assert_eq!(warned(60), Vec::<String>::new());
        assert_eq!(warned(30), [format!("database m{suffix} is older than source file m")]);
        assert_eq!(warned(0), Vec::<String>::new());
    }
}

#[test]
fn building_is_atomic_under_readers() {
    let bench = Bench::new();
    let path = bench.text("m", "k v\n");
    assert_eq!(bench.postmap(&[&path]).0, 0);
    let maps = maps(&format!("hash:{path}"), &bench.said);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..2000).all(|_| maps.find("k", Part::Full).is_ok_and(|value| value.is_some())));
        for _ in 0..30 {
            assert_eq!(bench.postmap(&[&path]).0, 0);
        }
        assert!(reader.join().unwrap());
    });
}
