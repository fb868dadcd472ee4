//! Dead letters sent again: events that could not be delivered when they happened.

use std::io::ErrorKind;
use std::path::Path;

use tokio::runtime::Builder;

use super::{TaskError, say, say_progress};
use crate::config::HooksConfig;
use crate::io::Clock;
use crate::service::desk::read_hooks;
use crate::service::hooks::{Http, Letter, Loaded, Sender, Taken, Way, take};

/// Letters after which it is said how far it is.
const SAID_EVERY: usize = 10;

/// Sends what is in the file of dead letters again, in its order, until something cannot be delivered.
pub(super) fn replay(config: &HooksConfig, rules: Option<&Path>) -> Result<(), TaskError> {
    let usage = |what: &str| TaskError::Usage(what.to_owned());
    let letters = config.dead_letters.as_deref();
    let letters = letters.ok_or_else(|| usage("name the file of dead letters with --hooks-dead-letters"))?;
    let rules = rules
        .ok_or_else(|| usage("name the file of rules with --rules: it says what letters are signed with"))?;
    let hooks = read_hooks(rules, config.nats.is_some())?;
    let failed = |error| TaskError::file(letters, error);
    let mut taken = match take(letters) {
        Ok(taken) => taken,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            say("there are no dead letters");
            return Ok(());
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            return Err(TaskError::Replay("another replay is under way".to_owned()));
        }
        Err(error) => return Err(failed(error)),
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let sender = Sender::new(Http::default(), config.nats.as_ref(), Clock::start());
    let outcome = runtime.block_on(send_all(&sender, &hooks, &mut taken));
    // What was delivered is not sent again, whatever has happened.
    let left = taken.left();
    taken.finish().map_err(failed)?;
    let events = outcome.map_err(|problem| {
        TaskError::Replay(format!(
            "{problem}; {left} dead letters are left, and are sent by the next `annulus hooks replay`"
        ))
    })?;
    say(&format!("{events} events delivered; no dead letters are left"));
    Ok(())
}

/// How many events were sent.
async fn send_all(sender: &Sender, hooks: &Loaded, taken: &mut Taken) -> Result<usize, String> {
    let (mut sent, mut events) = (0_usize, 0);
    while let Some(line) = taken.next() {
        let number = sent + 1;
        let letter: Letter =
            serde_json::from_str(line).map_err(|error| format!("letter {number} is damaged: {error}"))?;
        let way = way(&letter, hooks).ok_or_else(|| {
            format!("letter {number}: no [[hook]] has the url or subject {:?}", letter.to())
        })?;
        let batch = letter.events();
        sender.send(&way, &batch).await.map_err(|problem| format!("{}: {problem}", way.name()))?;
        taken.done();
        (sent, events) = (number, events + batch.len());
        if sent.is_multiple_of(SAID_EVERY) {
            say_progress(&format!("so far: {sent} of {} letters, {events} events", taken.len()));
        }
    }
    Ok(events)
}

/// Where a letter goes by the rules of now.
fn way(letter: &Letter, hooks: &Loaded) -> Option<Way> {
    let hooks_of_rules = || hooks.set.iter().flat_map(|set| &set.hooks);
    if let Some(url) = &letter.url {
        let endpoint =
            hooks_of_rules().filter_map(|hook| hook.url.as_ref()).find(|found| *found.url == **url)?;
        return Some(Way::Webhook { endpoint: endpoint.clone(), secret: hooks.secret(endpoint) });
    }
    let wanted = letter.subject.as_deref()?;
    let subject =
        hooks_of_rules().filter_map(|hook| hook.subject.clone()).find(|found| **found == *wanted)?;
    Some(Way::Nats { subject })
}
