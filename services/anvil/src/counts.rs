//! What clients do, counted as Postfix's anvil does (`anvil.c`): for each client of a service its open connections, and
//! rates over a time unit that begins with an event and starts anew with the first event after its end. A client is
//! forgotten a time unit after its last connection.
//!
//! The table is bounded: when it is full, the client that would be forgotten first makes room, and if all are connected a
//! new one is not counted, which lets it in.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use ipc_jail::sys::local_time;
use ipc_messages::anvil::Event;

/// Clients, and users with sessions, that are remembered at most.
pub const MAX_CLIENTS: usize = 100_000;

/// A client of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client {
    /// The service.
    pub service: String,
    /// Its address.
    pub address: IpAddr,
}

/// Things with a rate: connections, then the events.
const RATES: usize = 5;
const NAMES: [&str; RATES] = ["connection", "message", "recipient", "newtls", "auth"];

fn place(event: Event) -> usize {
    match event {
        Event::Message => 1,
        Event::Recipient => 2,
        Event::NewTls => 3,
        Event::Auth => 4,
    }
}

#[derive(Debug)]
struct Entry {
    connections: u32,
    /// When the time unit began.
    start: Instant,
    rates: [u32; RATES],
    /// When it is forgotten; `None` while it is connected.
    forget: Option<Instant>,
}

/// The largest value of something since the last report.
#[derive(Debug, Clone, Default)]
struct Most {
    value: u32,
    client: String,
    when: Option<SystemTime>,
}

impl Most {
    fn see(&mut self, value: u32, client: &Client, when: SystemTime) {
        if value > self.value {
            *self = Most { value, client: format!("{}:{}", client.service, client.address), when: Some(when) };
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Counts {
    unit: Duration,
    clients: HashMap<Client, Entry>,
    forget: BTreeSet<(Instant, Client)>,
    rates: [Most; RATES],
    connections: Most,
    size: Most,
}

impl Counts {
    /// An empty table with this `anvil_rate_time_unit`.
    pub fn new(unit: Duration) -> Counts {
        Counts {
            unit,
            clients: HashMap::new(),
            forget: BTreeSet::new(),
            rates: Default::default(),
            connections: Most::default(),
            size: Most::default(),
        }
    }

    /// Changes the time unit.
    pub fn set_unit(&mut self, unit: Duration) {
        self.unit = unit;
    }

    /// Whether no client is connected or remembered.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// A client has connected; returns its open connections and their rate.
    pub fn connect(&mut self, client: &Client, now: Instant, clock: SystemTime) -> (u32, u32) {
        let Some(entry) = self.entry(client, now, clock) else { return (1, 1) };
        let forget = entry.forget.take();
        entry.connections = entry.connections.saturating_add(1);
        entry.rates[0] = entry.rates[0].saturating_add(1);
        let (count, rate) = (entry.connections, entry.rates[0]);
        if let Some(at) = forget {
            self.forget.remove(&(at, client.clone()));
        }
        self.rates[0].see(rate, client, clock);
        self.connections.see(count, client, clock);
        (count, rate)
    }

    /// A connection of a client has ended.
    pub fn disconnect(&mut self, client: &Client, now: Instant) {
        let Some(entry) = self.clients.get_mut(client).filter(|entry| entry.connections > 0) else { return };
        entry.connections -= 1;
        if entry.connections == 0 {
            let at = now + self.unit;
            entry.forget = Some(at);
            self.forget.insert((at, client.clone()));
        }
    }

    /// An event of a client; returns its rate.
    pub fn count(&mut self, client: &Client, event: Event, now: Instant, clock: SystemTime) -> u32 {
        let Some(entry) = self.entry(client, now, clock) else { return 1 };
        let rate = &mut entry.rates[place(event)];
        *rate = rate.saturating_add(1);
        let rate = *rate;
        self.rates[place(event)].see(rate, client, clock);
        rate
    }

    /// The rate of an event as it is.
    pub fn rate(&self, client: &Client, event: Event, now: Instant) -> u32 {
        let entry = self.clients.get(client).filter(|entry| now <= entry.start + self.unit);
        entry.map_or(0, |entry| entry.rates[place(event)])
    }

    /// The entry of a client, with its rates for the present time unit. `None` when there is no room.
    fn entry(&mut self, client: &Client, now: Instant, clock: SystemTime) -> Option<&mut Entry> {
        self.expire(now);
        if !self.clients.contains_key(client) {
            if self.clients.len() >= MAX_CLIENTS {
                let (_, first) = self.forget.pop_first()?;
                self.clients.remove(&first);
            }
            let at = now + self.unit;
            let entry = Entry { connections: 0, start: now, rates: [0; RATES], forget: Some(at) };
            self.forget.insert((at, client.clone()));
            self.clients.insert(client.clone(), entry);
            let size = self.clients.len() as u32;
            self.size.see(size, client, clock);
        }
        let entry = self.clients.get_mut(client)?;
        if entry.start + self.unit < now {
            (entry.start, entry.rates) = (now, [0; RATES]);
        }
        Some(entry)
    }

    fn expire(&mut self, now: Instant) {
        while self.forget.first().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, client)) = self.forget.pop_first() {
                self.clients.remove(&client);
            }
        }
    }

