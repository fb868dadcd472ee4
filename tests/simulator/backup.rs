//! Backups: the service's own copy of what was folded, and a server that starts on one long after.

use crate::client::SyncKit;
use crate::disk::{Crash, SimDisk};
use crate::oracle::Snapshot;
use crate::scenario::Kind;
use crate::world::World;

/// Microseconds without a byte moving after which nothing is on its way.
const REST_US: u64 = 300_000;

/// A copy, and what was promised when it was taken.
pub struct Backup {
    disk: SimDisk,
    promised: Snapshot,
}

impl World {
    /// Takes a backup while nothing moves.
    pub fn take_backup(&mut self) {
        let Some(service) = &mut self.service else { return };
        service.fold_everything();
        self.settle(REST_US, true);
        let Some(service) = &self.service else { return };
        let disk = SimDisk::new(self.random.next());
        service.copy_onto(&disk, self.unix_ms());
        self.backup = Some(Backup { disk, promised: self.oracle.snapshot() });
    }

    /// The data directory is lost, in the middle of whatever goes on, and a server starts on the last backup: what was changed
    /// since has never been, and whoever was told of it starts over.
    pub fn restore(&mut self) {
        let Some(Backup { disk, promised }) = self.backup.take() else { return };
        self.lose_connections();
        self.oracle.restored(promised);
        disk.count_on(&self.disk);
        self.disk = disk;
        self.restored += 1;
        let maps = &self.scenario.maps;
        for client in &mut self.clients {
            // They may have had another type then.
            client.kept.retain(|&map, _| maps[map].kind != Kind::Contested);
            client.kept.values_mut().for_each(|kept| kept.must_reset = true);
            client.synckit.iter_mut().for_each(SyncKit::server_crashed);
            client.lists.server_crashed();
        }
        self.replace_process(Crash::Kill);
    }
}
