//! A ring with room for few, and a kernel that refuses.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

use super::*;

/// A ring with room for few, and sockets that take what is sent at once.
fn small() -> (Ring, UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Ring::with(RingSize { entries: 8, completions: 16 }).unwrap(), ours, theirs)
}

fn send(ring: &mut Ring, socket: &UnixStream, bytes: &'static [u8], index: u32) {
    ring.queue_send(socket.as_fd(), ConnectionId { index, generation: 0 }, bytes);
}

fn sent(completed: &[Completion]) -> Vec<u32> {
    let index = |completion: &Completion| match (completion.operation, completion.result) {
        (Operation::Send(id), Ok(1)) => id.index,
        other => panic!("{other:?}"),
    };
    completed.iter().map(index).collect()
}

#[test]
fn what_finds_the_completion_queue_full_is_counted_and_comes_with_the_next_turns() {
    let (mut ring, ours, _theirs) = small();
    let mut completed = Vec::new();
    let mut all = Vec::new();
    let mut overflows = 0;
    for index in 0..40 {
        send(&mut ring, &ours, b"x", index);
    }
    while all.len() < 40 {
        let turned = ring.turn(Some(Duration::from_secs(5)), &mut completed).unwrap();
        assert!(!completed.is_empty() && completed.len() <= 16, "{}", completed.len());
        overflows += turned.overflows;
        all.extend(sent(&completed));
    }
    assert_eq!(all, (0..40).collect::<Vec<_>>());
    // Sixteen each time, the last eight of which fit.
    assert_eq!(overflows, 2);
    send(&mut ring, &ours, b"x", 0);
    assert_eq!(ring.turn(None, &mut completed).unwrap(), Turned::default());
}

#[test]
fn what_a_kernel_without_memory_does_not_take_is_kept_in_order_and_waited_for() {
    let (mut ring, ours, mut theirs) = small();
    let mut completed = Vec::new();
    // Of a push, of a second one that is not to ask again, and of ten turns.
    ring.faults.refusals.extend([Errno::AGAIN; 11]);
    for index in 0..14 {
        send(&mut ring, &ours, b"x", index);
    }
    assert_eq!(ring.faults.refusals.len(), 10, "one try for each full queue, whatever is queued");
    for _ in 0..10 {
        let turned = ring.turn(None, &mut completed).unwrap();
        assert_eq!(turned.refused, Some(Errno::AGAIN));
        assert!(completed.is_empty());
    }
    let rests = [1, 2, 4, 8, 16, 32, 64, 100, 100, 100].map(Duration::from_millis);
    assert_eq!(ring.faults.rests, rests);
    assert_eq!(ring.turn(None, &mut completed).unwrap().refused, None);
    assert_eq!(sent(&completed), (0..14).collect::<Vec<_>>());
    theirs.read_exact(&mut [0; 14]).unwrap();
    ring.faults.refusals.push_back(Errno::BUSY);
    ring.turn(None, &mut completed).unwrap();
    assert_eq!(ring.faults.rests.last(), Some(&REST_MIN), "it starts anew");
}

#[test]
fn a_ring_that_lost_completions_says_so_even_between_turns() {
    let (mut ring, ours, _theirs) = small();
    ring.faults.refusals.push_back(Errno::BADR);
    (0..9).for_each(|index| send(&mut ring, &ours, b"x", index));
    assert!(ring.faults.refusals.is_empty());
    let lost = ring.turn(None, &mut Vec::new());
    assert!(lost.is_err_and(|error| Errno::from_io_error(&error) == Some(Errno::BADR)));
    assert_eq!(refusal(Err(Errno::INTR.into())).unwrap(), None);
    assert!(refusal(Err(Errno::INVAL.into())).is_err());
}
