use super::*;

fn verify(text: &str, password: &str) -> Result<bool, String> {
    Stored::parse(text, "CRYPT").verify(password.as_bytes()).map_err(|error| error.message(true))
}

/// What `doveadm pw` of Dovecot 2.3.19 made of "secret".
const DOVEADM: [&str; 24] = [
    "{SHA1}5en6G6MezRroT3XKqkdPOmY/BfQ=",
    "{SSHA512}XSfWoMdlx8/RbwKqLI30uDvnzbLuurFeuT5pM0i2HI0PFD4b52YLdBZEUo8QGR7o7bzBtlONjSLZHvDjzEhvH8O1VR0=",
    "{BLF-CRYPT}$2y$05$ob6Euh225pfkEt0v2gUlae0/JBTW1rm/XVkUAjENGWlSQkZsXJzJK",
    "{PLAIN}secret",
    "{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
    "{DES-CRYPT}RISM1mxvrW6tw",
    "{CRYPT}$2y$05$uUg4oniZ1dBoniPQry2XRu68ZCs69lEYrRwA4U30GTv.zTDWOTar2",
    "{SSHA}CdP2iBuw4GQCHmUe3XhF7M8TnNrUp/TA",
    "{MD5-CRYPT}$1$1i33Qtya$5Gmrqr7FD4xyNIJ9x9Bzt0",
    "{PLAIN-MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    "{SHA512-CRYPT}$6$a8YTxf1sXit21813$HB08fyErnloaLVCx2pe2xu0v9sRoVAq9YHOXYdbz0Ogwkwx8/4MrF2r8kYx4LWZOEw2OA/glOmoYoT.1sJX4w0",
    "{CLEARTEXT}secret",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$CIptXpFsm341q6dgU5jikg$m1vDv75AK2XJkoLQvHrJP4/opg82IUVrZw1UsxTLvXk",
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$GpRY5OZsDOHmRwQynrRZvw$OiI0bY0SQLwQmNa2iRjvkbWr+8RXTifrASQSVYOvY+k",
    "{SSHA256}gVK4aDHSUuBrjD5R7ojirxN1P4vVajdKL/7rcGQtjdpbvC2Y",
    "{MD5}$1$v6FjVIyo$WmcYTVKvir4h3lbyjj/y90",
    "{MD5}5ebe2294ecd0e0f08eab7690d2a6ee69",
    "{PBKDF2}$1$1i3Md7jtHEQsnqnx$5000$881c29c1d638e453c05d3244386106556c8c6ac2",
    "{SHA256}K7gNU3sdo+OL0wNhqoVWhr3g6s1xYv72ol/pe/Unols=",
    "{SHA256.HEX}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "{SHA256}2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b",
    "{SHA256-CRYPT}$5$SnE5tQbYT89wJzTr$xPSkk22lwtsJAHaRCQPZ5JsFGOqYF19uf9mCBheTii2",
    "{SMD5}Srwv3GL09emn93OlYjfJrBjinpI=",
    "{LDAP-MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==",
];

#[test]
fn verifies_what_doveadm_made() {
    for text in DOVEADM {
        assert_eq!(verify(text, "secret"), Ok(true), "{text}");
        assert_eq!(verify(text, "Secret"), Ok(false), "{text}");
        assert_eq!(plausible("PLAIN", text), Ok(()), "{text}");
    }
    assert_eq!(verify("{PLAIN.b64}c2VjcmV0", "secret"), Ok(true));
    assert_eq!(verify("{plain.HEX}736563726574", "secret"), Ok(true));
    assert_eq!(verify("{PLAIN-TRUNC}3-sec", "secret"), Ok(true));
    assert_eq!(verify("{PLAIN-TRUNC}3-sec", "se"), Ok(false));
}

