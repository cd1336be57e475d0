//! How much may be in flight: windows that count messages, so that no process runs out of memory or descriptors because
//! another one is slow.

/// Messages that one agent has at most. The kernel counts descriptors in flight against `RLIMIT_NOFILE`, too.
pub const AGENT_WINDOW: usize = 200;

/// A bound on what is under way, with what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    limit: usize,
    used: usize,
}

impl Window {
    /// `limit` of 0 lets nothing through.
    pub fn new(limit: usize) -> Window {
        Window { limit, used: 0 }
    }

    /// How many more there may be: the credit to give to the one who sends.
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// Takes `count` places, or none of them.
    #[must_use]
    pub fn take(&mut self, count: usize) -> bool {
        let fits = count <= self.room();
        if fits {
            self.used += count;
        }
        fits
    }

    /// Gives places back.
    pub fn give_back(&mut self, count: usize) {
        self.used = self.used.checked_sub(count).expect("no more than was taken");
    }

    /// Changes the bound; what is under way above it stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }
}

/// What `qmgr` has in memory: `qmgr_message_active_limit` messages and `qmgr_message_recipient_limit` recipients, both 20,000
/// by default. When it is full, new mail goes first, and deferred mail waits for its next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActiveWindow {
    messages: Window,
    recipients: Window,
}

impl ActiveWindow {
    pub fn new(messages: usize, recipients: usize) -> ActiveWindow {
        ActiveWindow { messages: Window::new(messages), recipients: Window::new(recipients) }
    }

    /// Lets a message in, if there is room for it. A message with more recipients than fit at all is let in alone.
    #[must_use]
    pub fn admit(&mut self, recipients: usize) -> bool {
        if self.recipients.used > 0 && self.recipients.room() < recipients || !self.messages.take(1) {
            return false;
        }
        self.recipients.used += recipients;
        true
    }

    /// Changes the bounds; what is active above them stays.
    pub fn set_limits(&mut self, messages: usize, recipients: usize) {
        self.messages.set_limit(messages);
        self.recipients.set_limit(recipients);
    }

    pub fn leave(&mut self, recipients: usize) {
        self.messages.give_back(1);
        self.recipients.give_back(recipients);
    }

    /// Messages that may still come in.
    pub fn room(&self) -> usize {
        if self.recipients.room() == 0 { 0 } else { self.messages.room() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_gives_no_more_than_it_has() {
        let mut window = Window::new(3);
        assert!(window.take(2) && !window.take(2) && window.take(1));
        assert_eq!(window.room(), 0);
        window.set_limit(2);
        window.give_back(1);
        assert_eq!(window.room(), 0);
        window.give_back(2);
        assert_eq!(window.room(), 2);
    }

    #[test]
    fn messages_and_recipients_are_both_counted() {
        let mut active = ActiveWindow::new(2, 100);
        assert!(active.admit(60));
        assert!(!active.admit(50), "too many recipients");
        assert!(active.admit(40));
        assert_eq!((active.room(), active.admit(0)), (0, false), "too many messages");
        active.leave(60);
        active.leave(40);
        assert!(active.admit(1000), "alone it may be larger than the window");
        assert_eq!((active.room(), active.admit(1)), (0, false));
    }
}
