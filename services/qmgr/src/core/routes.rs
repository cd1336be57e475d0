//! A message is taken up: the lookup service is asked for the route of each recipient.

use super::*;

impl Core {
    /// Takes a message up: its routes are asked for.
    pub(super) fn activate(&mut self, active: Active) {
        let (id, envelope) = (active.id(), &active.envelope);
        let (size, count) = (envelope.size, active.resolving);
        self.actions
            .push(Action::Info(format!("{id}: from=<{}>, size={size}, nrcpt={count} (queue active)", envelope.sender)));
        let numbers: Vec<u32> =
            (0..).zip(&active.recipients).filter(|(_, r)| **r == Recipient::Resolving).map(|(n, _)| n).collect();
        self.touched.insert(id);
        self.active.insert(id, active);
        for number in numbers {
            self.next_corr = self.next_corr.wrapping_add(1);
            self.questions.insert(self.next_corr, (id, number));
            self.ask(self.next_corr);
        }
    }

    pub(super) fn ask(&mut self, corr: u32) {
        let Some((id, number)) = self.questions.get(&corr).filter(|_| self.lookup) else { return };
        let Some(active) = self.active.get(id) else { return };
        let (sender, address) =
            (active.envelope.sender.clone(), active.envelope.recipients[*number as usize].address.clone());
        self.actions.push(Action::Ask(ToLookup::Resolve { corr, sender, address }));
    }

    /// The lookup service is there (again): it is asked everything that is open.
    pub fn lookup_up(&mut self) {
        self.lookup = true;
        let open: Vec<u32> = self.questions.keys().copied().collect();
        open.into_iter().for_each(|corr| self.ask(corr));
    }

    /// It is gone.
    pub fn lookup_down(&mut self) {
        self.lookup = false;
    }

    /// An answer. One to a question that nobody has any more is dropped.
    pub fn answer(&mut self, answer: FromLookup) {
        let FromLookup::Resolved { corr, route } = answer else { return };
        let Some((id, number)) = self.questions.remove(&corr) else { return };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.resolving -= 1;
        match route {
            Ok(route) => self.route(id, number, route),
            Err(error) => self.defer(id, number, "4.3.0", &error),
        }
        self.touched.insert(id);
    }

    /// A recipient has its route; deliveries are made of a message's recipients when all of them have.
    fn route(&mut self, id: QueueId, number: u32, route: Route) {
        let Route { recipient, transport, nexthop, malformed, .. } = route;
        if malformed {
            return self.fail(id, number, Verdict::Bounced, "5.1.3", "bad address syntax");
        }
        if let Some(reason) = self.unavailable(&transport) {
            return self.defer(id, number, "4.3.0", &reason);
        }
        if self.settings.defer_transports.contains(&transport) {
            return self.defer(id, number, "4.3.2", "deferred transport");
        }
        // Where a delivery has one recipient, each is a destination of its own.
        let limit = self.settings.transports.get(&transport).map_or(0, |known| known.policy.recipient_limit);
        let destination = if limit == 1 { recipient.clone() } else { nexthop.clone() };
        let Some(active) = self.active.get_mut(&id) else { return };
        active.routes[number as usize] = Some((recipient, nexthop.as_str().into()));
        active.recipients[number as usize] = Recipient::Queued;
        active.queued += 1;
        active.groups.entry((transport.into(), destination.into())).or_default().push(number);
    }

    /// Why nothing can be delivered by this transport, if that is so.
    fn unavailable(&mut self, transport: &str) -> Option<String> {
        match self.settings.transports.get(transport) {
            Some(known) if known.is_built() => None,
            Some(known) => {
                Some(format!("mail transport unavailable: {transport} ({}) is not built yet", known.command))
            }
            None => {
                let complaint = format!("connect to transport private/{transport}: No such file or directory");
                self.actions.push(Action::Warning(complaint));
                Some(format!("mail transport unavailable: {transport} is not in master.cf"))
            }
        }
    }

    /// Defers a recipient that no agent has tried.
    pub(super) fn defer(&mut self, id: QueueId, number: u32, dsn: &str, reason: &str) {
        self.fail(id, number, Verdict::Deferred, dsn, reason);
    }

    /// What becomes of a recipient that no agent has tried.
    pub(super) fn fail(&mut self, id: QueueId, number: u32, verdict: Verdict, dsn: &str, reason: &str) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let mut outcome = Outcome {
            index: number,
            verdict,
            dsn: dsn.into(),
            relay: "none".into(),
            text: reason.into(),
            remote_reply: None,
            remote_mta: None,
        };
        let status = match verdict {
            Verdict::Bounced if self.settings.soft_bounce => "SOFTBOUNCE",
            Verdict::Bounced => "bounced",
            Verdict::Deferred | Verdict::Sent => "deferred",
        };
        if self.settings.soft_bounce {
            outcome = finish::softened(outcome);
        }
        let times = (active.envelope.arrival, active.since);
        let line = crate::report::untried(id.as_str(), &active.target(number), &outcome, status, times, self.now);
        active.recipients[number as usize] = match status {
            "bounced" => Recipient::Bounced(outcome),
            _ => Recipient::Deferred(outcome),
        };
        self.actions.push(Action::Error(line));
        self.touched.insert(id);
    }
}
