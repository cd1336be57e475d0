//! The real `doveadm pw` and this crate verify each other's hashes. Left out, with a word, where it is not installed.

use std::process::Command;

use store_passwords::scheme::{self, SCHEMES, Stored};

const PASSWORD: &str = "p\u{e4}ss word!";

/// What `doveadm pw` prints; `None` if there is no doveadm.
fn doveadm(arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new("doveadm").arg("pw").args(arguments).output().ok()?;
    Some((output.status.success(), String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn available() -> bool {
    let found = doveadm(&["-l"]).is_some_and(|(success, _)| success);
    if !found {
        eprintln!("left out: doveadm is not installed");
    }
    found
}

#[test]
fn doveadm_verifies_our_hashes() {
    if !available() {
        return;
    }
    for scheme in SCHEMES.map(scheme::Scheme::name).into_iter().filter(|name| *name != "PLAIN-TRUNC") {
        let stored = scheme::generate(scheme, PASSWORD.as_bytes(), 0).expect(scheme);
        let text = format!("{{{scheme}}}{}", stored.hash());
        let (success, _) = doveadm(&["-p", PASSWORD, "-t", &text]).expect("doveadm was there");
        assert!(success, "{text}");
        let (success, _) = doveadm(&["-p", "other", "-t", &text]).expect("doveadm was there");
        assert!(!success, "{text}");
    }
}

#[test]
fn we_verify_doveadms_hashes() {
    if !available() {
        return;
    }
    for scheme in SCHEMES.map(scheme::Scheme::name).into_iter().filter(|name| *name != "PLAIN-TRUNC") {
        for suffix in ["", ".b64", ".hex"] {
            let name = format!("{scheme}{suffix}");
            let (success, text) = doveadm(&["-s", &name, "-p", PASSWORD]).expect("doveadm was there");
            assert!(success, "{name}");
            let stored = Stored::parse(&text, "PLAIN");
            assert_eq!(stored.verify(PASSWORD.as_bytes()), Ok(true), "{text}");
            assert_eq!(stored.verify(b"other"), Ok(false), "{text}");
            assert_eq!(scheme::plausible("PLAIN", &text), Ok(()), "{text}");
        }
    }
}
