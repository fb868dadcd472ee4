//! The commonest behaviour: something is stored, then some connections ask the same things over and over.

use super::behaviour::{Behaviour, store};
use super::crowd::Crowd;
use super::peer::{Bytes, Part};
use super::volley::Volley;
use crate::failure::Failure;

/// What it stores, who asks, and what.
pub struct Siege {
    stored: Vec<Bytes>,
    stored_as: Part,
    peers: usize,
    part: Part,
    requests: Vec<Bytes>,
    /// Unanswered requests of each.
    window: u64,
    /// A close code that none of them deserves.
    wrong_code: Option<u16>,
    volley: Volley,
}

impl Siege {
    /// Native connections, each with `window` unanswered requests.
    pub fn new(stored: Vec<Bytes>, peers: usize, requests: Vec<Bytes>, window: u64) -> Self {
        Self {
            stored,
            stored_as: Part::NATIVE,
            peers,
            part: Part::NATIVE,
            requests,
            window,
            wrong_code: None,
            volley: Volley::default(),
        }
    }

    /// Those who ask play this part.
    pub fn asked_as(self, part: Part) -> Self {
        Self { part, ..self }
    }

    /// What is stored is said in SyncKit.
    pub fn stored_in_synckit(self) -> Self {
        Self { stored_as: Part::SYNCKIT, ..self }
    }

    /// It is a fault of the server to close any of them so.
    pub fn never_closed_with(self, code: u16) -> Self {
        Self { wrong_code: Some(code), ..self }
    }
}

impl Behaviour for Siege {
    fn prepare(&mut self, crowd: &mut Crowd) -> Result<(), Failure> {
        let stored = std::mem::take(&mut self.stored);
        if !stored.is_empty() {
            store(crowd, self.stored_as, &stored)?;
        }
        let peers = crowd.open(self.peers, self.part)?;
        self.volley = Volley::new(peers, std::mem::take(&mut self.requests), self.window);
        Ok(())
    }

    fn tick(&mut self, crowd: &mut Crowd, _: u64) -> Result<(), Failure> {
        self.volley.tick(crowd);
        Ok(())
    }

    fn fault(&self, crowd: &Crowd) -> Option<String> {
        let count = crowd.counts.closed.get(&self.wrong_code?)?;
        Some(format!("{count} closed that did nothing wrong"))
    }
}
