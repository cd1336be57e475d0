//! tlsmgr: the only process that holds private keys. It has no network, opens nothing, and does two things for those who
//! speak TLS: it gives certificate chains and it signs.
//!
//! Files are opened by the master's connector, as root, and read here. They are read again when somebody asks for a chain
//! and the last look is [`LOOK`] old, so that a renewed certificate is taken over without a reload; a pair whose files do not
//! fit together, or cannot be read, leaves the old pair in use and is logged.
//!
//! A program may use the keys that the configuration gives it and no others: key numbers are positions in the list of the
//! program that asks.

mod pair;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ipc_config::section::Section;
use ipc_messages::tls::{FromTlsmgr, ToTlsmgr};
use pair::Pair;
use worker::{Calls, Cx, Frame, Peer, PeerId, Service, Setup, StartError};
use zeroize::Zeroizing;

/// How old the last look at the files may be when a chain is asked for.
const LOOK: Duration = Duration::from_secs(30);
/// The largest certificate or key file.
const MAX_FILE: u64 = 1024 * 1024;

fn main() -> ExitCode {
    worker::run::<Tlsmgr>()
}

struct Tlsmgr {
    /// Key pairs by program and number.
    keys: BTreeMap<(String, u16), Key>,
    /// Which file the connector brings under which index.
    files: Vec<FileOf>,
    clients: BTreeMap<PeerId, String>,
    /// Chains asked for while the files are being read.
    waiting: Vec<(PeerId, u16)>,
}

/// What one file of the connector's list is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileOf {
    program: String,
    number: u16,
    is_key: bool,
}

#[derive(Default)]
struct Key {
    pair: Option<Pair>,
    /// The newest contents of both files, or why one could not be read.
    certificate: Option<Result<Vec<u8>, String>>,
    key: Option<Result<Zeroizing<Vec<u8>>, String>>,
    looked: Option<Instant>,
    /// What was logged last, so that a lasting fault is logged once.
    fault: Option<String>,
}

/// The connector's names are `cert PROGRAM NUMBER` and `key PROGRAM NUMBER`.
fn files(section: &Section) -> Vec<FileOf> {
    let file = |name: &String| {
        let mut words = name.split(' ');
        let is_key = words.next() == Some("key");
        let program = words.next().unwrap_or_default().to_string();
        FileOf { program, number: words.next().and_then(|n| n.parse().ok()).unwrap_or(0), is_key }
    };
    section.foreign.iter().map(file).collect()
}

impl Service for Tlsmgr {
    const NAME: &'static str = "tlsmgr";
    const CALLS: Calls = Calls {
        accept: false,
        connect: false,
        files: false,
        threads: false,
        fork: false,
        memfd: false,
        notify: false,
        narrow: false,
    };
    type Section = Section;
    type Opened = ();
    type Done = ();

    fn pre_jail(_: &Section, _: &mut Setup) -> Result<(), StartError> {
        Ok(())
    }

    fn start(section: Section, (): (), _: Setup, cx: &mut Cx<()>) -> Result<Tlsmgr, StartError> {
        let mut service =
            Tlsmgr { keys: BTreeMap::new(), files: files(&section), clients: BTreeMap::new(), waiting: Vec::new() };
        service.look_at_all(cx);
        Ok(service)
    }

    fn peer_up(&mut self, _: &mut Cx<()>, id: PeerId, peer: &Peer) {
        if let Peer::Client { program, .. } = peer {
            self.clients.insert(id, program.clone());
        }
    }

    fn peer_down(&mut self, _: &mut Cx<()>, id: PeerId, _: &Peer) {
        self.clients.remove(&id);
        self.waiting.retain(|(peer, _)| *peer != id);
    }

    fn frame(&mut self, cx: &mut Cx<()>, id: PeerId, frame: Frame) {
        match frame.decode() {
            Ok((ToTlsmgr::Chain { key }, _)) => self.chain(cx, id, key),
            Ok((ToTlsmgr::Sign { key, scheme, message }, _)) => {
                let signature = match self.pair(id, key) {
                    Some(pair) => pair.sign(scheme.into(), &message),
                    None => Err("no such key".into()),
                };
                self.answer(cx, id, &FromTlsmgr::Signature { signature });
            }
            Err(error) => cx.broken(id, error),
        }
    }

    fn foreign(&mut self, cx: &mut Cx<()>, index: u16, result: Result<OwnedFd, i32>) {
        let Some(file) = self.files.get(usize::from(index)).cloned() else { return };
        let content = match result {
            Ok(fd) => read(fd),
            Err(errno) => Err(std::io::Error::from_raw_os_error(errno).to_string()),
        };
        let key = self.keys.entry((file.program.clone(), file.number)).or_default();
        if file.is_key {
            key.key = Some(content);
        } else {
            key.certificate = Some(content.map(|content| content.to_vec()));
        }
        self.combine(cx, &file.program, file.number);
    }