/// `crypt.crypt(password, setting)` of libxcrypt 4.4; the Latin-1 looking password is its UTF-8 form.
#[test]
fn agrees_with_libxcrypt() {
    let accent = "secr\u{e9}t";
    let sharp = "\u{ff}\u{ff}\u{a3}345";
    let long = "a".repeat(73);
    for (password, hash) in [
        (
            accent,
            "$6$rounds=1000$ab$9Byqy./3FLnHKTjtx60.ZcECioR7aMnXtfAtImyCKfbMQ2yqy5BcjOJaisudja.P/SrS6S/02HVELCOoXrDEi.",
        ),
        (accent, "$6$ab$o4XHzIdjRtMfmCKHFRFNq0ayjLpqfFFMvQoWmm2G/Y2DH9gpU9fiBtnJO4lH41mf.cada5.KHrPvL9Tfn.iP8."),
        (
            accent,
            "$6$rounds=5000$ab$o4XHzIdjRtMfmCKHFRFNq0ayjLpqfFFMvQoWmm2G/Y2DH9gpU9fiBtnJO4lH41mf.cada5.KHrPvL9Tfn.iP8.",
        ),
        (accent, "$6$$oMDgs53jrDoiHQfsXgaCZLghXnFwONvLNgiq1ZE/iiMCNx1wa66qwcbm.T4k36bo6DFV2bijqxTPbkY12.hJw0"),
        (accent, "$5$rounds=1000$saltstringsaltst$5FMTh8vLJOI.Oui3wmpUKdLykoeKh0fBjOryrK541M."),
        (accent, "$1$abc$DrpCr/8wQLUQrhEQ28dkB/"),
        (accent, "$1$$iNZZpeOzeJK8m7fOLADDB0"),
        (accent, "$2y$05$abcdefghijklmnopqrstuuVjo8EJULHMbeMW6Bq/Q111xYMRRT71a"),
        (accent, "$2a$05$abcdefghijklmnopqrstuuVjo8EJULHMbeMW6Bq/Q111xYMRRT71a"),
        (accent, "$2b$05$abcdefghijklmnopqrstuuVjo8EJULHMbeMW6Bq/Q111xYMRRT71a"),
        (accent, "$2x$05$abcdefghijklmnopqrstuuKmkkd1RBA8R808E.6Nh2AbHHkwlc1mu"),
        (sharp, "$2y$05$abcdefghijklmnopqrstuu5weQzv094j9/GXa7JT1fqcKbzIx7RBa"),
        (sharp, "$2x$05$abcdefghijklmnopqrstuuyzxkwt1ts2sXCluZziu0hlGaKxgo0GK"),
        (accent, "$y$j75$abcdefgh$6A4QZLY3kK6raTm0a0wrEjwVzQFHb.exYw2HTk6yQO2"),
        (accent, "$y$j9T$abcdefgh$US6x3WVkMS8Sq4VovzmVc.nPYmdGaRe.TAKrv1xWjv."),
        (accent, "ab.x/6DjInQk6"),
        ("", "$2y$05$abcdefghijklmnopqrstuu0oImNDIy4flhldV9YqunRgBAePKmw7m"),
        (
            "",
            "$6$rounds=1000$ab$ibFMAI/Igw53aVaJxJu4wwQmU0jF8lxiKV6mtjRJmbxKnzQU8fIizULiJeSfGn7H54dbRhqwIBpklchs8nlWi.",
        ),
        ("", "$1$ab$rn6aQS/o7141mj179E/zA."),
        ("", "$y$j75$abcdefgh$dnXG1KuMBmwYrnuKh9nriQRakI62k6mwFrGgxhxYD/2"),
        (&long, "$2y$05$abcdefghijklmnopqrstuuGUnCqbfgs3htOkLrFduUjAyLBw1Rq/u"),
        (
            &long,
            "$6$rounds=1000$ab$RhYX4ztC5a/umn.WMNNefNawAN0Lhsvc0vjDvGQp4C3oytqGit3FcmAVxtpOspfuvdKh3Qx9R.Pdp9UK9F8YA1",
        ),
        (&long, "$5$rounds=1000$ab$0LuXnXUXEA84CvWRTrJ2sETC7jz7mlMcQyb5JFO7SC9"),
        (&long, "$1$ab$yDZ/NbPIFwtnvy3PpReKG."),
    ] {
        assert_eq!(verify(&format!("{{CRYPT}}{hash}"), password), Ok(true), "{hash}");
        assert_eq!(verify(&format!("{{CRYPT}}{hash}"), "other"), Ok(false), "{hash}");
    }
    let edge = "a".repeat(511);
    assert_eq!(verify("{CRYPT}$5$rounds=1000$ab$6aJ2AqasR5Oeh4g4N6DTSFTWSeOckZ/r5eo72G5B0ZA", &edge), Ok(true));
    let beyond = "a".repeat(512);
    assert_eq!(verify("{CRYPT}$2y$05$abcdefghijklmnopqrstuuGUnCqbfgs3htOkLrFduUjAyLBw1Rq/u", &beyond), Ok(true));
}

