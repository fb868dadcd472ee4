//! How shards talk: one bounded single-producer single-consumer queue for each ordered pair of shards,
//! carrying at most one envelope a turn. FIFO order is what snapshots, cursors and conflation rest on.

mod address;
mod channel;
mod direct;
mod entry;
mod envelope;
mod filter;
mod member;
mod outgoing;
mod partition;
mod query;
mod queue;
mod read;
mod room;
mod user;
mod write;

pub use address::{ConnectionId, ReplyTo, ShardIndex, SubscriptionRef, Writer};
pub use channel::{
    ChannelAnswer, ChannelMessage, ChannelRequest, History, Joined, Message, Messages, Page, Publishing,
    Recovery, Said, Since,
};
pub use direct::{
    AnnounceRequest, Audience, BlockRequest, Direct, DirectAnswer, DirectPush, DirectRequest, Directs,
    FetchRequest, Fetched, MessageId, NotSent, SendRequest, SendingId, Sent,
};
pub use entry::{Entries, Entry, EntryPacker, EntryState, TaggedValue, TaggedValues, length, pack_name};
pub use envelope::{
    Answer, Changes, ClearStep, DigestPart, Envelope, Item, Request, Round, SetPlace, Span, WalkAnswer,
    WalkRequest, Wanted,
};
pub use filter::Filter;
pub use member::{Member, MemberChanged, Members};
pub use outgoing::Outgoing;
pub use partition::{
    CHANNEL_MAP, KeyHasher, ShardSet, USER_MAP, owner, partition, partitions_of, shard_index,
};
pub use query::{ChangedKeys, OpenQuery, QueryNews, QueryRef, QueryStep, QuerySteps, Standing};
pub use queue::{Receiver, Sender};
pub use read::{KeyList, PackedRead, Read, ReadPart};
pub use room::{Crowd, Gathered, Names, People, Person, RoomAnswer, RoomNews, RoomRequest, USER_PREFIX};
pub use user::{Balance, Enter, Paid, Payer, Spent, TurnedAway};
pub use write::{Action, At, Merged, MergedStamp, PackedWrite, TagList, Write};

use crate::limits::MESH_QUEUE_ENVELOPES;

/// One shard's ends of its queues, indexed by the other shard; its own place is `None`.
pub struct Ports {
    pub outgoing: Vec<Option<Sender>>,
    pub incoming: Vec<Option<Receiver>>,
}

/// The full mesh of `shards` shards: element `i` is for shard `i`.
pub fn connect(shards: usize) -> Vec<Ports> {
    connect_with_capacity(shards, MESH_QUEUE_ENVELOPES)
}

/// Like [`connect`], with room for `envelopes` in each queue: the simulator uses tiny ones.
pub fn connect_with_capacity(shards: usize, envelopes: usize) -> Vec<Ports> {
    let empty = |_| Ports {
        outgoing: (0..shards).map(|_| None).collect(),
        incoming: (0..shards).map(|_| None).collect(),
    };
    let mut ports: Vec<Ports> = (0..shards).map(empty).collect();
    for source in 0..shards {
        for target in (0..shards).filter(|&target| target != source) {
            let (sender, receiver) = queue::new(envelopes);
            ports[source].outgoing[target] = Some(sender);
            ports[target].incoming[source] = Some(receiver);
        }
    }
    ports
}
