//! What one client may be told of one channel, whatever happens: it is checked message by message.

use std::collections::BTreeMap;

use serde_json::Value;

/// All that was ever said in a channel: offset to who said it and whether with echo.
#[derive(Default)]
pub struct Truth {
    pub epoch: String,
    /// By offset.
    pub said: BTreeMap<u64, Said>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub by: usize,
    pub echo: bool,
    pub number: u64,
}

impl Said {
    pub fn of(data: &Value) -> Self {
        Self {
            by: usize::try_from(data["by"].as_u64().unwrap()).unwrap(),
            echo: data["echo"].as_bool().unwrap(),
            number: data["number"].as_u64().unwrap(),
        }
    }
}

/// One membership, from the request to its end.
#[derive(Debug)]
pub struct Membership {
    /// Of the client.
    me: usize,
    /// `since` of the request.
    since: Option<u64>,
    /// Whether `joined` has come.
    pub is_live: bool,
    /// Everything up to here is accounted for.
    pub through: u64,
    recovered: Vec<u64>,
}

impl Membership {
    pub fn new(me: usize, since: Option<u64>) -> Self {
        Self { me, since, is_live: false, through: since.unwrap_or(0), recovered: Vec::new() }
    }

    /// # Panics
    /// If the client may not be told this.
    pub fn told(&mut self, message: &Value, truth: &Truth, kept: u64) {
        let offset = |name: &str| message[name].as_u64().unwrap();
        match message["type"].as_str().unwrap() {
            "message" => {
                let (at, said) = (offset("offset"), Said::of(&message["data"]));
                assert_eq!(truth.said[&at], said, "the offset means the same to everybody");
                if self.is_live {
                    self.own_until(at, truth);
                    assert!(said.by != self.me || said.echo, "its own without echo");
                } else {
                    assert_eq!(at, self.through + 1, "what was missed comes without a gap");
                    self.recovered.push(at);
                }
                self.through = at;
            }
            "gap" => {
                assert!(self.is_live);
                let (from, to) = (offset("from"), offset("to"));
                assert!(from <= to);
                self.own_until(from, truth);
                for end in [from, to] {
                    let said = &truth.said[&end];
                    assert!(said.by != self.me || said.echo, "it would not have been sent {end}");
                }
                self.through = to;
            }
            "joined" => {
                assert!(!self.is_live);
                assert_eq!(message["epoch"], truth.epoch);
                let last = offset("offset");
                match (self.since, message["recovered"].as_bool(), message["reason"].as_str()) {
                    (None, None, None) => assert!(self.recovered.is_empty()),
                    (Some(_), Some(true), None) => assert_eq!(self.through, last, "all of it was sent"),
                    (Some(_), Some(false), Some("trimmed")) => {
                        assert!(last - self.through > kept, "{} to {last} are kept", self.through);
                    }
                    other => panic!("{other:?}"),
                }
                (self.is_live, self.through) = (true, last);
            }
            other => panic!("{other}"),
        }
    }

    /// All that was said after what is accounted for is its own.
    pub fn own_until(&self, end: u64, truth: &Truth) {
        assert!(self.through < end, "{end} after {}", self.through);
        for between in self.through + 1..end {
            let said = &truth.said[&between];
            assert!(
                said.by == self.me && !said.echo,
                "{between} is missing before {end}, and is not its own"
            );
        }
    }
}

/// Memberships of one client by channel.
pub type Memberships = BTreeMap<String, Membership>;