    /// The lines that Postfix logs every `anvil_status_update_time`, and begins anew. Nothing for what did not happen.
    pub fn report(&mut self) -> Vec<String> {
        let unit = self.unit.as_secs();
        let mut lines = Vec::new();
        let at = |most: &Most| time(most.when);
        let rate = |most: Most, name: &str| {
            (most.value > 0).then(|| {
                format!("statistics: max {name} rate {}/{unit}s for ({}) at {}", most.value, most.client, at(&most))
            })
        };
        let mut rates = std::mem::take(&mut self.rates).into_iter().zip(NAMES);
        lines.extend(rates.next().and_then(|(most, name)| rate(most, name)));
        let most = std::mem::take(&mut self.connections);
        if most.value > 0 {
            let (count, client) = (most.value, &most.client);
            lines.push(format!("statistics: max connection count {count} for ({client}) at {}", at(&most)));
        }
        lines.extend(rates.filter_map(|(most, name)| rate(most, name)));
        let most = std::mem::take(&mut self.size);
        if most.value > 0 {
            lines.push(format!("statistics: max cache size {} at {}", most.value, at(&most)));
        }
        lines
    }
}

/// `Nov 21 00:04:05`, the middle of what ctime(3) makes.
fn time(when: Option<SystemTime>) -> String {
    let since = when.and_then(|when| when.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
    local_time(since.as_secs() as i64).log_stamp()
}

/// Open sessions of users by address, for `mail_max_userip_connections`.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<(Client, String), u32>);

impl Sessions {
    /// How many sessions a user has from there.
    pub fn count(&self, client: &Client, user: &str) -> u32 {
        self.0.get(&(client.clone(), user.to_string())).copied().unwrap_or(0)
    }

    /// A session has begun. That of a user for whom there is no room is not counted, which lets the next one in.
    pub fn begin(&mut self, client: &Client, user: &str) {
        let full = self.0.len() >= MAX_CLIENTS;
        let key = (client.clone(), user.to_string());
        if full && !self.0.contains_key(&key) {
            return;
        }
        let count = self.0.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// A session has ended.
    pub fn end(&mut self, client: &Client, user: &str) {
        let key = (client.clone(), user.to_string());
        let Some(count) = self.0.get_mut(&key) else { return };
        *count -= 1;
        if *count == 0 {
            self.0.remove(&key);
        }
    }

    /// Whether nobody has a session.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: Duration = Duration::from_secs(60);

    fn client(last: u32) -> Client {
        Client { service: "smtp".into(), address: IpAddr::from(last.to_be_bytes()) }
    }

    #[test]
    fn connections_and_rates() {
        let (mut counts, start, clock) = (Counts::new(UNIT), Instant::now(), SystemTime::UNIX_EPOCH);
        let after = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(counts.connect(&client(1), start, clock), (1, 1));
        assert_eq!(counts.connect(&client(1), after(1), clock), (2, 2));
        assert_eq!(counts.connect(&client(2), after(1), clock), (1, 1));
        let submission = Client { service: "submission".into(), ..client(1) };
        assert_eq!(counts.connect(&submission, after(1), clock), (1, 1));
        counts.disconnect(&client(1), after(2));
        assert_eq!(counts.connect(&client(1), after(60), clock), (2, 3));
        assert_eq!(counts.connect(&client(1), after(61), clock), (3, 1), "a new time unit");
        assert_eq!(counts.rate(&client(1), Event::Message, after(61)), 0);
        assert_eq!(counts.count(&client(1), Event::Message, after(62), clock), 1);
        assert_eq!(counts.count(&client(1), Event::Message, after(63), clock), 2);
        assert_eq!(counts.count(&client(1), Event::Recipient, after(63), clock), 1);
        assert_eq!(counts.rate(&client(1), Event::Message, after(121)), 2);
        assert_eq!(counts.rate(&client(1), Event::Message, after(122)), 0);
    }

    #[test]
    fn clients_are_forgotten_a_time_unit_after_they_left() {
        let (mut counts, start, clock) = (Counts::new(UNIT), Instant::now(), SystemTime::UNIX_EPOCH);
        counts.connect(&client(1), start, clock);
        counts.disconnect(&client(1), start + UNIT);
        counts.disconnect(&client(1), start + UNIT);
        counts.connect(&client(2), start + UNIT + UNIT / 2, clock);
        assert_eq!(counts.clients.len(), 2);
        counts.connect(&client(2), start + 2 * UNIT, clock);
        assert!(!counts.clients.contains_key(&client(1)) && counts.clients.contains_key(&client(2)));
        assert!(counts.forget.is_empty());
    }

    #[test]
    fn the_table_is_bounded() {
        let (mut counts, start, clock) = (Counts::new(UNIT), Instant::now(), SystemTime::UNIX_EPOCH);
        for n in 0..MAX_CLIENTS as u32 {
            counts.connect(&client(n), start, clock);
        }
        let new = client(MAX_CLIENTS as u32);
        assert_eq!((counts.connect(&new, start, clock), counts.connect(&new, start, clock)), ((1, 1), (1, 1)));
        counts.disconnect(&client(7), start);
        assert_eq!((counts.connect(&new, start, clock), counts.connect(&new, start, clock)), ((1, 1), (2, 2)));
        assert_eq!((counts.clients.len(), counts.clients.contains_key(&client(7))), (MAX_CLIENTS, false));
        let mut sessions = Sessions::default();
        for n in 0..MAX_CLIENTS as u32 {
            sessions.begin(&client(n), "u");
        }
        sessions.begin(&new, "u");
        sessions.begin(&client(0), "u");
        assert_eq!((sessions.count(&new, "u"), sessions.count(&client(0), "u")), (0, 2));
    }

    #[test]
    fn statistics_are_those_of_postfix() {
        let (mut counts, now) = (Counts::new(UNIT), Instant::now());
        let clock = SystemTime::now();
        let when = time(Some(clock));
        counts.connect(&client(0x7f00_0001), now, clock);
        counts.connect(&client(0x7f00_0001), now, clock);
        counts.connect(&client(2), now, clock + Duration::from_secs(1));
        counts.count(&client(0x7f00_0001), Event::NewTls, now, clock);
        let later = time(Some(clock + Duration::from_secs(1)));
        assert_eq!(
            counts.report(),
            [
                format!("statistics: max connection rate 2/60s for (smtp:127.0.0.1) at {when}"),
                format!("statistics: max connection count 2 for (smtp:127.0.0.1) at {when}"),
                format!("statistics: max newtls rate 1/60s for (smtp:127.0.0.1) at {when}"),
                format!("statistics: max cache size 2 at {later}"),
            ]
        );
        assert_eq!(counts.report(), [""; 0]);
    }

    #[test]
    fn sessions_of_a_user() {
        let mut sessions = Sessions::default();
        for (n, user) in [(1, "a"), (1, "a"), (2, "a"), (1, "b")] {
            sessions.begin(&client(n), user);
        }
        let count = |sessions: &Sessions, n, user| sessions.count(&client(n), user);
        assert_eq!([(1, "a"), (2, "a"), (1, "b"), (3, "a")].map(|(n, user)| count(&sessions, n, user)), [2, 1, 1, 0]);
        sessions.end(&client(1), "a");
        assert_eq!(count(&sessions, 1, "a"), 1);
        for (n, user) in [(1, "a"), (1, "a"), (2, "a"), (1, "b")] {
            sessions.end(&client(n), user);
        }
        assert!(sessions.is_empty());
    }
}
