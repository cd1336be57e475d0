//! Processes that act for an account: started when `auth` asks for them, from what the table says of their program.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use ipc_messages::control::{Acting, Folder, FolderAccess, Hub};

use super::{ActingKey, Service, Supervisor};
use crate::policy::{Pid, ServiceId};
use crate::table::Spec;

impl Supervisor {
    /// New settings for the programs that act for accounts. A service that runs keeps its inbox, which `auth` and the login
    /// processes hold; its processes finish their sessions under the old settings.
    pub(super) fn apply_acting(&mut self, specs: BTreeMap<Acting, Spec>) {
        let changed: Vec<Acting> = self
            .acting_specs
            .iter()
            .filter(|(acting, spec)| specs.get(acting) != Some(spec))
            .map(|(&acting, _)| acting)
            .collect();
        self.acting_specs = specs;
        let stale = |service: &Service| service.acting.clone().filter(|key| changed.contains(&key.0));
        let stale: Vec<(ServiceId, ActingKey)> =
            self.services.iter().filter_map(|(&id, service)| Some((id, stale(service)?))).collect();
        for (id, key) in stale {
            match self.acting_spec(&key) {
                Some(spec) => self.change(id, spec, Vec::new()),
                None => self.stop_service(id),
            }
        }
    }

    /// What a process that acts for an account is started from.
    fn acting_spec(&self, key: &ActingKey) -> Option<Spec> {
        let (acting, uid, gid, groups, roots) = key;
        let mut spec = self.acting_specs.get(acting)?.clone();
        spec.key = format!("{}:{uid}:{gid}:{groups:?}:{roots:?}", spec.key);
        spec.account = crate::table::Account { uid: *uid, gid: *gid, groups: groups.clone() };
        let folder = |path: &PathBuf| Folder { path: path.clone(), access: FolderAccess::Write };
        spec.folders.extend(roots.iter().map(folder));
        Some(spec)
    }

    /// The inbox of the process that acts for an account, which is made if need be. Only `auth` may ask.
    pub(super) fn acting(&mut self, pid: Pid, key: ActingKey) -> Result<OwnedFd, String> {
        if self.program_of(pid).and_then(|program| program.hub) != Some(Hub::Auth) {
            return Err("only auth may ask for this".into());
        }
        let (_, uid, gid, groups, _) = &key;
        if let Some(reason) = self.accounts.refuse(*uid, *gid, groups) {
            return Err(reason);
        }
        let running = |service: &&Service| service.acting.as_ref() == Some(&key) && !service.spec.key.is_empty();
        if !self.services.values().any(|service| running(&service)) {
            let spec = self.acting_spec(&key).ok_or("the service is not configured")?;
            self.add(spec, Vec::new(), Some(key.clone()));
        }
        let service = self
            .services
            .values()
            .find(|service| service.acting.as_ref() == Some(&key) && !service.spec.key.is_empty());
        let inbox = service.and_then(|service| service.inbox.as_ref()).ok_or("its inbox could not be made")?;
        inbox.1.try_clone().map_err(|error| error.to_string())
    }
}
