//! A configuration folder, and commands run in it by their names.

#![allow(dead_code, reason = "each test program uses a part")]

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

pub const BINARY: &str = env!("CARGO_BIN_EXE_mailctl");

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: i32,
    pub output: String,
    pub errors: String,
}

/// Nothing on standard output.
pub fn said(status: i32, errors: &str) -> Outcome {
    Outcome { status, output: String::new(), errors: errors.to_owned() }
}

/// A folder that goes with the test.
pub struct Bench(tempfile::TempDir);

impl Bench {
    pub fn new() -> Bench {
        Bench(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn folder(&self) -> String {
        self.path().display().to_string()
    }

    /// Writes a file, and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// A main.cf whose state and log are in the folder.
    pub fn state_here(&self, more: &str) {
        let folder = self.folder();
        self.write(
            "main.cf",
            &format!(
                "posthorn_directory = {folder}\nmaillog_file = {folder}/log\nmaillog_file_prefixes = {folder}\n{more}"
            ),
        );
        self.write("master.cf", "");
    }

    /// Runs a command with `-c` and the folder.
    pub fn run(&self, name: &str, words: &str) -> Outcome {
        self.command(name, &["-c", &self.folder()], words)
    }

    /// Runs a command with `-c` and a file.
    pub fn with_file(&self, name: &str, file: &str, words: &str) -> Outcome {
        self.command(name, &["-c", file], words)
    }

    /// Runs a command with nothing but these words.
    pub fn plain(&self, name: &str, words: &str) -> Outcome {
        self.command(name, &[], words)
    }

    /// Runs a command that finds the folder in its environment.
    pub fn environment(&self, name: &str, words: &[&str]) -> Outcome {
        outcome(Command::new(BINARY).arg0(name).args(words).env("MAIL_CONFIG", self.path()))
    }

    fn command(&self, name: &str, first: &[&str], words: &str) -> Outcome {
        outcome(Command::new(BINARY).arg0(name).args(first).args(words.split_whitespace()).env_remove("MAIL_CONFIG"))
    }
}

fn outcome(command: &mut Command) -> Outcome {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Outcome { status: output.status.code().unwrap_or(-1), output: text(output.stdout), errors: text(output.stderr) }
}
