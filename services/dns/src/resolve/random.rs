//! Random answers: no byte of a name server's panics, and what is believed stays within its bounds.

use hickory_proto::rr::RecordType;
use ipc_messages::dns::{MAX_RECORDS, MAX_TEXT};

use super::message::{Data, MAX_ALIASES, Question, Reply, What, query, read};

const ID: u16 = 0x2a17;

/// xorshift: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
}

/// An answer whose records are pieces of valid ones, pointers among them, with some bytes changed.
fn answer(random: &mut Random, question: &Question) -> Vec<u8> {
    let records: [&[u8]; 7] = [
        b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01",
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c",
        b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01a\xc0\x0c",
        b"\x01a\xc0\x0c\0\x0f\0\x01\xff\xff\xff\xff\0\x05\0\x0a\x01b\0",
        b"\xc0\x0c\0\x10\0\x01\0\0\0\x3c\0\x03\x02hi",
        b"\xc0\x0c\0\x06\0\x01\0\0\0\x3c\0\x16\0\0\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01",
        b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01",
    ];
    let junk: [&[u8]; 6] = [b"\0\0\x29\x04\xd0\0\0\0\0\0\0", b"\xc0\x0c", b"\xc0\xff", b"\x3f", b"\0", b"\0\x01\0\x01"];
    let mut bytes = query(question, ID, false);
    bytes[2] |= 0x80;
    bytes[3] = [0, 0, 0, 3, 1, 2][random.below(6)];
    let (answers, authorities) = (random.below(20), random.below(3));
    (bytes[7], bytes[9]) = (answers as u8, authorities as u8);
    for _ in 0..answers + authorities {
        bytes.extend_from_slice(records[random.below(records.len())]);
    }
    for _ in 0..random.below(3) {
        match random.below(3) {
            0 => bytes.extend_from_slice(junk[random.below(junk.len())]),
            1 => bytes.truncate(bytes.len() - random.below(8)),
            _ => {
                let at = random.below(bytes.len());
                bytes[at] = random.below(256) as u8;
            }
        }
    }
    bytes
}

fn run(rounds: usize) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let kinds = [RecordType::A, RecordType::AAAA, RecordType::PTR, RecordType::MX, RecordType::TXT];
    let mut told = 0;
    for _ in 0..rounds {
        let question = Question::new("mail.example.org", kinds[random.below(kinds.len())]).unwrap();
        let bytes = answer(&mut random, &question);
        let Reply::Told(found) = read(&bytes, &question, ID) else { continue };
        told += 1;
        assert!(found.aliases <= MAX_ALIASES && found.ttl <= i32::MAX as u32);
        if let What::Records(records) = found.what {
            let text: usize = records.iter().map(|data| if let Data::Text(text) = data { text.len() } else { 0 }).sum();
            assert!(!records.is_empty() && records.len() <= MAX_RECORDS && text <= MAX_TEXT);
        }
    }
    assert!(told > rounds / 10, "hardly any answer was understood: {told} of {rounds}");
}

#[test]
fn random_answers() {
    run(20_000);
}

#[test]
#[ignore = "long"]
fn random_answers_for_long() {
    run(5_000_000);
}
