//! What is wrong with the SMTP server's parameters beyond the form of each value.

use super::settings::Settings;

/// Words of `local_header_rewrite_clients` that are built.
const REWRITE: &[&str] = &["permit_inet_interfaces", "permit_mynetworks", "permit_sasl_authenticated"];

/// Reports what the SMTP server could not do as it is told.
pub fn check(settings: &mut Settings<'_>) {
    if settings.boolean("smtpd_sasl_auth_enable") && settings.choice("smtpd_sasl_type") != "dovecot" {
        let problem = "there is no Cyrus library; logins are checked by a Dovecot authentication server alone";
        settings.error("smtpd_sasl_type", problem, "set smtpd_sasl_type = dovecot and smtpd_sasl_path");
    }
    for word in settings.list("local_header_rewrite_clients") {
        if !REWRITE.contains(&word.as_str()) {
            let problem = format!("{word} is not built yet");
            settings.error("local_header_rewrite_clients", problem, "list permit_mynetworks or the like");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Diagnostics;
    use crate::postfix::main_cf::MainCf;
    use crate::postfix::system::fake::FakeHost;

    fn problems(text: &str) -> String {
        let mut found = Diagnostics::new();
        let main = MainCf::parse(text, "main.cf", Arc::new(FakeHost::default()), &mut found);
        check(&mut main.settings(&mut found));
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn logins_are_checked_by_dovecot_alone() {
        assert!(problems("smtpd_sasl_auth_enable = yes\n").contains("smtpd_sasl_type"));
        assert_eq!(problems("smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = dovecot\n"), "");
        assert_eq!(problems(""), "");
    }

    #[test]
    fn header_rewriting_by_table_is_refused() {
        assert!(problems("local_header_rewrite_clients = check_address_map hash:/x\n").contains("not built"));
        assert_eq!(problems("local_header_rewrite_clients = permit_mynetworks permit_inet_interfaces\n"), "");
    }
}
