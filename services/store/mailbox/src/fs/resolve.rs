//! Where a symbolic link leads, without the kernel: links are followed only while they stay beneath a held root.

/// At most this many links are followed for one name (the kernel's own limit).
pub(super) const MAX_LINKS: usize = 40;

/// A place beneath a held root: its number, and the components below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub root: usize,
    pub components: Vec<Vec<u8>>,
}

/// The place that a link found in the directory `at` means, or `None` where it leads out of all roots. `roots` are the
/// absolute paths of the held roots, without a slash at the end. `at` is a real path (no component of it is a link), so
/// that `..` in the target can be taken lexically.
pub(super) fn target(roots: &[Vec<u8>], at: &Place, link: &[u8]) -> Option<Place> {
    let mut place = if link.first() == Some(&b'/') { absolute(roots, link)? } else { Place { ..at.clone() } };
    let rest = if link.first() == Some(&b'/') { Vec::new() } else { split(link) };
    for component in rest {
        step(&mut place.components, component)?;
    }
    Some(place)
}

/// Finds the longest root that holds an absolute path.
fn absolute(roots: &[Vec<u8>], link: &[u8]) -> Option<Place> {
    let mut components = Vec::new();
    for component in split(link) {
        step(&mut components, component)?;
    }
    let held = |path: &[u8]| {
        let root = split(path);
        (components.len() >= root.len() && root.iter().zip(&components).all(|(a, b)| *a == b.as_slice()))
            .then_some(root.len())
    };
    let (root, depth) =
        roots.iter().enumerate().filter_map(|(n, path)| Some((n, held(path)?))).max_by_key(|(_, depth)| *depth)?;
    Some(Place { root, components: components.split_off(depth) })
}

fn step(components: &mut Vec<Vec<u8>>, component: &[u8]) -> Option<()> {
    if component == b".." {
        components.pop()?;
    } else {
        components.push(component.to_vec());
    }
    Some(())
}

fn split(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && *c != b".").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(root: usize, path: &str) -> Place {
        Place { root, components: split(path.as_bytes()).iter().map(|c| c.to_vec()).collect() }
    }

    #[test]
    fn links_stay_beneath_the_roots() {
        let roots = [b"/var/vmail".to_vec(), b"/var/vmail/archive".to_vec(), b"/srv/mail".to_vec()];
        let at = place(0, "example.org/bob");
        let table: &[(&str, Option<Place>)] = &[
            ("Maildir2", Some(place(0, "example.org/bob/Maildir2"))),
            ("../alice", Some(place(0, "example.org/alice"))),
            ("../../x/./y//z", Some(place(0, "x/y/z"))),
            ("../..", Some(place(0, ""))),
            ("../../..", None),
            ("../../../vmail/x", None),
            ("/srv/mail/bob", Some(place(2, "bob"))),
            ("/srv/mail/../mail/bob", Some(place(2, "bob"))),
            ("/var/vmail/archive/bob", Some(place(1, "bob"))),
            ("/srv/mailx/bob", None),
            ("/etc/passwd", None),
            ("/", None),
        ];
        for (link, expected) in table {
            assert_eq!(target(&roots, &at, link.as_bytes()), *expected, "{link}");
        }
    }
}