/// Where crypt(3) answers `*0` nothing matches, not even the failure token itself.
#[test]
fn broken_crypt_hashes_match_nothing() {
    for hash in [
        "",
        "x",
        "*0",
        "*1",
        "a!",
        "$6$rounds=99$abc$",
        "$6$rounds=1000",
        "$5$rounds=05000$ab",
        "$6$a:b",
        "$6$a!b",
        "$7$a",
        "$y$j9T$abcdefghijklmnopqrstuv",
        "$y$",
        "$y$j9T",
        "$9$x$y",
        "$6$rounds=1000$ab$",
        "$y$j9T$$",
        "é!",
        "$2",
    ] {
        for password in ["", "x", "*0", "*1"] {
            assert_eq!(verify(&format!("{{CRYPT}}{hash}"), password), Ok(false), "{hash}");
        }
        assert!(plausible("CRYPT", hash).is_err(), "{hash}");
    }
}

/// The words that Dovecot 2.3.19 logs.
#[test]
fn errors_in_dovecots_words() {
    for (text, expected) in [
        ("{FOO}x", "Unknown scheme FOO"),
        ("{SHA256.foo}zz", "Unknown scheme SHA256.foo"),
        ("{SHA.hex}zz", "Password data is not valid for scheme SHA.hex: Input isn't valid HEX encoded data"),
        ("{SSHA}!!", "Password data is not valid for scheme SSHA: Input isn't valid base64 encoded data"),
        ("{SHA}AAAA", "Password data is not valid for scheme SHA: Input length isn't valid (3 instead of 20)"),
        ("{SMD5}AAAA", "Invalid password 'AAAA' in passdb: SMD5 password is too short"),
        ("{SSHA}AAAA", "Invalid password 'AAAA' in passdb: SSHA password is too short"),
        ("{BLF-CRYPT}$6$abc", "Invalid password '$6$abc' in passdb: Password is not blowfish password"),
        (
            "{CRYPT}$2y$99$abcdefghijklmnopqrstuuvQ",
            "Invalid password '$2y$99$abcdefghijklmnopqrstuuvQ' in passdb: crypt_blowfish_rn failed: Invalid argument",
        ),
        ("{MD5}zz", "Invalid password 'zz' in passdb: Not a valid MD5-CRYPT or PLAIN-MD5 password"),
        ("{PBKDF2}$2$a", "Invalid password '$2$a' in passdb: Invalid PBKDF2 passdb entry prefix"),
        ("{PBKDF2}$1$a", "Invalid password '$1$a' in passdb: Invalid PBKDF2 passdb entry format"),
        ("{PBKDF2}$1$a$5$zz", "Invalid password '$1$a$5$zz' in passdb: PBKDF2 hash not 160bit hex-encoded"),
        ("{PLAIN-TRUNC}abc", "Invalid password 'abc' in passdb: PLAIN-TRUNC missing length: prefix"),
    ] {
        assert_eq!(verify(text, "x"), Err(expected.to_owned()), "{text}");
    }
    let hidden = Stored::parse("{SMD5}AAAA", "PLAIN").verify(b"x").unwrap_err();
    assert_eq!(hidden.to_string(), "Invalid password in passdb: SMD5 password is too short");
    assert_eq!(verify("{ARGON2ID}foo", "x"), Ok(false), "as Dovecot: a mismatch");
}

/// A hash cannot buy more of our time or memory than the limits; one step below is still computed.
#[test]
fn costs_are_capped() {
    for text in [
        "{CRYPT}$6$rounds=1000001$ab$x",
        "{CRYPT}$5$rounds=999999999$ab$x",
        "{CRYPT}$2y$17$abcdefghijklmnopqrstuuVjo8EJULHMbeMW6Bq/Q111xYMRRT71a",
        "{PBKDF2}$1$a$5000001$881c29c1d638e453c05d3244386106556c8c6ac2",
        "{PBKDF2}$1$a$0$881c29c1d638e453c05d3244386106556c8c6ac2",
        "{ARGON2ID}$argon2id$v=19$m=262145,t=3,p=1$GpRY5OZsDOHmRwQynrRZvw$OiI0bY0SQLwQmNa2iRjvkbWr+8RXTifrASQSVYOvY+k",
        "{ARGON2ID}$argon2id$v=19$m=64,t=17,p=1$GpRY5OZsDOHmRwQynrRZvw$OiI0bY0SQLwQmNa2iRjvkbWr+8RXTifrASQSVYOvY+k",
        "{ARGON2ID}$argon2id$v=19$m=64,t=1,p=17$GpRY5OZsDOHmRwQynrRZvw$OiI0bY0SQLwQmNa2iRjvkbWr+8RXTifrASQSVYOvY+k",
        "{CRYPT}$y$jJT$abcdefgh$6A4QZLY3kK6raTm0a0wrEjwVzQFHb.exYw2HTk6yQO2",
    ] {
        let error = verify(text, "x").expect_err(text);
        assert!(error.contains("exceed") || error.contains("outside"), "{error}");
        assert!(plausible("CRYPT", text).is_err());
    }
    assert!(generate("ARGON2ID", b"x", 4).is_err());
    assert!(generate("SHA512-CRYPT", b"x", u32::MAX).is_err());
}

