//! What passes between the shards and the threads beside them. To and from the storage: records of changes one way, what is
//! durable and the cells of loaded maps the other. To and from the desk: tokens, and who they name. To
//! and from the hooks: what has happened, questions, and the application's answers. Pure values and queues.
//!
//! ```text
//! delta.rs   a delta as bytes                 port.rs      the two ends of the queues of one shard
//! record.rs  deltas on their way to the disk  progress.rs  what is durable and folded, for all to see
//! image.rs   a whole cell, at rest            desk.rs      the two ends of the queues to and from the desk
//! inspection.rs  the same of the admin thread  hooks.rs     the same of the thread of the hooks
//! ```

mod delta;
mod desk;
mod hooks;
mod image;
pub mod inspection;
mod port;
mod progress;
mod record;

pub use delta::{Kind, decode_delta, encode_delta, map_type_byte, map_type_of};
pub use desk::{DeskEnd, DeskPort, FromDesk, Refused, Verified, Verify, connect_desk};
pub use hooks::{Answered, Ask, EventsPort, HooksEnd, HooksPort, QuestionsPort, connect_hooks};
pub use image::{Image, ImageError, Part};
pub use inspection::{InspectionEnd, InspectionPort, connect_inspection};
pub use port::{Chunk, Found, FromStorage, LookUp, ShardPort, StoragePort, ToStorage, connect};
pub use progress::{Progress, ShardProgress};
pub use record::{
    Batch, Body, Fault, RECORD_HEADER_BYTES, Record, is_end, read_record, read_record_again, seal, set_mark,
    write_end, write_mark,
};
