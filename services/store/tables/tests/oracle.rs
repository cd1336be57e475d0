//! The same tables and keys asked of the real `postmap`. Where it is not installed, these tests say so and end.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use store_tables::command::{Environment, Options, Program, run};
use store_tables::{Context, Maps, NoNameService, Part, SystemFiles, TableFlags};

/// A folder with a configuration of its own for the real commands.
struct Oracle(tempfile::TempDir);

impl Oracle {
    fn new() -> Option<Self> {
        if Command::new("postmap").arg("-m").output().is_err() {
            eprintln!("left out: the real postmap is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("main.cf"), "compatibility_level = 3.6\n").unwrap();
        Some(Self(folder))
    }

    fn run(&self, program: &str, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(program)
            .args(["-c", &self.0.path().display().to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn compare(&self, table: &str, keys: &[&str]) {
        let maps = Maps::parse("test", table, TableFlags::default(), &Context::system()).unwrap();
        let find = |key: &&str| maps.find(key, Part::Full).unwrap().map(|value| format!("{key}\t{value}"));
        let ours: Vec<_> = keys.iter().filter_map(find).collect();
        let theirs = self.run("postmap", &["-q", "-", table], &(keys.join("\n") + "\n")).stdout;
        let theirs: Vec<_> = std::str::from_utf8(&theirs).unwrap().lines().collect();
        assert!(!theirs.is_empty(), "a comparison with nothing to compare: {table}");
        assert_eq!(ours, theirs, "{table}");
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

const ADDRESSES: [&str; 18] = [
    "user@example.com",
    "User+Ext@Example.COM",
    "owner-list@example.org",
    "a.b.c@sub.example.net",
    "joe",
    "@example.com",
    "x@[192.0.2.1]",
    "foobar",
    "foo(bar)",
    "a+b",
    "aab",
    "abab",
    "Subject: FREE money",
    "Subject: hello",
    "a<b>c",
    "{x}",
    "tab\there",
    "under_score word-boundary",
];

#[test]
fn regexp_tables() {
    let Some(oracle) = Oracle::new() else { return };
    let rules = [
        "/^(.*)@example\\.com$/ ${1} at com",
        "/^user/i lower only",
        "!/@/ no at",
        "/^owner-(.*)@(.*)$/!/zzz/ $1 of $2",
        "/(foo|abab)(.*)?/ <$1><$2>",
        "/^(.)\\1/ twice $1",
        "/[[:digit:]]+\\.[0-9]/ digits",
        "/\\<word\\>/ word",
        "/FREE/i shout",
        "/free/ any case",
        "/a{2}b/ interval",
        "/{x/ brace",
        "/a\\(b/ no",
        "/\\(bar\\)$/ paren",
        "/[]x[.-]b]/ odd class",
        "/[\\d]/ backslash or d",
        "/a+?b/ plus question",
        "/a\\(b\\)*/x basic $$",
        "/^a\\+b/x basic plus",
        "/.*/ rest $$1",
    ];
    for rule in rules {
        let path = oracle.file("r", &format!("{rule}\n/^/ none\n"));
        oracle.compare(&format!("regexp:{path}"), &ADDRESSES);
    }
    let nested = "if /@/\nif !/^owner/\n/^u/ u-at\n/sub/ sub-at\nendif\n/(.*)@/ other $(1)\nendif\n/./ no-at\n";
    let path = oracle.file("r", nested);
    oracle.compare(&format!("regexp:{path}"), &ADDRESSES);
}

#[test]
fn pcre_tables() {
    let Some(oracle) = Oracle::new() else { return };
    let rules = [
        "/^(.*)@example\\.com$/ ${1} at com",
        "/^user/i lower only",
        "!/@/ no at",
        "/^(?!user)(\\w+)@/ not user $1",
        "/(?<=\\+)ext/ look behind",
        "/^(.)\\1/ twice $1",
        "/\\d+\\.\\d/ digits",
        "/\\bword\\b/ word",
        "/u s e r/x verbose",
        "/(o+)(.*)/U <$1><$2>",
        "/b/A anchored",
        "/^f(?:oo|xx)(bar)?$/ <$1>",
        "/\\<b\\>/ literal",
        "/{x}/ brace",
        "/[[:alpha:]]\\.[^\\W_]/ class",
        "/\\Qfoo(b\\E/ quoted",
        "/\\t/ tab",
        "/a(?i)B/i mode",
        "/(?>a+)b/ atomic",
        "/[\\w.+-]+@[\\w.-]+/ <$$>",
    ];
    for rule in rules {
        let path = oracle.file("p", &format!("{rule}\n/^/ none\n"));
        if oracle.run("postmap", &["-q", "x", &format!("pcre:{path}")], "").status.code() != Some(0) {
            eprintln!("left out: the real pcre: table is not installed");
            return;
        }
        oracle.compare(&format!("pcre:{path}"), &ADDRESSES);
    }
}

#[test]
fn cidr_tables() {
    let Some(oracle) = Oracle::new() else { return };
    let text = "192.168.1.1 host\n192.168.0.0/16\tnet\n[2001:db8::]/32 six\n[::1] lo\nif 10.0.0.0/8\n10.1.0.0/16 ten-one\n\
        if !10.2.0.0/16\n10.0.0.0/8 other\nendif\nENDIF\n!172.16.0.0/12 not 172\n::/0 any\n10.0.0.1/8 bad\n";
    let path = oracle.file("c", text);
    let keys = [
        "192.168.1.1",
        "192.168.9.9",
        "2001:db8:1::1",
        "::1",
        "::2",
        "10.1.2.3",
        "10.2.0.1",
        "10.3.0.1",
        "172.16.5.5",
        "1.2.3.4",
        "name",
        "1.2.3",
        "::ffff:192.168.1.1",
    ];
    oracle.compare(&format!("cidr:{path}"), &keys);
}

#[test]
fn texts_in_memory_and_combinations() {
    let Some(oracle) = Oracle::new() else { return };
    let text =
        "user@example.com v\n  more\nUSER+ext@example.com folded\n\"a b\"@x quoted\nfoobar x\nfoobar y\njoe Jörg\n";
    let path = oracle.file("t", text);
    let keys = [&ADDRESSES[..], &["\"a b\"@x"]].concat();
    oracle.compare(&format!("texthash:{path}"), &keys);
    oracle.compare("inline:{joe=x,{foobar = a b }, a+b=c}", &keys);
    oracle.compare("inline:{{\"a b\"@x = q}}", &keys);
    oracle.compare("static:x", &keys);
    oracle.compare("static:{ a b }", &keys);
    oracle.compare(&format!("pipemap:{{texthash:{path},inline:{{x=end}}}}"), &keys);
    oracle.compare(&format!("unionmap:{{texthash:{path},inline:{{joe=second}}}}"), &keys);
}

fn our_postmap(arguments: &[&str]) -> String {
    let environment = Environment {
        files: Arc::new(SystemFiles),
        names: Arc::new(NoNameService),
        default_type: "hash".to_owned(),
        privileged: false,
        become_owner: Arc::new(|_, _| Ok(())),
        report: Arc::new(|line| panic!("{line}")),
    };
    let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let options = Options::parse(Program::Postmap, &arguments).unwrap();
    let mut output = Vec::new();
    assert_eq!(run(&options, &environment, &mut std::io::empty(), &mut output), 0);
    String::from_utf8(output).unwrap()
}

fn listing(output: &[u8]) -> Vec<String> {
    let mut lines: Vec<String> = String::from_utf8(output.to_vec()).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Records of every size, values that need pages of their own among them.
fn many_records() -> String {
    (0..3000).map(|n| format!("user{n}@example.com {}\n", "x".repeat(n * 31 % 3500 + 1))).collect()
}

#[test]
fn lmdb_files_of_the_real_postmap() {
    let Some(oracle) = Oracle::new() else { return };
    let text = many_records();
    let path = oracle.file("l", &text);
    let table = format!("lmdb:{path}");
    if !oracle.run("postmap", &[&table], "").status.success() {
        eprintln!("left out: the real lmdb: table is not installed");
        return;
    }
    let theirs = oracle.run("postmap", &["-s", &table], "").stdout;
    assert_eq!(listing(our_postmap(&["-s", &table]).as_bytes()), listing(&theirs));
    oracle.compare(&table, &["user0@example.com", "USER2999@example.com", "user1234@example.com", "nobody"]);
    for (change, input) in [(&["-d", "user7@example.com"][..], ""), (&["-i"], "new value\n")] {
        assert!(oracle.run("postmap", &[change, &[&table]].concat(), input).status.success());
        let theirs = oracle.run("postmap", &["-s", &table], "").stdout;
        assert_eq!(listing(our_postmap(&["-s", &table]).as_bytes()), listing(&theirs));
    }
}

#[test]
fn lmdb_files_of_ours_in_the_real_postmap() {
    let Some(oracle) = Oracle::new() else { return };
    let text = many_records();
    let path = oracle.file("l", &text);
    let table = format!("lmdb:{path}");
    our_postmap(&[&table]);
    let output = oracle.run("postmap", &["-s", &table], "");
    if String::from_utf8_lossy(&output.stderr).contains("unsupported dictionary type") {
        eprintln!("left out: the real lmdb: table is not installed");
        return;
    }
    let expected: Vec<_> = text.lines().map(|line| line.replacen(' ', "\t", 1)).collect();
    assert_eq!(listing(&output.stdout), listing(expected.join("\n").as_bytes()));
    for (change, input) in [(&["-d", "user7@example.com"][..], ""), (&["-i"], "new value\n")] {
        assert!(oracle.run("postmap", &[change, &[&table]].concat(), input).status.success());
    }
    let theirs = oracle.run("postmap", &["-s", &table], "").stdout;
    assert_eq!(listing(&theirs).len(), 3000);
    assert_eq!(listing(our_postmap(&["-s", &table]).as_bytes()), listing(&theirs));
}

#[test]
fn berkeley_db_files_of_the_real_postmap() {
    let Some(oracle) = Oracle::new() else { return };
    let path = oracle.file("b", "user@example.com v1\njoe v2\n");
    for kind in ["hash", "btree"] {
        let table = format!("{kind}:{path}");
        if !oracle.run("postmap", &[&table], "").status.success() {
            eprintln!("left out: the real {kind}: table is not installed");
            return;
        }
        assert!(Path::new(&format!("{path}.db")).exists());
        oracle.compare(&table, &ADDRESSES);
    }
}
