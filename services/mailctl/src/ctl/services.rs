//! `status` and `services`: what runs.

use ipc_messages::admin::{Request, ServiceRow};
use serde_json::{Value, json};

use super::run::{not_running, unreachable};
use super::{Context, usage};
use crate::console::{self, Colour, paint};
use crate::control;
use crate::instance::Instance;
use crate::status::Status;

/// Says which halves run, and what is wrong with them. 0 when anything runs, else `EX_UNAVAILABLE`.
pub fn status(context: &Context, words: &[String]) -> Status {
    if !words.is_empty() {
        return usage("status takes no argument");
    }
    let rows = match rows(&context.instance) {
        Ok(rows) => rows,
        Err(status) => return status,
    };
    let Some(rows) = rows else {
        match context.json {
            true => console::line(&json!({ "running": false }).to_string()),
            false => console::line("the mail system is not running"),
        }
        return Status::UNAVAILABLE;
    };
    let pid = context.instance.pid();
    if context.json {
        let value = json!({ "running": true, "pid": pid, "halves": halves(&rows).map(|(name, n)| json!({
            "name": name, "services": n.services, "processes": n.processes, "throttled": n.throttled,
        })).collect::<Vec<Value>>() });
        console::line(&value.to_string());
        return Status::OK;
    }
    console::print(&report(pid, &rows, console::has_colours()));
    Status::OK
}

/// Shows the table of services.
pub fn services(context: &Context, words: &[String]) -> Status {
    if !words.is_empty() {
        return usage("services takes no argument");
    }
    match rows(&context.instance) {
        Ok(Some(rows)) if context.json => {
            rows.iter().for_each(|row| console::line(&as_json(row).to_string()));
            Status::OK
        }
        Ok(Some(rows)) => {
            console::print(&table(&rows, console::has_colours()));
            Status::OK
        }
        Ok(None) => not_running(),
        Err(status) => status,
    }
}

/// The rows; `None` when nothing runs.
fn rows(instance: &Instance) -> Result<Option<Vec<ServiceRow>>, Status> {
    match instance.ask(&Request::Services) {
        Ok(reply) => Ok(Some(reply.services)),
        Err(error) if control::is_down(&error) => Ok(None),
        Err(error) => Err(unreachable(&error)),
    }
}

/// What a half amounts to.
#[derive(Default)]
struct Sum {
    services: usize,
    processes: usize,
    throttled: Vec<String>,
}

fn halves(rows: &[ServiceRow]) -> impl Iterator<Item = (&'static str, Sum)> {
    ["transport", "mailbox", "common"].into_iter().filter_map(|half| {
        let mut sum = Sum::default();
        for row in rows.iter().filter(|row| row.half == half) {
            sum.services += 1;
            sum.processes += row.pids.len();
            sum.throttled.extend(row.throttled.then(|| row.name.clone()));
        }
        (sum.services > 0).then_some((half, sum))
    })
}

fn report(pid: Option<i32>, rows: &[ServiceRow], colours: bool) -> String {
    let pid = pid.map(|pid| format!(": PID: {pid}")).unwrap_or_default();
    let mut text = paint(&format!("the mail system is running{pid}"), Colour::Green, colours) + "\n";
    for (half, sum) in halves(rows) {
        text += &format!("{half}: {} services, {} processes\n", sum.services, sum.processes);
        for name in sum.throttled {
            let line = format!("{half}: {name} pauses after failures; the log says why");
            text += &(paint(&line, Colour::Yellow, colours) + "\n");
        }
    }
    text
}

fn table(rows: &[ServiceRow], colours: bool) -> String {
    let heading = ["half", "service", "program", "listens", "processes", "clients", "uid", "root", "state"];
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                row.half.clone(),
                row.name.clone(),
                row.program.clone(),
                row.listeners.join(" "),
                format!("{}/{}", row.pids.len(), limit(row.limit)),
                limit(row.client_limit),
                row.uid.to_string(),
                row.root.clone(),
                if row.throttled { "throttled" } else { "ok" }.to_owned(),
            ]
        })
        .collect();
    console::table(&heading, &cells, colours)
}

/// 0 is no limit.
fn limit(number: u32) -> String {
    if number == 0 { "-".to_owned() } else { number.to_string() }
}

fn as_json(row: &ServiceRow) -> Value {
    json!({
        "half": row.half, "service": row.name, "program": row.program, "listens": row.listeners, "pids": row.pids,
        "process_limit": row.limit, "client_limit": row.client_limit, "uid": row.uid, "root": row.root,
        "throttled": row.throttled,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(half: &str, name: &str, pids: &[i32], throttled: bool) -> ServiceRow {
        ServiceRow {
            half: half.into(),
            name: name.into(),
            program: name.into(),
            listeners: vec!["0.0.0.0:25".into()],
            pids: pids.into(),
            limit: 0,
            client_limit: 100,
            uid: 900,
            root: "/spool/jail".into(),
            throttled,
        }
    }

    #[test]
    fn the_report_counts_and_warns() {
        let rows = [
            row("transport", "smtp", &[1, 2], false),
            row("transport", "qmgr", &[], true),
            row("common", "log", &[3], false),
        ];
        assert_eq!(
            report(Some(7), &rows, false),
            "the mail system is running: PID: 7\ntransport: 2 services, 2 processes\n\
             transport: qmgr pauses after failures; the log says why\ncommon: 1 services, 1 processes\n"
        );
    }

    #[test]
    fn the_table_has_a_line_for_each_service() {
        assert_eq!(
            table(&[row("transport", "smtp", &[1, 2], false)], false),
            "transport\tsmtp\tsmtp\t0.0.0.0:25\t2/-\t100\t900\t/spool/jail\tok\n"
        );
    }
}
