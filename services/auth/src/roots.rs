//! Which folders a user's mail lies beneath: what the process that acts for him may reach.

use std::path::{Path, PathBuf};

/// The configured folders that hold `home` or a path of one of `locations` (`driver:path:KEY=path`, variables expanded, `~`
/// for the home). A path that lies in none of them stands for itself. Sorted; none lies in another, so that two users of
/// the same folders get the same list.
pub fn roots(configured: &[PathBuf], home: Option<&str>, locations: &[String]) -> Vec<PathBuf> {
    let home = home.map(Path::new).filter(|home| home.is_absolute());
    let mut paths: Vec<PathBuf> = home.map(Path::to_path_buf).into_iter().collect();
    for part in locations.iter().flat_map(|location| location.split(':')) {
        let part = part.split_once('=').map_or(part, |(_, value)| value);
        match (part.strip_prefix('~'), home) {
            (Some(rest), Some(home)) => paths.push(home.join(rest.trim_start_matches('/'))),
            (None, _) if part.starts_with('/') => paths.push(part.into()),
            _ => {}
        }
    }
    let mut roots: Vec<PathBuf> = Vec::new();
    for path in &paths {
        let covering =
            configured.iter().filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        let root = match (covering, home) {
            (Some(root), _) => root,
            // A location in a home that the configuration does not know: the home is in the list already.
            (None, Some(home)) if path.starts_with(home) => home,
            (None, _) => path,
        };
        roots.push(root.to_path_buf());
    }
    roots.sort();
    // In this order a folder stands before all that lies in it.
    let mut outer: Vec<PathBuf> = Vec::new();
    for root in roots {
        if outer.last().is_none_or(|last| !root.starts_with(last)) {
            outer.push(root);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_roots() {
        let configured: Vec<PathBuf> = ["/home/vmail", "/var/vmail", "/var/vmail/index"].map(PathBuf::from).into();
        for (home, locations, expected) in [
            (Some("/home/vmail/d/u"), vec!["maildir:~/Maildir"], vec!["/home/vmail"]),
            (Some("/srv/u"), vec!["sdbox:~/dbox:INDEX=~/i"], vec!["/srv/u"]),
            (Some("/srv/u"), vec!["maildir:/var/vmail/u"], vec!["/srv/u", "/var/vmail"]),
            (None, vec!["maildir:/var/vmail/u:INDEX=/var/vmail/index/u"], vec!["/var/vmail"]),
            (None, vec!["maildir:/data/u"], vec!["/data/u"]),
            (None, vec!["maildir:~/Maildir"], vec![]),
            (Some("relative"), vec![""], vec![]),
            (Some("/home/vmail/u"), vec!["maildir:~", "maildir:/public/mail"], vec!["/home/vmail", "/public/mail"]),
            (Some("/home/vmailbox/u"), vec![], vec!["/home/vmailbox/u"]),
        ] {
            let locations: Vec<String> = locations.into_iter().map(str::to_owned).collect();
            let expected: Vec<PathBuf> = expected.into_iter().map(PathBuf::from).collect();
            assert_eq!(roots(&configured, home, &locations), expected, "{home:?} {locations:?}");
        }
    }
}
