//! Frames into outboxes, and out of them again with the completion of their send.

use std::hint::black_box;

use annulus::shard::{BufferPool, Outbox};

use super::{Meter, many};

/// Frames that one send takes together.
const FRAMES: u64 = 16;
/// Connections that one frame is shared by.
const SUBSCRIBERS: u64 = 1000;
const FRAME: [u8; 200] = [b'x'; 200];

pub fn measure(meter: &mut impl Meter) {
    let mut pool = BufferPool::default();

    let mut outbox = Outbox::default();
    meter.steady(many("outbox", "own frame, 16 a send", FRAMES), || {
        for _ in 0..FRAMES {
            outbox.append(&mut pool, |out| out.extend_from_slice(black_box(&FRAME)));
        }
        assert_eq!(send(&mut outbox, &mut pool), FRAMES as usize * FRAME.len());
    });

    let mut outbox = Outbox::default();
    meter.steady(many("outbox", "shared frame, 16 a send", FRAMES), || {
        let frame = pool.share(|out| out.bytes.extend_from_slice(&FRAME));
        for _ in 0..FRAMES {
            outbox.append_shared(&mut pool, black_box(&frame));
        }
        assert_eq!(send(&mut outbox, &mut pool), FRAMES as usize * FRAME.len());
    });

    let mut outboxes: Vec<Outbox> = (0..SUBSCRIBERS).map(|_| Outbox::default()).collect();
    meter.steady(many("outbox", "shared frame, 1 a send, 1000 peers", SUBSCRIBERS), || {
        let frame = pool.share(|out| out.bytes.extend_from_slice(&FRAME));
        for outbox in &mut outboxes {
            outbox.append_shared(&mut pool, black_box(&frame));
        }
        for outbox in &mut outboxes {
            assert_eq!(send(outbox, &mut pool), FRAME.len());
        }
    });
}

/// Hands everything to a kernel that takes it at once; how many bytes that was.
fn send(outbox: &mut Outbox, pool: &mut BufferPool) -> usize {
    outbox.start_send();
    let bytes = black_box(outbox.in_flight()).map(<[u8]>::len).sum();
    assert!(outbox.sent(bytes, pool), "everything was sent");
    bytes
}
