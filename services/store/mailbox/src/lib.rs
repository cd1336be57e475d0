//! Maildir++, sdbox, and the index.
