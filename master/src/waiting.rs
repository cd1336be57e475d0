//! Orders whose answer waits until they are carried out: a stop until the processes have ended, a reload until those that it
//! started are in their jails and work. It knows no process and no clock: it is told what is left, and says what to do.

use std::time::{Duration, Instant};

use ipc_messages::admin::HalfName;

/// How long processes may take to finish their work when they are stopped; then they are ended.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a reload is waited for. A service that fails to start is throttled and mended without anybody waiting.
const READY: Duration = Duration::from_secs(10);
/// How often whoever waits is told what for.
const PROGRESS: Duration = Duration::from_secs(1);

/// What was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The end of a half, or of everything.
    Stop(Option<HalfName>),
    /// A new configuration, and what came of it.
    Reload(Result<(), String>),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Tell the client what is waited for.
    Tell(usize, String),
    /// Answer the client: no more comes.
    Answer(usize, Result<(), String>),
    /// The processes of this half that are still there have had their time.
    Kill(HalfName),
}

/// All orders that wait.
#[derive(Debug, Default)]
pub struct Waiting(Vec<Wait>);

#[derive(Debug)]
struct Wait {
    /// Nobody waits for what a signal ordered.
    client: Option<usize>,
    order: Order,
    since: Instant,
    told: Instant,
    killed: bool,
}

impl Waiting {
    /// An order was given.
    pub fn add(&mut self, client: Option<usize>, order: Order, now: Instant) {
        self.0.push(Wait { client, order, since: now, told: now, killed: false });
    }

    /// Looks at every order; `left` says which processes it still waits for.
    pub fn step(&mut self, now: Instant, left: impl Fn(&Order) -> Vec<String>) -> Vec<Step> {
        let mut steps = Vec::new();
        self.0.retain_mut(|wait| {
            let left = left(&wait.order);
            if left.is_empty() {
                steps.extend(wait.client.map(|client| Step::Answer(client, wait.result())));
                return false;
            }
            let waited = now - wait.since;
            match wait.order {
                Order::Reload(_) if waited >= READY => {
                    let text = format!("not ready yet: {}; the log says why", left.join(" "));
                    steps.extend(wait.client.map(|client| Step::Tell(client, text)));
                    steps.extend(wait.client.map(|client| Step::Answer(client, wait.result())));
                    return false;
                }
                Order::Stop(Some(half)) if waited >= PATIENCE && !wait.killed => {
                    wait.killed = true;
                    steps.push(Step::Kill(half));
                }
                _ => {}
            }
            if now - wait.told >= PROGRESS {
                wait.told = now;
                let text = format!("waiting for {}", left.join(" "));
                steps.extend(wait.client.map(|client| Step::Tell(client, text)));
            }
            true
        });
        steps
    }

    /// Everything has ended: all answers.
    pub fn end(&mut self) -> Vec<Step> {
        let answer = |wait: Wait| Some(Step::Answer(wait.client?, wait.result()));
        self.0.drain(..).filter_map(answer).collect()
    }

    /// How long nothing has to be done but for what processes say of themselves.
    pub fn next(&self) -> Option<Duration> {
        (!self.0.is_empty()).then_some(PROGRESS)
    }
}

impl Wait {
    fn result(&self) -> Result<(), String> {
        match &self.order {
            Order::Stop(_) => Ok(()),
            Order::Reload(result) => result.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: HalfName = HalfName::Mailbox;

    fn left(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_stop_is_answered_when_the_last_process_has_ended() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        assert_eq!(waiting.next(), None);
        waiting.add(Some(1), Order::Stop(Some(HALF)), start);
        assert_eq!(waiting.step(start, |_| left(&["imap[7]"])), []);
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(waiting.step(at(1), |_| left(&["imap[7]"])), [Step::Tell(1, "waiting for imap[7]".into())]);
        assert_eq!(waiting.step(at(1), |_| left(&["imap[7]"])), []);
        let killed = [Step::Kill(HALF), Step::Tell(1, "waiting for imap[7]".into())];
        assert_eq!(waiting.step(at(5), |_| left(&["imap[7]"])), killed, "after its time it is ended, once");
        assert!(!waiting.step(at(6), |_| left(&["imap[7]"])).contains(&Step::Kill(HALF)));
        assert_eq!(waiting.step(at(6), |_| vec![]), [Step::Answer(1, Ok(()))]);
        assert_eq!((waiting.step(at(6), |_| vec![]), waiting.next()), (vec![], None));
    }

    #[test]
    fn what_a_signal_stopped_has_its_time_too() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(None, Order::Stop(Some(HALF)), start);
        assert_eq!(waiting.step(start + PATIENCE, |_| left(&["imap[7]"])), [Step::Kill(HALF)]);
    }

    #[test]
    fn a_reload_is_answered_when_what_it_started_works_or_takes_too_long() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let refused = Err("main.cf:1: bad".to_owned());
        waiting.add(Some(1), Order::Reload(Ok(())), start);
        waiting.add(Some(2), Order::Reload(refused.clone()), start);
        assert_eq!(waiting.step(start, |_| left(&["smtpd[7]"])), []);
        assert_eq!(waiting.step(start, |_| vec![]), [Step::Answer(1, Ok(())), Step::Answer(2, refused)]);
        waiting.add(Some(3), Order::Reload(Ok(())), start);
        let steps = waiting.step(start + READY, |_| left(&["smtpd[7]"]));
        assert_eq!(steps, [Step::Tell(3, "not ready yet: smtpd[7]; the log says why".into()), Step::Answer(3, Ok(()))]);
    }

    #[test]
    fn the_end_answers_everybody() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.add(Some(1), Order::Stop(None), start);
        waiting.add(None, Order::Stop(Some(HALF)), start);
        assert_eq!(waiting.end(), [Step::Answer(1, Ok(()))]);
    }
}
