//! What we write of each message of the corpus, against what Dovecot 2.3 answered when it was recorded.

mod common;

use std::fs;

#[test]
fn recorded_answers() {
    let messages = common::messages();
    assert!(messages.len() > 150, "the corpus is not there");
    for (name, message) in messages {
        let expected = fs::read(common::folder().join(format!("{name}.fetch"))).unwrap();
        let ours = common::fetch_items(&message);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&expected), "{name}");
    }
}
