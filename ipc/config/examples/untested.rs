//! Lists the parameters of both tables that are called supported and name no test.

fn main() {
    let lists =
        [("main.cf", ipc_config::postfix::table::untested()), ("dovecot.conf", ipc_config::dovecot::table::untested())];
    for (file, names) in lists {
        println!("{file}: {} supported parameters name no test: {}", names.len(), names.join(" "));
    }
}