    fn reload(&mut self, cx: &mut Cx<()>, section: Section) {
        let files = files(&section);
        if files != self.files {
            self.files = files;
            self.keys.clear();
        }
        self.look_at_all(cx);
    }
}

impl Tlsmgr {
    fn look_at_all(&mut self, cx: &mut Cx<()>) {
        let keys: Vec<(String, u16)> = self.files.iter().map(|file| (file.program.clone(), file.number)).collect();
        for (program, number) in keys {
            self.look(cx, &program, number);
        }
    }

    /// Has both files of a pair read anew.
    fn look(&mut self, cx: &mut Cx<()>, program: &str, number: u16) {
        let key = self.keys.entry((program.to_string(), number)).or_default();
        if key.looked.is_some_and(|looked| cx.now() - looked < LOOK / 2) {
            return;
        }
        key.looked = Some(cx.now());
        (key.certificate, key.key) = (None, None);
        for (index, file) in (0u16..).zip(&self.files) {
            if file.program == program && file.number == number {
                cx.connect_foreign(index);
            }
        }
    }

    /// Makes a pair of the two files once both are there, and answers who waits for it.
    fn combine(&mut self, cx: &mut Cx<()>, program: &str, number: u16) {
        let Some(key) = self.keys.get_mut(&(program.to_string(), number)) else { return };
        let (Some(certificate), Some(private)) = (&key.certificate, &key.key) else { return };
        let made = match (certificate, private) {
            (Ok(certificate), Ok(private)) => Pair::new(certificate, private),
            (Err(error), _) => Err(format!("certificate: {error}")),
            (_, Err(error)) => Err(format!("private key: {error}")),
        };
        key.fault = match made {
            Ok(pair) => {
                key.pair = Some(pair);
                None
            }
            Err(error) => {
                if key.fault.as_ref() != Some(&error) {
                    let kept = if key.pair.is_some() { "the old pair stays in use" } else { "TLS cannot be offered" };
                    slog::error!(cx.log(), "key pair {number} of {program}: {error}; {kept}");
                }
                Some(error)
            }
        };
        // The private key is in the pair, and nowhere else.
        (key.certificate, key.key) = (None, None);
        let clients = &self.clients;
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(id, n)| *n == number && clients.get(id).is_some_and(|client| client == program));
        self.waiting = waiting;
        let ready: Vec<(PeerId, u16)> = ready;
        for (id, number) in ready {
            self.tell_chain(cx, id, number);
        }
    }

    fn chain(&mut self, cx: &mut Cx<()>, id: PeerId, number: u16) {
        let Some(program) = self.clients.get(&id).cloned() else { return };
        let now = cx.now();
        let key = self.keys.get(&(program.clone(), number));
        let Some(key) = key else { return self.tell_chain(cx, id, number) };
        if key.pair.is_some() && key.looked.is_some_and(|looked| now - looked < LOOK) {
            return self.tell_chain(cx, id, number);
        }
        self.waiting.push((id, number));
        self.look(cx, &program, number);
    }

    fn tell_chain(&mut self, cx: &mut Cx<()>, id: PeerId, number: u16) {
        let fault = || {
            let program = self.clients.get(&id)?;
            self.keys.get(&(program.clone(), number))?.fault.clone()
        };
        let chain = match self.pair(id, number) {
            Some(pair) => Ok((pair.chain(), pair.schemes())),
            None => Err(fault().unwrap_or_else(|| "no such key".into())),
        };
        self.answer(cx, id, &FromTlsmgr::Chain { key: number, chain });
    }

    fn pair(&self, id: PeerId, number: u16) -> Option<&Pair> {
        let program = self.clients.get(&id)?;
        self.keys.get(&(program.clone(), number))?.pair.as_ref()
    }

    fn answer(&self, cx: &mut Cx<()>, id: PeerId, answer: &FromTlsmgr) {
        // A peer that does not read what it asked for, or a chain larger than a frame: it gets no answer and closes.
        if cx.send(id, answer, Vec::new()).is_err() {
            cx.drop_peer(id);
        }
    }
}

fn read(fd: OwnedFd) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut content = Zeroizing::new(Vec::with_capacity(16 * 1024));
    let read = File::from(fd).take(MAX_FILE + 1).read_to_end(&mut content).map_err(|error| error.to_string())?;
    if read as u64 > MAX_FILE { Err(format!("the file is larger than {MAX_FILE} bytes")) } else { Ok(content) }
}