/// Tutorial 003 ends with `scheme=PLAIN` over a `$6$` hash: the login fails, and `check` says why.
#[test]
fn explains_a_hash_under_a_clear_scheme() {
    let hash =
        "$6$rounds=1000$ab$9Byqy./3FLnHKTjtx60.ZcECioR7aMnXtfAtImyCKfbMQ2yqy5BcjOJaisudja.P/SrS6S/02HVELCOoXrDEi.";
    assert_eq!(Stored::parse(hash, "PLAIN").verify("secr\u{e9}t".as_bytes()), Ok(false));
    let why = plausible("PLAIN", hash).unwrap_err();
    assert!(why.contains("SHA512-CRYPT"), "{why}");
    assert_eq!(plausible("SHA512-CRYPT", hash), Ok(()));
    assert_eq!(plausible("PLAIN", "123456"), Ok(()));
    assert!(plausible("PLAIN", "{SCRAM-SHA-1}x").unwrap_err().contains("not offered"));
    assert!(plausible("SHA512-CRYPT", "$6$ab$short").unwrap_err().contains("whole"));
}

#[test]
fn prefixes_and_defaults() {
    let parsed = |text| {
        let stored = Stored::parse(text, "DEFAULT");
        (stored.scheme().to_owned(), stored.hash().to_owned())
    };
    assert_eq!(parsed("{SHA.hex}ab"), ("SHA.hex".into(), "ab".into()));
    assert_eq!(parsed("plain"), ("DEFAULT".into(), "plain".into()));
    assert_eq!(parsed("{open"), ("DEFAULT".into(), "{open".into()));
    assert_eq!(parsed("$1$salt$hash$more"), ("MD5-CRYPT".into(), "$1$salt$hash".into()));
    assert_eq!(parsed("$1$salt"), ("DEFAULT".into(), "$1$salt".into()));
    assert!(!format!("{:?}", Stored::parse("hunter2", "PLAIN")).contains("hunter2"));
}

#[test]
fn generated_hashes_verify() {
    for scheme in SCHEMES {
        for suffix in ["", ".b64", ".hex"] {
            if matches!(scheme, Scheme::Argon2i | Scheme::Argon2id) && !suffix.is_empty() {
                continue;
            }
            let name = format!("{}{suffix}", scheme.name());
            let stored = generate(&name, b"12-pa ss", 0).expect(&name);
            let expected = scheme != Scheme::PlainTrunc;
            assert_eq!(stored.verify(b"12-pa ss"), Ok(expected), "{name}");
            assert_eq!(stored.verify(b"12-pa sS"), Ok(false), "{name}");
        }
    }
    assert!(generate("CRYPT", b"x", 0).unwrap().hash().starts_with("$2y$05$"));
    assert!(generate("SHA512-CRYPT", b"x", 10).unwrap().hash().starts_with("$6$rounds=1000$"));
    assert_eq!(generate("NOPE", b"x", 0), Err("Unknown scheme: NOPE".into()));
}

proptest::proptest! {
    /// Whatever stands in a file, verification answers and does not panic.
    #[test]
    fn no_stored_text_panics(scheme in 0usize..24, text in "[$./a-z0-9{}=,\\PC]{0,60}", prefix in 0usize..9) {
        let prefix = ["", "$1$", "$2y$04$", "$5$rounds=1000$", "$6$", "$y$j7", "$argon2i$v=19$m=8,t=1,p=1$", "3-", "$1$a$1$"][prefix];
        let stored = Stored::new(SCHEMES[scheme].name(), &format!("{prefix}{text}"));
        let _ = stored.verify(b"x");
        let _ = Stored::parse(&text, "CRYPT").verify(b"x");
    }
}
