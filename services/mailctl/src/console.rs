//! Standard output and standard error.
//!
//! A reader that has gone (`mailq | head`) ends the process quietly; any other failure to write ends it with `EX_IOERR`.

use std::io::{self, IsTerminal, Write};

use crate::status::Status;

/// Writes to standard output.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Writes a line to standard output.
pub fn line(text: &str) {
    print(&format!("{text}\n"));
}

/// Writes to standard output what need not be text.
pub fn print_bytes(bytes: &[u8]) {
    let mut output = io::stdout().lock();
    if let Err(error) = output.write_all(bytes).and_then(|()| output.flush()) {
        if error.kind() == io::ErrorKind::BrokenPipe {
            std::process::exit(i32::from(Status::OK.0));
        }
        complain(&format!("output write error: {}", reason(&error)));
        std::process::exit(i32::from(Status::IO_ERROR.0));
    }
}

/// Writes a line to standard error. Where that is closed there is nobody to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what is waited for, to people: on a terminal alone.
pub fn progress(text: &str) {
    if io::stderr().is_terminal() {
        complain(text);
    }
}

/// The text of a system error, without the number that Rust adds: `No such file or directory`.
pub fn reason(error: &io::Error) -> String {
    ipc_config::dovecot::files::error_text(error)
}

/// How something is shown on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Headings.
    Bold,
    /// All is well.
    Green,
    /// To be looked at.
    Yellow,
    /// Wrong.
    Red,
}

/// Text with the terminal's colours, where `terminal` says that there is one.
pub fn paint(text: &str, colour: Colour, terminal: bool) -> String {
    let code = match colour {
        Colour::Bold => "1",
        Colour::Green => "32",
        Colour::Yellow => "33",
        Colour::Red => "31",
    };
    if terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// Whether standard output is a terminal that wants colours (<https://no-color.org>).
pub fn has_colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A table in columns with a heading, for a terminal; for anything else, lines of fields between tabs without heading.
pub fn table(heading: &[&str], rows: &[Vec<String>], terminal: bool) -> String {
    if !terminal {
        return rows.iter().map(|row| row.join("\t") + "\n").collect();
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([heading[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let layout = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = paint(&layout(&mut heading.iter().copied()), Colour::Bold, terminal) + "\n";
    for row in rows {
        text += &layout(&mut row.iter().map(String::as_str));
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_for_eyes_or_for_programs() {
        let rows = vec![vec!["smtp".to_owned(), "3".to_owned()], vec!["imap-login".to_owned(), "0".to_owned()]];
        assert_eq!(table(&["name", "processes"], &rows, false), "smtp\t3\nimap-login\t0\n");
        assert_eq!(
            table(&["name", "processes"], &rows, true),
            "\x1b[1mname        processes\x1b[0m\nsmtp        3\nimap-login  0\n"
        );
    }

    #[test]
    fn system_errors_lose_their_number() {
        assert_eq!(reason(&io::Error::from_raw_os_error(2)), "No such file or directory");
    }
}
